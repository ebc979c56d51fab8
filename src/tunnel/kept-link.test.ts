import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { manualRuntime } from "../../test/support/test-client.ts";
import { turns } from "../../test/support/turns.ts";
import { NetworkError, TunnelError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { connectionPair } from "./connection-pair.ts";
import { KeptLink } from "./kept-link.ts";
import { silentLogger } from "./logger.ts";

describe("KeptLink", () => {
  test("dials, is up, and dials again after a loss, within the backoff", async () => {
    const kept = keep();
    kept.link.start();
    await turns();
    assert.equal(kept.link.state, "up");
    kept.lose(new NetworkError("ERR_CONNECTION_RESET", "gone"));
    assert.equal(kept.link.state, "waiting");
    assert.equal(kept.link.link, undefined);
    assert.equal(kept.link.lastError?.message, "gone");
    kept.clock.advance(250);
    await turns();
    assert.equal(kept.link.state, "up");
    assert.equal(kept.dials, 2);
  });

  test("waits longer after each failure in a row, and forgets them once a link has lasted", async () => {
    const kept = keep();
    kept.failWith = new NetworkError("ERR_DIAL_REFUSED", "refused");
    kept.link.start();
    await turns();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 4; attempt++) {
      waits.push((kept.clock.next ?? 0) - kept.clock.now());
      kept.clock.advance(waits.at(-1) ?? 0);
      await turns();
    }
    assert.deepEqual(waits, [125, 250, 500, 1000]); // half of each cap
    kept.failWith = undefined;
    kept.clock.advance(2000);
    await turns();
    assert.equal(kept.link.state, "up");
    kept.clock.advance(3000);
    kept.lose(undefined);
    assert.equal((kept.clock.next ?? 0) - kept.clock.now(), 125);
  });

  test("is back soon though the link was lost again and again before it had lasted", async () => {
    const kept = keep();
    kept.link.start();
    await turns();
    for (let loss = 0; loss < 8; loss++) {
      kept.lose(new NetworkError("ERR_CONNECTION_RESET", "gone"));
      const waitMs = (kept.clock.next ?? 0) - kept.clock.now();
      assert.ok(waitMs <= 500, `${waitMs} ms`); // half of a cap of a second
      kept.clock.advance(waitMs);
      await turns();
      assert.equal(kept.link.state, "up");
    }
  });

  test("stops for good at a final refusal, and says so once", async () => {
    const kept = keep();
    kept.failWith = new TunnelError("ERR_AUTH", "invalid token");
    kept.link.start();
    await turns();
    assert.equal(kept.link.state, "over");
    assert.deepEqual(kept.finals, ["invalid token"]);
    assert.equal(kept.clock.next, undefined);
  });

  test("gives up a dial that hangs", async () => {
    const kept = keep();
    kept.isHanging = true;
    kept.link.start();
    await turns();
    kept.clock.advance(15_000);
    await turns();
    assert.equal(kept.link.lastError?.code, "ERR_DIAL_TIMEOUT");
  });

  test("leaves nothing behind when it is closed in any state", async () => {
    for (const state of ["idle", "dialling", "up", "waiting"] as const) {
      const kept = keep();
      kept.isHanging = state === "dialling";
      if (state === "waiting") kept.failWith = new NetworkError("ERR_DIAL_REFUSED", "refused");
      if (state !== "idle") kept.link.start();
      await turns();
      assert.equal(kept.link.state, state);
      kept.link.close();
      kept.link.close();
      await turns();
      assert.equal(kept.link.state, "over");
      assert.equal(kept.clock.next, undefined, state);
      assert.equal(kept.closes, state === "up" ? 1 : 0);
    }
  });
});

class Kept {
  readonly runtime = manualRuntime();
  readonly clock = this.runtime.clock;
  readonly link: KeptLink<{ close(): void; abort(): void }>;
  readonly finals: string[] = [];
  dials = 0;
  closes = 0;
  isHanging = false;
  failWith: TunnelError | undefined;
  lose: (error: TunnelError | undefined) => void = () => {};

  constructor() {
    const { runtime } = this;
    this.link = new KeptLink({
      name: "home",
      runtime,
      logger: silentLogger,
      connect: async (signal) => {
        this.dials++;
        if (this.isHanging) {
          return await new Promise<Connection>((_, reject) => {
            signal.addEventListener("abort", () => reject(toError(signal.reason)));
          });
        }
        if (this.failWith !== undefined) throw this.failWith;
        return connectionPair(runtime)[0];
      },
      run: (_connection, onClose) => {
        this.lose = onClose;
        return { close: () => void this.closes++, abort: () => {} };
      },
      isFinal: (error) => error.code === "ERR_AUTH",
      onChange: () => {},
      onFinal: (error) => this.finals.push(error.message),
    });
  }
}

function keep(): Kept {
  return new Kept();
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
