import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes } from "../../../test/support/chunks.ts";
import { assertBytes } from "../../../test/support/hex.ts";
import { Flight } from "./flight.ts";
import { ReceiveQueue } from "./receive-queue.ts";
import { SendQueue } from "./send-queue.ts";

const FIRST = fc.constantFrom(0, 5, 0x7ffffffa, 0xfffffff0);

describe("kcp send queue", () => {
  test("gives the written bytes in order, in full pieces", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(300), { maxLength: 300, size: "max" }),
        fc.integer({ min: 1, max: 100 }),
        (lengths, limit) => {
          const queue = new SendQueue();
          const chunks = lengths.map((length, index) => patternBytes(length, index + 1));
          for (const chunk of chunks) queue.push(chunk);
          const total = lengths.reduce((sum, length) => sum + length, 0);
          assert.equal(queue.byteLength, total);
          const cut: Uint8Array[] = [];
          while (queue.byteLength > 0) {
            const isLast = queue.byteLength <= limit;
            const piece = queue.cut(limit);
            assert.ok(isLast || piece.byteLength === limit);
            cut.push(piece);
          }
          assertBytes(cut, chunks);
          assert.equal(queue.cut(limit).byteLength, 0);
        },
      ),
    );
  });

  test("does not copy what lies in one chunk, nor pin a chunk for its last bytes", () => {
    const queue = new SendQueue();
    const chunk = patternBytes(250);
    queue.push(chunk);
    assert.equal(queue.cut(100).buffer, chunk.buffer);
    assert.equal(queue.cut(100).buffer, chunk.buffer);
    assert.notEqual(queue.cut(100).buffer, chunk.buffer);
  });
});

describe("kcp receive queue", () => {
  test("behaves like a sorted list of everything it took", () => {
    const arrival = fc.record({
      ahead: fc.integer({ min: -20, max: 80 }),
      takes: fc.boolean(),
    });
    fc.assert(
      fc.property(
        FIRST,
        fc.integer({ min: 1, max: 70 }),
        fc.array(arrival, { maxLength: 300 }),
        (first, window, arrivals) => {
          const options = { receiveWindow: window, maxReceivedBytes: 1_000_000 };
          const queue = new ReceiveQueue(options, first);
          const held = new Map<number, Uint8Array>();
          let next = 0;
          let taken = 0;
          for (const { ahead, takes } of arrivals) {
            const index = Math.max(0, next + ahead);
            const data = Uint8Array.of(index, index >>> 8);
            const accepted = queue.accept((first + index) >>> 0, data);
            assert.equal(accepted, index < next + window);
            if (accepted && index >= next) held.set(index, data);
            while (held.has(next) && next - taken < window) next++;
            assert.equal(queue.next, (first + next) >>> 0);
            assert.equal(queue.freeSegments, window - (next - taken));
            if (!takes) continue;
            for (const chunk of queue.take()) assert.deepEqual(chunk, held.get(taken++));
            assert.equal(taken, next);
            while (held.has(next) && next - taken < window) next++;
          }
        },
      ),
    );
  });

  test("copies a crumb of a large datagram that has to wait", () => {
    const queue = new ReceiveQueue({ receiveWindow: 10, maxReceivedBytes: 1000 });
    const datagram = new Uint8Array(60_000);
    queue.accept(1, datagram.subarray(24, 26));
    queue.accept(0, datagram.subarray(0, 2));
    const [passed, waited] = queue.take();
    assert.ok(passed?.buffer === datagram.buffer);
    assert.equal(waited?.buffer.byteLength, 2);
  });
});

describe("kcp flight", () => {
  test("behaves like a list of what was sent and not acknowledged", () => {
    const act = fc.oneof(
      fc.record({ what: fc.constant("add" as const), index: fc.nat(40) }),
      fc.record({
        what: fc.constant("acknowledge" as const),
        index: fc.integer({ min: -5, max: 60 }),
      }),
      fc.record({ what: fc.constant("before" as const), index: fc.integer({ min: -5, max: 60 }) }),
    );
    fc.assert(
      fc.property(FIRST, fc.array(act, { maxLength: 200 }), (firstSequence, acts) => {
        const flight = new Flight(firstSequence);
        const waiting = new Map<number, number>();
        let sent = 0;
        let acknowledged = 0;
        for (const { what, index } of acts) {
          const oldest = Math.min(sent, ...waiting.keys());
          const at = (firstSequence + oldest + index) >>> 0;
          if (what === "add") {
            flight.add(new Uint8Array(index));
            waiting.set(sent++, index);
          } else if (what === "acknowledge") {
            const found = flight.acknowledge(at);
            assert.equal(found !== undefined, waiting.delete(oldest + index));
            if (found !== undefined) acknowledged++;
          } else {
            flight.acknowledgeBefore(at);
            for (const key of waiting.keys()) {
              if (oldest + index > sent || key >= oldest + index) continue;
              waiting.delete(key);
              acknowledged++;
            }
          }
          const first = Math.min(sent, ...waiting.keys());
          assert.equal(flight.first, (firstSequence + first) >>> 0);
          assert.equal(flight.next, (firstSequence + sent) >>> 0);
          assert.equal(flight.span, sent - first);
          assert.equal(flight.waiting, waiting.size);
          assert.equal(flight.acknowledgedTotal, acknowledged);
          assert.deepEqual(
            [...flight].map(({ sequence }) => (sequence - firstSequence) >>> 0),
            [...waiting.keys()],
          );
          const bytes = [...waiting.values()].reduce((sum, length) => sum + length, 0);
          assert.equal(flight.byteLength, bytes);
        }
      }),
    );
  });
});
