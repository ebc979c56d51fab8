import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks } from "../../test/support/chunks.ts";
import { Recorder } from "../../test/support/recorder.ts";
import { turns } from "../../test/support/turns.ts";
import type { ByteReader, Parser } from "../bytes/byte-reader.ts";
import { SlabPool } from "../bytes/slab-pool.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import { NetworkError, ProtocolError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { connectionPair } from "./connection-pair.ts";
import { handshake } from "./handshake.ts";
import type { Runtime } from "./runtime.ts";

describe("handshake", () => {
  test("resolves with the parser's result, whatever the chunking, and keeps the rest", async () => {
    const wire = Buffer.from("\u0005helloand what follows");
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(fc.integer({ min: 1, max: 9 })), async (sizes) => {
        const { near, far, runtime, clock } = ends();
        const result = handshake(near, greeting, { ...OPTIONS, runtime });
        for (const chunk of randomChunks(wire, sizes)) {
          far.write([chunk]);
          await turns(1);
        }
        assert.equal(await result, "hello");
        assert.equal(clock.pending, 0);
        await turns();
        const next = new Recorder(near);
        assert.equal(next.text, "", "the connection is paused for its next owner");
        near.resume();
        assert.equal(next.text, "and what follows");
      }),
      { numRuns: 25 },
    );
  });

  test("leaves the connection paused also when the parser needs nothing", async () => {
    const { near, far, runtime } = ends();
    far.write([Buffer.from("early")]);
    await turns();
    const result = await handshake(near, nothing, { ...OPTIONS, runtime });
    assert.equal(result, undefined);
    const next = new Recorder(near);
    assert.equal(next.text, "");
    near.resume();
    assert.equal(next.text, "early");
  });

  test("passes the parser's own error on and lets the caller answer", async () => {
    const { near, far, runtime, clock } = ends();
    const result = handshake(near, refusing, { ...OPTIONS, runtime });
    far.write([Buffer.from("x")]);
    await assert.rejects(result, (error) => error instanceof ProtocolError);
    assert.equal(clock.pending, 0);
    const other = new Recorder(far);
    far.resume();
    near.write([Buffer.from("go away")]);
    near.close();
    await other.ended();
    assert.equal(other.text, "go away");
  });

  test("bounds the whole handshake, however slowly bytes drip", async () => {
    const { near, far, runtime, clock } = ends();
    const result = handshake(near, greeting, { ...OPTIONS, runtime });
    const failed = assert.rejects(result, {
      code: "ERR_HANDSHAKE_TIMEOUT",
      message: "test greeting from b not complete within 1000 ms",
    });
    far.write([Buffer.from("\u0064")]);
    for (let passed = 0; passed < 1_000; passed += 100) {
      far.write([Buffer.from(".")]);
      await turns();
      clock.advance(100);
    }
    await failed;
    assert.equal(clock.pending, 0);
  });

  test("says how much was missing when the peer ends early", async () => {
    const { near, far, runtime } = ends();
    const result = handshake(near, greeting, { ...OPTIONS, runtime });
    far.write([Buffer.from("\u0005he")]);
    far.finish();
    await assert.rejects(result, { code: "ERR_PROTOCOL", message: "ended after 2 of 5 bytes" });
    const next = new Recorder(near);
    near.resume();
    assert.deepEqual(next.events, ["end"]);
  });

  test("rejects with the cause when the connection is reset", async () => {
    const { near, far, runtime, clock } = ends();
    const result = handshake(near, greeting, { ...OPTIONS, runtime });
    const cause = new NetworkError("ERR_CONNECTION_RESET", "pulled");
    far.reset(cause);
    await assert.rejects(result, cause);
    assert.equal(clock.pending, 0);
  });

  test("tells the next owner of a connection that went during the handshake", async () => {
    const { near, far, runtime } = ends();
    far.write([Buffer.from("\u0005he")]);
    far.finish();
    near.finish();
    await turns();
    const result = handshake(near, greeting, { ...OPTIONS, runtime });
    await assert.rejects(result, { code: "ERR_PROTOCOL" });
    const next = new Recorder(near);
    near.resume();
    assert.deepEqual(next.events, ["end", "close"]);
  });

  test("stops when aborted, before and during", async () => {
    const { near, far, runtime, clock } = ends();
    const abort = new AbortController();
    const options = { ...OPTIONS, runtime, signal: abort.signal };
    const reason = new NetworkError("ERR_SHUTDOWN", "going down");
    const during = handshake(near, greeting, options);
    far.write([Buffer.from("\u0005he")]);
    await turns();
    abort.abort(reason);
    await assert.rejects(during, reason);
    await assert.rejects(handshake(near, greeting, options), reason);
    assert.equal(clock.pending, 0);
    far.write([Buffer.from("llo")]);
    await turns();
    assert.equal(new Recorder(near).text, "", "it is paused");
  });
});

const OPTIONS = { timeoutMs: 1_000, phase: "test greeting" };

/** `length u8 | text` */
function* greeting(reader: ByteReader): Parser<string> {
  const length = yield* reader.readByte();
  const text = yield* reader.read(length);
  return Buffer.from(text).toString();
}

// oxlint-disable-next-line require-yield -- a parser that is done at once
function* nothing(): Parser<undefined> {
  return undefined;
}

function* refusing(reader: ByteReader): Parser<never> {
  const byte = yield* reader.readByte();
  throw new ProtocolError(`version ${byte} is not 5`);
}

function ends(): { near: Connection; far: Connection; runtime: Runtime; clock: ManualClock } {
  const clock = new ManualClock();
  const runtime = { clock, random: () => 0.5, slabs: new SlabPool() };
  const [near, far] = connectionPair(runtime);
  return { near, far, runtime, clock };
}
