import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, test } from "node:test";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { type ErrorCode, NetworkError, type TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import { dialFirst } from "./happy-eyeballs.ts";

/** Dials that the test settles, address by address. */
class Dials {
  readonly clock = new ManualClock();
  readonly started: string[] = [];
  readonly aborted: string[] = [];
  readonly #pending = new Map<string, PromiseWithResolvers<Connection>>();

  readonly dial = (address: string, signal: AbortSignal): Promise<Connection> => {
    this.started.push(address);
    signal.addEventListener("abort", () => this.aborted.push(address));
    const pending = Promise.withResolvers<Connection>();
    this.#pending.set(address, pending);
    return pending.promise;
  };

  connect(address: string): Connection {
    const runtime = { clock: this.clock, random: () => 0, slabs: new SlabPool() };
    const [connection] = connectionPair(runtime);
    this.#pending.get(address)?.resolve(connection);
    return connection;
  }

  async fail(address: string, code: ErrorCode): Promise<void> {
    this.#pending.get(address)?.reject(new NetworkError(code, `${address}: ${code}`));
    await turn();
  }
}

const { signal } = new AbortController();

describe("happy eyeballs", () => {
  test("starts with the resolver's favourite and takes the families in turn", () => {
    const dials = new Dials();
    const addresses = ["::1", "::2", "::3", "1.1.1.1"];
    void dialFirst(addresses, dials.dial, { clock: dials.clock, signal });
    assert.deepEqual(dials.started, ["::1"]);
    dials.clock.advance(250);
    dials.clock.advance(250);
    dials.clock.advance(250);
    assert.deepEqual(dials.started, ["::1", "1.1.1.1", "::2", "::3"]);
    assert.equal(dials.clock.pending, 0);
  });

  test("starts the next at once when one fails", async () => {
    const dials = new Dials();
    const dialling = dialFirst(["::1", "1.1.1.1"], dials.dial, { clock: dials.clock, signal });
    await dials.fail("::1", "ERR_DIAL_NETWORK_UNREACHABLE");
    assert.deepEqual(dials.started, ["::1", "1.1.1.1"]);
    assert.equal(dials.connect("1.1.1.1"), await dialling);
    assert.equal(dials.clock.pending, 0);
  });

  test("keeps a slow attempt and gives up the others when it answers", async () => {
    const dials = new Dials();
    const dialling = dialFirst(["1.1.1.1", "::1", "::2"], dials.dial, {
      clock: dials.clock,
      signal,
    });
    dials.clock.advance(300);
    const winner = dials.connect("1.1.1.1");
    assert.equal(await dialling, winner);
    assert.deepEqual(dials.started, ["1.1.1.1", "::1"]);
    assert.deepEqual(dials.aborted, ["1.1.1.1", "::1"]);
    assert.equal(dials.clock.pending, 0);
  });

  test("resets a connection that comes too late", async () => {
    const dials = new Dials();
    const dialling = dialFirst(["1.1.1.1", "::1"], dials.dial, { clock: dials.clock, signal });
    dials.clock.advance(250);
    dials.connect("1.1.1.1");
    await dialling;
    const late = dials.connect("::1");
    const { promise, resolve } = Promise.withResolvers<TunnelError | undefined>();
    late.attach({ onData: () => {}, onEnd: () => {}, onDrain: () => {}, onClose: resolve });
    assert.equal((await promise)?.message, "another address answered first");
  });

  test("reports the failure that says most about the target", async () => {
    const dials = new Dials();
    const dialling = dialFirst(["::1", "1.1.1.1", "1.1.1.2"], dials.dial, {
      clock: dials.clock,
      signal,
    });
    const rejected = assert.rejects(dialling, { code: "ERR_DIAL_REFUSED" });
    await dials.fail("::1", "ERR_DIAL_NETWORK_UNREACHABLE");
    await dials.fail("1.1.1.1", "ERR_DIAL_REFUSED");
    await dials.fail("1.1.1.2", "ERR_DIAL_TIMEOUT");
    await rejected;
  });

  test("gives up every attempt when the client does", async () => {
    const dials = new Dials();
    const controller = new AbortController();
    const options = { clock: dials.clock, signal: controller.signal };
    const dialling = dialFirst(["::1", "1.1.1.1"], dials.dial, options);
    controller.abort(new Error("gone"));
    await assert.rejects(dialling, /gone/);
    assert.deepEqual(dials.aborted, ["::1"]);
    assert.equal(dials.clock.pending, 0);
    await assert.rejects(dialFirst(["::1", "1.1.1.1"], dials.dial, options), /gone/);
    assert.deepEqual(dials.started, ["::1"]);
  });
});
