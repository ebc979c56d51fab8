import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NetworkError } from "../../src/errors.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import { patternBytes, randomChunks } from "../support/chunks.ts";
import { assertBytes } from "../support/hex.ts";
import { Recorder } from "../support/recorder.ts";
import { settled, turns } from "../support/turns.ts";

/** Two ends of one connection, paused and without handler; disposing ends what carries them. */
export interface ConnectedPair extends AsyncDisposable {
  readonly a: Connection;
  readonly b: Connection;
}

/** What a kind of connection can promise beyond the contract, or cannot. */
export interface ConnectionTraits {
  /** Whether a reset looks hard from the other end. @default true */
  readonly showsResets?: boolean | undefined;
  /** Whether one direction can end before the other. @default true */
  readonly halfCloses?: boolean | undefined;
  /** More than every buffer on the way holds; a paused reader must stop the writer before. @default 64 MiB */
  readonly overflowBytes?: number | undefined;
}

/**
 * What every {@link Connection} must do. Call it in a `describe` of the implementation's test, with
 * a factory of connected pairs.
 */
export function testConnectionCompliance(
  connect: () => Promise<ConnectedPair>,
  { showsResets = true, halfCloses = true, overflowBytes = 64 * MIB }: ConnectionTraits = {},
): void {
  const skip = halfCloses ? false : "here one direction cannot end alone";
  describe("as a connection", { timeout: 20_000 }, () => {
    test("starts paused and keeps what arrives", async () => {
      await using pair = await connect();
      const [a, b] = [new Recorder(pair.a), new Recorder(pair.b)];
      a.connection.write([Buffer.from("early")]);
      b.connection.write([Buffer.from("answer")]);
      a.connection.resume();
      await a.received(6);
      await turns();
      assert.equal(b.text, "");
      b.connection.resume();
      await b.received(5);
      assert.equal(b.text, "early");
    });

    test("carries every byte in order, both ways at once", async () => {
      await using pair = await connect();
      const [a, b] = start(pair);
      const [up, down] = [patternBytes(MIB, 1), patternBytes(MIB, 2)];
      await Promise.all([
        send(a, up, [1, 7, 0, 1_000, 70_000, 300_000]),
        send(b, down, [65_536, 3]),
        b.received(MIB),
        a.received(MIB),
      ]);
      assertBytes(b.bytes, up);
      assertBytes(a.bytes, down);
    });

    test("takes many small chunks in one write", async () => {
      await using pair = await connect();
      const [a, b] = start(pair);
      const chunks = Array.from({ length: 2_000 }, (_, index) => Buffer.from(`${index};`));
      const wanted = Buffer.concat(chunks);
      a.connection.write([new Uint8Array(0), ...chunks]);
      await b.received(wanted.byteLength);
      assertBytes(b.bytes, wanted);
    });

    test("keeps bytes apart from the memory they were written from, once they arrived", async () => {
      await using pair = await connect();
      const [a, b] = start(pair);
      for (let index = 0; index < 100; index++) {
        a.connection.write([Buffer.alloc(1_000, index)]);
        await b.received((index + 1) * 1_000);
      }
      const wanted = Array.from({ length: 100 }, (_, index) => Buffer.alloc(1_000, index));
      assertBytes(b.bytes, wanted);
    });

    test("stops delivering while paused", async () => {
      await using pair = await connect();
      const [a, b] = start(pair);
      a.connection.write([Buffer.from("one")]);
      await b.received(3);
      b.connection.pause();
      a.connection.write([Buffer.from("two")]);
      b.connection.write([Buffer.from("?")]);
      await a.received(1);
      await turns();
      assert.equal(b.text, "one");
      b.connection.resume();
      await b.received(6);
      assert.equal(b.text, "onetwo");
    });

    test("passes from owner to owner with the bytes put back", async () => {
      await using pair = await connect();
      const [a, first] = start(pair);
      a.connection.write([Buffer.from("hello|rest")]);
      await first.received(10);
      first.connection.detach();
      first.connection.unshift(Buffer.from("rest"));
      a.connection.write([Buffer.from(" and more")]);
      await turns();
      const second = new Recorder(pair.b);
      assert.equal(second.text, "");
      second.connection.resume();
      await second.received(13);
      assert.equal(second.text, "rest and more");
      assert.equal(first.text, "hello|rest");
    });

    test("stops the writer of a paused reader, and lets it go on", async () => {
      await using pair = await connect();
      const [a, b] = start(pair);
      b.connection.pause();
      const chunk = new Uint8Array(64 * 1024);
      let written = 0;
      const pump = (): void => {
        while (written < overflowBytes) {
          written += chunk.byteLength;
          if (!a.connection.write([chunk.slice()])) return;
        }
      };
      a.onDrain = pump;
      pump();
      const stalled = await settled(() => written);
      assert.ok(stalled < overflowBytes, "the writer was never stopped");
      assert.ok(a.connection.pendingBytes < 4 * MIB, `${a.connection.pendingBytes} bytes pending`);
      b.connection.resume();
      await b.received(overflowBytes);
      assert.equal(b.byteLength, overflowBytes);
    });

    test("follows every refusal by a drain, whatever is written meanwhile", async () => {
      await using pair = await connect();
      const [a] = start(pair);
      for (let round = 0; round < 20; round++) {
        a.events.length = 0;
        while (a.connection.write([new Uint8Array(40_000)]));
        // A link goes on writing small things, acknowledgements say, while its streams wait.
        while (a.events.length === 0) {
          a.connection.write([new Uint8Array(1)]);
          await turns(1);
        }
        assert.equal(a.events[0], "drain");
      }
    });

    test("finishes behind everything written", { skip }, async () => {
      await using pair = await connect();
      const [a, b] = start(pair);
      const bytes = patternBytes(MIB);
      a.connection.write([...randomChunks(bytes, [10, 200_000, 65_536])]);
      a.connection.finish();
      a.connection.finish();
      assert.equal(a.connection.write([Buffer.from("too late")]), true);
      await b.ended();
      assertBytes(b.bytes, bytes);
    });

    for (const [first, second] of [
      ["a", "b"],
      ["b", "a"],
    ] as const) {
      test(`half-closes, ${first} first`, { skip }, async () => {
        await using pair = await connect();
        const [one, two] = start({ a: pair[first], b: pair[second] });
        one.connection.write([Buffer.from("question")]);
        one.connection.finish();
        await two.ended();
        assert.equal(two.text, "question");
        await turns();
        assert.deepEqual(one.events, []);
        two.connection.write([Buffer.from("answer")]);
        two.connection.finish();
        await Promise.all([one.closed(), two.closed()]);
        assert.equal(one.text, "answer");
        assert.deepEqual(one.events, ["end", "close"]);
        assert.deepEqual(two.events, ["end", "close"]);
      });
    }

    test("keeps data and end for a reader who resumes late", { skip }, async () => {
      await using pair = await connect();
      const [a, b] = [new Recorder(pair.a), new Recorder(pair.b)];
      a.connection.resume();
      a.connection.write([Buffer.from("last words")]);
      a.connection.finish();
      b.connection.finish();
      await a.ended();
      await turns();
      assert.deepEqual(b.events, []);
      b.connection.resume();
      await b.closed();
      assert.equal(b.text, "last words");
      assert.deepEqual(b.events, ["end", "close"]);
    });

    test("closes behind everything written, and tells its owner", async () => {
      await using pair = await connect();
      const [a, b] = start(pair);
      const bytes = patternBytes(MIB);
      b.connection.write([Buffer.from("unread when the close comes")]);
      a.connection.pause();
      a.connection.write([bytes]);
      a.connection.close();
      a.connection.close();
      a.connection.write([Buffer.from("too late")]);
      await b.received(MIB);
      await b.until(() => b.events.length > 0);
      b.connection.finish();
      await Promise.all([a.closed(), b.closed()]);
      assertBytes(b.bytes, bytes);
      assert.deepEqual(a.events, ["close"]);
      assert.deepEqual(b.events.filter((event) => event !== "drain").at(-1), "close");
    });

    for (const [first, second] of [
      ["a", "b"],
      ["b", "a"],
    ] as const) {
      test(`resets both directions at once, ${first} first`, async () => {
        await using pair = await connect();
        const [one, two] = start({ a: pair[first], b: pair[second] });
        const cause = new NetworkError("ERR_TUNNEL_LOST", "the other leg is gone");
        one.connection.write([Buffer.from("x")]);
        await two.received(1);
        one.connection.reset(cause);
        one.connection.reset(new NetworkError("ERR_CLOSED", "again"));
        await one.closed();
        assert.deepEqual(one.events, ["close ERR_TUNNEL_LOST"]);
        assert.equal(one.closeError, cause);
        two.connection.write([Buffer.from("nobody is there")]);
        if (showsResets) {
          await two.closed();
          assert.ok(
            two.closeError !== undefined,
            "an abrupt end must not look like an orderly one",
          );
          assert.equal(two.events.length, 1);
        } else {
          await two.until(() => two.events.length > 0);
        }
        one.connection.write([Buffer.from("dropped")]);
        one.connection.finish();
        one.connection.close();
        await turns();
        assert.equal(one.events.length, 1);
      });
    }

    for (const first of ["a", "b"] as const) {
      test(`can be reset in the turn of its finish, ${first} first`, async () => {
        await using pair = await connect();
        const [one, two] = start({ a: pair[first], b: pair[first === "a" ? "b" : "a"] });
        one.connection.write([Buffer.from("x")]);
        await two.received(1);
        one.connection.finish();
        one.connection.reset(new NetworkError("ERR_TUNNEL_LOST", "the other leg is gone"));
        await one.closed();
        assert.deepEqual(one.events, ["close ERR_TUNNEL_LOST"]);
        await two.until(() => two.events.length > 0);
      });
    }

    test("names both ends", async () => {
      await using pair = await connect();
      for (const { info } of [pair.a, pair.b]) {
        assert.notEqual(info.transport, "");
        assert.notEqual(info.peer, "");
        assert.notEqual(info.local, "");
      }
    });
  });
}

function start(pair: { readonly a: Connection; readonly b: Connection }): [Recorder, Recorder] {
  const both: [Recorder, Recorder] = [new Recorder(pair.a), new Recorder(pair.b)];
  for (const { connection } of both) connection.resume();
  return both;
}

/** Writes in chunks of the given sizes, over and over, and obeys the connection. */
async function send(from: Recorder, bytes: Uint8Array, sizes: readonly number[]): Promise<void> {
  const endless = {
    *[Symbol.iterator]() {
      for (;;) yield* sizes;
    },
  };
  for (const chunk of randomChunks(bytes, endless)) {
    const drainsBefore = from.events.length;
    if (from.connection.write([chunk])) continue;
    await from.until(() => from.events.length > drainsBefore);
  }
}

const MIB = 1024 * 1024;
