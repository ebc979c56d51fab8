import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Deadlines } from "./deadlines.ts";

describe("deadlines", () => {
  test("knows the earliest and takes what is due", () => {
    const deadlines = new Deadlines<"idle" | "keepalive" | "age">();
    assert.equal(deadlines.next, undefined);
    deadlines.set("idle", 300);
    deadlines.set("keepalive", 100);
    deadlines.set("age", 200);
    assert.equal(deadlines.next, 100);
    assert.deepEqual(deadlines.take(99), []);
    assert.deepEqual(deadlines.take(200), ["keepalive", "age"]);
    assert.equal(deadlines.next, 300);
    assert.equal(deadlines.has("age"), false);
  });

  test("moves and clears a deadline by its name", () => {
    const deadlines = new Deadlines<"idle">();
    deadlines.set("idle", 100);
    deadlines.set("idle", 500);
    assert.deepEqual(deadlines.take(499), []);
    assert.equal(deadlines.has("idle"), true);
    deadlines.clear("idle");
    deadlines.clear("idle");
    assert.deepEqual(deadlines.take(1_000), []);
  });

  test("lets a name be set again while it is handled", () => {
    const deadlines = new Deadlines<number>();
    deadlines.set(7, 100);
    for (const id of deadlines.take(100)) deadlines.set(id, 200);
    assert.equal(deadlines.next, 200);
  });

  test("agrees with a plain list", () => {
    const action = fc.record({ id: fc.nat(5), at: fc.option(fc.nat(100)), take: fc.boolean() });
    fc.assert(
      fc.property(fc.array(action), (actions) => {
        const deadlines = new Deadlines<number>();
        let model: { id: number; at: number }[] = [];
        for (const { id, at, take } of actions) {
          if (take && at !== null) {
            const due = model.filter((entry) => entry.at <= at).map((entry) => entry.id);
            assert.deepEqual(new Set(deadlines.take(at)), new Set(due));
            model = model.filter((entry) => entry.at > at);
          } else {
            model = model.filter((entry) => entry.id !== id);
            if (at === null) deadlines.clear(id);
            else model.push({ id, at });
            if (at !== null) deadlines.set(id, at);
          }
          const earliest = Math.min(...model.map((entry) => entry.at));
          assert.equal(deadlines.next ?? Infinity, earliest);
        }
      }),
    );
  });
});
