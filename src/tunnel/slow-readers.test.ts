import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Recorder } from "../../test/support/recorder.ts";
import { SlabPool } from "../bytes/slab-pool.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import type { ConnectionHandler } from "./connection.ts";
import { MuxStream, type StreamLink } from "./mux-stream.ts";
import { type SlowReaderPolicy, SlowReaders } from "./slow-readers.ts";

const POLICY = { maxStreamBytes: 1_000, maxLinkBytes: 3_000, stallMs: 500 };

describe("slow readers", () => {
  test("are no matter while they keep up", () => {
    const link = new Link(POLICY);
    const stream = link.open();
    stream.resume();
    for (let count = 0; count < 100; count++) link.deliver(stream, 900);
    assert.deepEqual(link.log, []);
    assert.equal(link.clock.pending, 0);
  });

  test("pause the link at the stream's bound, until a quarter is left", () => {
    const link = new Link(POLICY);
    const stream = link.open();
    link.deliver(stream, 400);
    link.deliver(stream, 600);
    assert.deepEqual(link.log, []);
    link.deliver(stream, 1);
    link.deliver(stream, 250);
    assert.deepEqual(link.log, ["pause"]);
    link.take(stream, 2);
    assert.equal(stream.queuedBytes, 251);
    assert.deepEqual(link.log, ["pause"]);
    link.take(stream, 1);
    assert.deepEqual(link.log, ["pause", "resume"]);
  });

  test("that make progress lose nothing, however slow they are", () => {
    const link = new Link(POLICY);
    const stream = link.open();
    for (let count = 0; count < 11; count++) link.deliver(stream, 100);
    for (let count = 0; count < 8; count++) {
      link.clock.advance(499);
      link.take(stream, 1);
    }
    assert.deepEqual(link.log, ["pause"]);
    link.take(stream, 1);
    assert.deepEqual(link.log, ["pause", "resume"]);
    assert.equal(link.clock.pending, 0);
  });

  test("that take nothing are reset, and the link goes on", () => {
    const link = new Link(POLICY);
    const [stalled, other] = [link.open(), link.open()];
    const owner = new Recorder(stalled);
    link.deliver(stalled, 1_001);
    link.clock.advance(499);
    assert.deepEqual(link.log, ["pause"]);
    link.clock.advance(1);
    assert.deepEqual(link.log, ["pause", `reset ${stalled.id}`, "resume"]);
    assert.deepEqual(owner.events, ["close ERR_SLOW_READER"]);
    assert.match(
      owner.closeError?.message ?? "",
      /took nothing for 500 ms with 1001 bytes waiting/,
    );
    assert.notEqual(owner.closeError?.hint, undefined);
    link.deliver(other, 900);
    assert.equal(link.clock.pending, 0);
  });

  test("keep the link paused for as long as it takes under the policy pause", () => {
    const link = new Link({ ...POLICY, mode: "pause" });
    const stream = link.open();
    link.deliver(stream, 1_001);
    link.clock.advance(1e6);
    assert.deepEqual(link.log, ["pause"]);
    link.take(stream, 1);
    assert.deepEqual(link.log, ["pause", "resume"]);
    assert.equal(link.clock.pending, 0);
  });

  test("resume the link when the last of several is done", () => {
    const link = new Link(POLICY);
    const [one, two] = [link.open(), link.open()];
    link.deliver(one, 1_001);
    link.deliver(two, 1_001);
    link.take(one, 1);
    assert.deepEqual(link.log, ["pause"]);
    link.take(two, 1);
    assert.deepEqual(link.log, ["pause", "resume"]);
  });

  test("answer for the link's bound with the one that holds most, not with the last", () => {
    const link = new Link(POLICY);
    const hogs = [900, 1_000, 900].map((bytes) => {
      const stream = link.open();
      link.deliver(stream, bytes);
      return stream;
    });
    const innocent = link.open();
    const owner = new Recorder(innocent);
    link.deliver(innocent, 201);
    assert.deepEqual(link.log, ["pause"]);
    link.clock.advance(500);
    assert.deepEqual(link.log, ["pause", `reset ${hogs[1]?.id}`, "resume"]);
    assert.deepEqual(owner.events, [], "it holds next to nothing");
    assert.equal(link.clock.pending, 0);
  });

  test("share the link's bound as long as the greatest goes on", () => {
    const link = new Link(POLICY);
    const greatest = link.open();
    for (let count = 0; count < 10; count++) link.deliver(greatest, 100);
    const others = [link.open(), link.open(), link.open()];
    for (const other of others) link.deliver(other, 800);
    assert.deepEqual(link.log, ["pause"]);
    for (let count = 0; count < 3; count++) {
      link.clock.advance(499);
      link.take(greatest, 1);
    }
    assert.deepEqual(link.log, ["pause"]);
    link.take(greatest, 1);
    assert.deepEqual(link.log, ["pause", "resume"], "3000 bytes are within the bound");
    assert.equal(link.clock.pending, 0);
  });

  test("that are gone hold nothing back", () => {
    const link = new Link(POLICY);
    const stream = link.open();
    link.deliver(stream, 1_001);
    link.slow.forget(stream);
    link.slow.forget(stream);
    assert.deepEqual(link.log, ["pause", "resume"]);
    assert.equal(link.clock.pending, 0);
    for (let count = 0; count < 10; count++) {
      const other = link.open();
      link.deliver(other, 900);
      link.slow.forget(other);
    }
    assert.deepEqual(link.log, ["pause", "resume"]);
  });

  test("that ended still count until their reader took the rest", () => {
    const link = new Link(POLICY);
    const ended = Array.from({ length: 4 }, () => {
      const stream = link.open();
      const owner = new Recorder(stream);
      link.deliver(stream, 900);
      stream.closed(undefined);
      link.slow.ended(stream);
      return { stream, owner };
    });
    assert.deepEqual(link.log, ["pause"]);
    const [first, second] = ended;
    second?.stream.resume();
    assert.deepEqual(second?.owner.events, ["end", "close"]);
    assert.deepEqual(link.log, ["pause", "resume"]);
    link.deliver(link.open(), 400);
    link.clock.advance(500);
    assert.deepEqual(link.log.slice(2), ["pause", "resume"]);
    assert.deepEqual(first?.owner.events, ["close ERR_SLOW_READER"]);
    assert.equal(link.clock.pending, 0);
  });

  test("leave no timer behind when the link ends", () => {
    const link = new Link(POLICY);
    for (let count = 0; count < 4; count++) link.deliver(link.open(), 1_001);
    link.slow.dispose();
    assert.equal(link.clock.pending, 0);
  });

  test("pause the link exactly while somebody is over a bound", () => {
    const act = fc.record({
      stream: fc.nat(4),
      what: fc.constantFrom(...(["deliver", "deliver", "take", "take", "forget", "wait"] as const)),
      amount: fc.integer({ min: 1, max: 1_500 }),
    });
    fc.assert(
      fc.property(
        fc.constantFrom("reset" as const, "pause" as const),
        fc.array(act, { maxLength: 100 }),
        (mode, walk) => {
          const link = new Link({ ...POLICY, mode });
          const streams = Array.from({ length: 5 }, () => link.open());
          for (const { stream: index, what, amount } of walk) {
            const stream = streams[index] ?? link.open();
            if (what === "deliver" && !link.isPaused) link.deliver(stream, amount);
            if (what === "take") link.take(stream, 1);
            if (what === "wait") link.clock.advance(amount);
            if (what === "forget" || link.isReset(stream)) {
              link.slow.forget(stream);
              streams[index] = link.open();
            }
            const held = streams.map(({ queuedBytes }) => queuedBytes);
            const total = held.reduce((sum, bytes) => sum + bytes, 0);
            const isOver = total > 3_000 || held.some((bytes) => bytes > 1_000);
            if (isOver) assert.ok(link.isPaused, `${held.join(" ")} bytes and not paused`);
            if (total === 0) assert.ok(!link.isPaused, "nothing held, and paused");
          }
          for (const stream of streams) while (stream.queuedBytes > 0) link.take(stream, 1);
          assert.ok(!link.isPaused);
          assert.equal(link.clock.pending, 0);
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** A link that only counts. */
class Link {
  readonly clock = new ManualClock();
  readonly log: string[] = [];
  readonly slow: SlowReaders;
  isPaused = false;
  readonly #link: StreamLink;
  #streams = 0;

  constructor(policy: Partial<SlowReaderPolicy>) {
    this.slow = new SlowReaders(this.clock, policy, {
      pause: () => this.#pause(true),
      resume: () => this.#pause(false),
    });
    this.#link = {
      runtime: { clock: this.clock, random: () => 0.5, slabs: new SlabPool() },
      writable: () => 0,
      write: () => true,
      finish: () => {},
      close: () => {},
      reset: (id) => this.log.push(`reset ${id}`),
      taken: (stream) => this.slow.taken(stream),
    };
  }

  /** A stream whose owner does not read. */
  open(): MuxStream {
    this.#streams++;
    const info = { transport: "test", local: "a", peer: "b" };
    const stream = new MuxStream(this.#streams, info, this.#link);
    stream.attach(IDLE);
    return stream;
  }

  deliver(stream: MuxStream, byteLength: number): void {
    stream.deliver(new Uint8Array(byteLength));
    this.slow.delivered(stream);
  }

  /** Its owner takes so many chunks. */
  take(stream: MuxStream, chunks: number): void {
    let left = chunks;
    stream.attach({
      ...IDLE,
      onData: () => {
        left--;
        if (left === 0) stream.pause();
      },
    });
    stream.resume();
    stream.pause();
  }

  isReset(stream: MuxStream): boolean {
    return this.log.includes(`reset ${stream.id}`);
  }

  #pause(isPaused: boolean): void {
    assert.notEqual(this.isPaused, isPaused, "said twice");
    this.isPaused = isPaused;
    this.log.push(isPaused ? "pause" : "resume");
  }
}

/** Hears everything and does nothing. */
const IDLE: ConnectionHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};
