import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes, randomChunks } from "../../test/support/chunks.ts";
import { assertBytes } from "../../test/support/hex.ts";
import { manualRuntime, TestClient, turns } from "../../test/support/test-client.ts";
import type { ManualClock } from "../clock/manual-clock.ts";
import { NetworkError } from "../errors.ts";
import { connectionPair } from "./connection-pair.ts";

describe("connection pair", () => {
  test("carries bytes both ways in a later turn", async () => {
    const { a, b } = pair();
    a.connection.write([Buffer.from("he"), Buffer.from("llo")]);
    b.connection.write([Buffer.from("you")]);
    assert.equal(b.text, "", "nothing within the turn");
    await turns();
    assert.equal(b.text, "hello");
    assert.equal(a.text, "you");
    assert.equal(a.connection.pendingBytes, 0);
  });

  test("delivers every chunk in order, whatever the sizes and pauses", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 500 }),
        fc.infiniteStream(fc.nat(20)),
        fc.infiniteStream(fc.boolean()),
        async (bytes, sizes, pauses) => {
          const { a, b } = pair();
          for (const chunk of randomChunks(bytes, sizes)) {
            a.connection.write([chunk]);
            if (pauses.next().value) b.connection.pause();
            else b.connection.resume();
            if (pauses.next().value) await turns(1);
          }
          a.connection.finish();
          b.connection.resume();
          await turns();
          assertBytes(b.chunks, bytes);
          assert.deepEqual(b.events, ["end"]);
        },
      ),
      { numRuns: 50 },
    );
  });

  test("pushes back until the reader took what was written", async () => {
    const { a, b } = pair();
    b.connection.pause();
    let written = 0;
    while (a.connection.write([patternBytes(16 * 1024)])) written += 16 * 1024;
    await turns();
    assert.equal(a.events.length, 0, "no drain while nobody reads");
    assert.equal(a.connection.pendingBytes, written + 16 * 1024);
    b.connection.resume();
    await turns();
    assert.deepEqual(a.events, ["drain"]);
    assert.equal(a.connection.pendingBytes, 0);
  });

  test("half-closes one way and goes on the other way", async () => {
    const { a, b } = pair();
    a.connection.finish();
    a.connection.finish();
    a.connection.write([Buffer.from("dropped")]);
    b.connection.write([Buffer.from("still")]);
    await turns();
    assert.deepEqual(b.events, ["end"]);
    assert.equal(b.text, "");
    assert.equal(a.text, "still");
    b.connection.finish();
    await turns();
    assert.deepEqual(a.events, ["end", "close"]);
    assert.deepEqual(b.events, ["end", "close"]);
  });

  test("flushes before a close and swallows what still comes", async () => {
    const { a, b, clock } = pair();
    a.connection.write([Buffer.from("last words")]);
    a.connection.close();
    a.connection.close();
    await turns();
    assert.equal(b.text, "last words");
    assert.deepEqual(b.events, ["end"]);
    assert.deepEqual(a.events, ["close"]);
    b.connection.write([Buffer.from("late")]);
    await turns();
    assert.equal(b.connection.pendingBytes, 0);
    assert.equal(a.text, "");
    b.connection.finish();
    await turns();
    assert.deepEqual(b.events, ["end", "close"]);
    assert.equal(clock.pending, 0);
  });

  test("resets a writer who does not stop after the other end closed", async () => {
    const { a, b, clock } = pair();
    a.connection.close();
    await turns();
    clock.advance(5_000);
    b.connection.write([Buffer.from("still here")]);
    await turns();
    assert.deepEqual(b.events, ["end", "close ERR_CONNECTION_RESET"]);
  });

  test("credits the writer for what a close throws away", async () => {
    const { a, b } = pair();
    b.connection.pause();
    a.connection.write([patternBytes(300_000)]);
    await turns();
    a.connection.write([Buffer.from("not carried yet")]);
    b.connection.close();
    await turns();
    assert.equal(a.connection.pendingBytes, 0);
    assert.deepEqual(a.events.toSorted(), ["drain", "end"]);
    assert.equal(b.text, "");
  });

  test("resets both ends with the cause, dropping what waits", async () => {
    const { a, b } = pair();
    b.connection.pause();
    a.connection.write([Buffer.from("unread")]);
    await turns();
    a.connection.write([Buffer.from("not carried")]);
    a.connection.reset(new NetworkError("ERR_TUNNEL_LOST", "gone"));
    a.connection.reset(new NetworkError("ERR_CLOSED", "again"));
    await turns();
    b.connection.resume();
    await turns();
    assert.deepEqual(a.events, ["close ERR_TUNNEL_LOST"]);
    assert.deepEqual(b.events, ["close ERR_TUNNEL_LOST"]);
    assert.equal(b.text, "");
  });

  test("survives a reset by the receiver in the middle of a batch", async () => {
    const { a, b } = pair();
    b.connection.attach({
      onData: () => b.connection.reset(new NetworkError("ERR_LIMIT", "too much")),
      onEnd: () => {},
      onDrain: () => {},
      onClose: (error) => void b.events.push(`close ${error?.code}`),
    });
    a.connection.write([Buffer.from("one"), Buffer.from("two")]);
    a.connection.finish();
    await turns();
    assert.deepEqual(a.events, ["close ERR_LIMIT"]);
    assert.deepEqual(b.events, ["close ERR_LIMIT"]);
    assert.equal(a.connection.pendingBytes, 0);
  });

  test("tells the resetting end even after both directions ended in order", async () => {
    const { a, b } = pair();
    b.connection.pause();
    a.connection.write([Buffer.from("unread")]);
    a.connection.finish();
    b.connection.finish();
    await turns();
    assert.deepEqual(b.events, []);
    b.connection.reset(new NetworkError("ERR_ABORTED", "nobody reads"));
    await turns();
    assert.deepEqual(b.events, ["close ERR_ABORTED"]);
    assert.deepEqual(a.events, ["end", "close"]);
  });

  test("hands bytes, end and close from owner to owner", async () => {
    const { a, b } = pair();
    a.connection.write([Buffer.from("early")]);
    a.connection.finish();
    b.connection.finish();
    await turns();
    assert.deepEqual(b.events, ["end", "close"]);
    b.connection.detach();
    b.connection.unshift(Buffer.from("early"));
    const next = new TestClient(b.connection);
    assert.equal(next.text, "early");
    assert.deepEqual(next.events, ["end", "close"]);
  });
});

function pair(): { a: TestClient; b: TestClient; clock: ManualClock } {
  const runtime = manualRuntime();
  const [first, second] = connectionPair(runtime);
  return { a: new TestClient(first), b: new TestClient(second), clock: runtime.clock };
}
