import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { patternBytes } from "../../test/support/chunks.ts";
import { assertBytes } from "../../test/support/hex.ts";
import { Recorder } from "../../test/support/recorder.ts";
import { SlabPool } from "../bytes/slab-pool.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import { NetworkError, type TunnelError } from "../errors.ts";
import { MuxStream, type StreamLink } from "./mux-stream.ts";

const LOST = new NetworkError("ERR_TUNNEL_LOST", "the link is gone");

describe("a stream of a link", () => {
  test("sends what the window takes and the rest when it opens", () => {
    const { stream, link, owner } = openStream(100);
    assert.equal(stream.write([patternBytes(60), patternBytes(60, 2)]), false);
    assertBytes(link.sent, Buffer.concat([patternBytes(60), patternBytes(60, 2)]).subarray(0, 100));
    assert.equal(stream.pendingBytes, 20);
    link.room = 5;
    stream.drained();
    assert.deepEqual(owner.events, []);
    link.room = 50;
    stream.drained();
    assert.deepEqual(owner.events, ["drain"]);
    assert.equal(stream.pendingBytes, 0);
    assertBytes(link.sent, Buffer.concat([patternBytes(60), patternBytes(60, 2)]));
  });

  test("waits for the link, however much room its window has", () => {
    const { stream, link, owner } = openStream(Infinity);
    link.isFull = true;
    assert.equal(stream.write([patternBytes(10)]), false);
    assert.equal(stream.write([patternBytes(10)]), false, "no until the drain comes");
    assert.equal(link.bytes, 20);
    link.isFull = false;
    stream.drained();
    stream.drained();
    assert.deepEqual(owner.events, ["drain"]);
    assert.equal(stream.write([patternBytes(10)]), true);
  });

  test("sends nothing for nothing, and keeps none of it", () => {
    const { stream, link } = openStream(0);
    assert.equal(stream.write([new Uint8Array(0)]), true);
    assert.equal(stream.write([]), true);
    assert.equal(stream.write([new Uint8Array(0), patternBytes(3)]), false);
    link.room = 3;
    stream.drained();
    assert.deepEqual(
      link.sent.map(({ byteLength }) => byteLength),
      [3],
    );
  });

  test("finishes and closes behind what the window held back", () => {
    const { stream, link } = openStream(0);
    stream.write([patternBytes(5)]);
    stream.finish();
    stream.finish();
    stream.write([patternBytes(5)]);
    assert.deepEqual(link.log, []);
    link.room = 10;
    stream.drained();
    assert.deepEqual(link.log, ["write 5", "finish"]);
    stream.close();
    stream.close();
    assert.deepEqual(link.log, ["write 5", "finish", "close"]);
  });

  test("gives up a close whose last bytes nobody takes", () => {
    const { stream, link, owner, clock } = openStream(0);
    stream.write([patternBytes(20)]);
    stream.close();
    clock.advance(29_999);
    link.room = 1;
    stream.drained();
    clock.advance(29_999);
    assert.deepEqual(link.log, ["write 1"], "whoever takes bytes is waited for");
    clock.advance(1);
    assert.deepEqual(link.log, ["write 1", "reset ERR_SLOW_READER"]);
    assert.deepEqual(owner.events, ["close ERR_SLOW_READER"]);
    assert.equal(clock.pending, 0);
  });

  test("leaves no timer when the id goes during a close", () => {
    const { stream, owner, clock } = openStream(0);
    stream.write([patternBytes(20)]);
    stream.close();
    stream.closed(LOST);
    assert.equal(clock.pending, 0);
    assert.deepEqual(owner.events, ["close ERR_TUNNEL_LOST"]);
  });

  test("tells its end once, whatever comes after", () => {
    const { stream, link, owner } = openStream(10);
    stream.reset(LOST);
    stream.reset(new NetworkError("ERR_CLOSED", "again"));
    stream.closed(undefined);
    stream.close();
    stream.finish();
    stream.deliver(patternBytes(3));
    stream.ended();
    stream.drained();
    assert.equal(stream.write([patternBytes(3)]), true);
    assert.deepEqual(owner.events, ["close ERR_TUNNEL_LOST"]);
    assert.deepEqual(link.log, ["reset ERR_TUNNEL_LOST"]);
  });

  test("ends in order when its id goes without an error", () => {
    const { stream, owner } = openStream(10);
    stream.deliver(patternBytes(3));
    stream.closed(undefined);
    assert.deepEqual(owner.events, ["end", "close"]);
    assert.equal(owner.byteLength, 3);
  });

  describe("whose id is gone while its reader is behind", () => {
    test("keeps what came before", () => {
      const { stream, owner } = openStream(10);
      stream.pause();
      stream.deliver(patternBytes(3));
      stream.closed(undefined);
      assert.deepEqual(owner.events, []);
      assert.equal(stream.queuedBytes, 3);
      stream.resume();
      assert.deepEqual(owner.events, ["end", "close"]);
      assert.equal(owner.byteLength, 3);
    });

    test("drops it on a reset, and says so", () => {
      const { stream, link, owner } = openStream(10);
      stream.pause();
      stream.deliver(patternBytes(3));
      stream.closed(undefined);
      stream.reset(LOST);
      assert.deepEqual(owner.events, ["close ERR_TUNNEL_LOST"]);
      assert.equal(stream.queuedBytes, 0);
      assert.deepEqual(link.log, ["taken 3"], "nothing holds it any more");
    });

    test("drops it on a close, and says so", () => {
      const { stream, link, owner } = openStream(10);
      stream.pause();
      stream.deliver(patternBytes(3));
      stream.closed(undefined);
      stream.close();
      stream.close();
      assert.deepEqual(owner.events, ["close"]);
      assert.equal(stream.queuedBytes, 0);
      assert.deepEqual(link.log, ["taken 3"]);
    });
  });

  test("counts as taken what a closed stream throws away", () => {
    const { stream, link } = openStream(10);
    stream.pause();
    stream.deliver(patternBytes(3));
    stream.close();
    stream.deliver(patternBytes(4));
    assert.deepEqual(link.log, ["taken 3", "close", "taken 4"]);
  });
});

class FakeLink implements StreamLink {
  readonly runtime: StreamLink["runtime"];
  room: number;
  isFull = false;
  bytes = 0;
  readonly sent: Uint8Array[] = [];
  readonly log: string[] = [];

  constructor(clock: ManualClock, room: number) {
    this.runtime = { clock, random: () => 0.5, slabs: new SlabPool() };
    this.room = room;
  }

  writable(): number {
    return this.room;
  }

  write(_id: number, data: Uint8Array): boolean {
    assert.ok(data.byteLength > 0 && data.byteLength <= this.room);
    this.room -= data.byteLength;
    this.bytes += data.byteLength;
    this.sent.push(data);
    this.log.push(`write ${data.byteLength}`);
    return !this.isFull;
  }

  finish(): void {
    this.log.push("finish");
  }

  close(): void {
    this.log.push("close");
  }

  reset(_id: number, cause: TunnelError): void {
    this.log.push(`reset ${cause.code}`);
  }

  taken(_stream: MuxStream, byteLength: number): void {
    this.log.push(`taken ${byteLength}`);
  }
}

/** A stream that reads, on a link with so much room. */
function openStream(room: number): {
  stream: MuxStream;
  link: FakeLink;
  owner: Recorder;
  clock: ManualClock;
} {
  const clock = new ManualClock();
  const link = new FakeLink(clock, room);
  const stream = new MuxStream(1, { transport: "test", local: "a", peer: "b" }, link);
  const owner = new Recorder(stream);
  stream.resume();
  return { stream, link, owner, clock };
}
