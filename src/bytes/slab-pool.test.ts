import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { SlabPool } from "./slab-pool.ts";

describe("slab pool", () => {
  test("makes slabs of its size until too many are taken", () => {
    const pool = new SlabPool(100, 2);
    const [one, two] = [pool.take(), pool.take()];
    assert.equal(one?.byteLength, 100);
    assert.notEqual(one?.buffer, two?.buffer);
    assert.equal(pool.take(), undefined);
    pool.give(taken(two));
    assert.equal(pool.take(), two);
  });

  test("makes room for the next reader when a slab is lent", () => {
    const pool = new SlabPool(100, 1);
    const slab = taken(pool.take());
    const lent = pool.lend(slab, 60);
    assert.equal(lent.byteLength, 60);
    assert.equal(lent.buffer, slab.buffer);
    assert.notEqual(pool.take(), slab, "its bytes are still out");
  });

  test("takes a slab back once every lent byte was recycled, in any pieces", () => {
    const pool = new SlabPool(100, 2);
    const slab = taken(pool.take());
    const lent = pool.lend(slab, 60);
    pool.recycle(lent.subarray(40));
    pool.recycle(lent.subarray(0, 39));
    const other = pool.take();
    assert.notEqual(other, slab);
    pool.recycle(lent.subarray(39, 40));
    assert.equal(pool.take(), slab);
  });

  test("recycles bytes that went out in another form", () => {
    const pool = new SlabPool(100, 1);
    const slab = taken(pool.take());
    const lent = pool.lend(slab, 60);
    pool.recycle(lent, 20);
    pool.recycle(lent, 40);
    assert.equal(pool.take(), slab);
  });

  test("cuts messages out of slabs, and uses a slab again when all of them came back", () => {
    const pool = new SlabPool(100, 1);
    const messages = Array.from({ length: 8 }, () => pool.allocate(24));
    const [first, , , fourth, fifth] = messages;
    assert.equal(first?.buffer, fourth?.buffer);
    assert.notEqual(first?.buffer, fifth?.buffer, "the first slab has room for four");
    for (const message of messages.slice(0, 4)) pool.recycle(message);
    assert.equal(pool.allocate(24).buffer, first?.buffer);
    assert.equal(new Set(messages.map(({ byteOffset }) => byteOffset)).size, 4);
  });

  test("gives memory of its own to what would fill a slab soon", () => {
    const pool = new SlabPool(100, 1);
    const large = pool.allocate(26);
    assert.equal(large.buffer.byteLength, 26);
    pool.recycle(large);
    assert.notEqual(pool.allocate(10).buffer, large.buffer);
  });

  test("ignores bytes that are none of its own", () => {
    const pool = new SlabPool(100, 1);
    pool.recycle(Buffer.from("foreign"));
    pool.recycle(pool.scratch);
    assert.equal(pool.take()?.byteLength, 100);
  });

  test("forgets a loan when it is over: recycling late does no harm", () => {
    const pool = new SlabPool(100, 2);
    const slab = taken(pool.take());
    const lent = pool.lend(slab, 10);
    pool.recycle(lent);
    pool.recycle(lent);
    assert.equal(pool.take(), slab);
    assert.notEqual(pool.take(), slab, "it is not free twice");
  });

  test("never hands out a slab whose bytes are out or that is being read into", () => {
    const action = fc.record({
      do: fc.constantFrom("take", "give", "lend", "recycle"),
      at: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const pool = new SlabPool(16, 8);
        const reading: Uint8Array[] = [];
        const lent: Uint8Array[] = [];
        for (const { do: what, at } of actions) {
          if (what === "take") {
            const slab = pool.take();
            if (slab === undefined) {
              assert.equal(reading.length, 8);
              continue;
            }
            const inUse = [...reading, ...lent].some(({ buffer }) => buffer === slab.buffer);
            assert.ok(!inUse, "handed out twice");
            reading.push(slab);
          } else if (what === "recycle") {
            const [bytes] = lent.splice(at % Math.max(1, lent.length), 1);
            if (bytes !== undefined) pool.recycle(bytes);
          } else {
            const [slab] = reading.splice(at % Math.max(1, reading.length), 1);
            if (slab === undefined) continue;
            if (what === "give") pool.give(slab);
            else lent.push(pool.lend(slab, 1 + (at % 16)));
          }
        }
      }),
    );
  });
});

function taken(slab: Uint8Array | undefined): Uint8Array {
  assert.ok(slab !== undefined);
  return slab;
}
