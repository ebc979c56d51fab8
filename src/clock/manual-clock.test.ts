import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "./manual-clock.ts";

describe("manual clock", () => {
  test("fires in the order of due times, then of scheduling", () => {
    const clock = new ManualClock();
    const fired: string[] = [];
    clock.schedule(20, () => fired.push("late"));
    clock.schedule(10, () => fired.push("first"));
    clock.schedule(10, () => fired.push("second"));
    assert.equal(clock.next, 10);
    clock.advance(9);
    assert.deepEqual(fired, []);
    clock.advance(11);
    assert.deepEqual(fired, ["first", "second", "late"]);
    assert.equal(clock.next, undefined);
  });

  test("shows a callback its own time, and fires what it schedules on the way", () => {
    const clock = new ManualClock();
    const fired: number[] = [];
    const again = (): void => {
      fired.push(clock.now());
      if (fired.length < 3) clock.schedule(10, again);
    };
    clock.schedule(10, again);
    clock.advance(25);
    assert.deepEqual(fired, [10, 20]);
    assert.equal(clock.now(), 25);
    clock.advance(5);
    assert.deepEqual(fired, [10, 20, 30]);
  });

  test("fires what is overdue at once, never in the past", () => {
    const clock = new ManualClock();
    clock.advance(100);
    let at = 0;
    clock.schedule(-50, () => (at = clock.now()));
    clock.advance(0);
    assert.equal(at, 100);
  });

  test("forgets cancelled timers, also from within a callback", () => {
    const clock = new ManualClock();
    let fired = 0;
    const doomed = clock.schedule(10, () => fired++);
    clock.schedule(5, () => doomed.cancel());
    clock.advance(20);
    doomed.cancel();
    assert.equal(fired, 0);
    assert.equal(clock.pending, 0);
  });

  test("fires the same timers however the time is cut up", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(100)),
        fc.array(fc.nat(30), { minLength: 1 }),
        (delays, steps) => {
          const total = steps.reduce((sum, step) => sum + step, 0);
          const runs = [steps, [total]].map((parts) => {
            const clock = new ManualClock();
            const fired: string[] = [];
            for (const [index, ms] of delays.entries()) {
              clock.schedule(ms, () => fired.push(`${index}@${clock.now()}`));
            }
            for (const part of parts) clock.advance(part);
            return fired;
          });
          assert.deepEqual(runs[0], runs[1]);
        },
      ),
    );
  });
});
