import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { IdleTimer } from "./idle-timer.ts";
import { ManualClock } from "./manual-clock.ts";

describe("idle timer", () => {
  test("calls once, when nothing was touched for the whole time", () => {
    const clock = new ManualClock();
    let calls = 0;
    const timer = new IdleTimer(clock, 100, () => calls++);
    clock.advance(60);
    timer.touch();
    clock.advance(99);
    assert.equal(calls, 0);
    clock.advance(1);
    assert.equal(calls, 1);
    clock.advance(1_000);
    assert.equal(calls, 1);
    assert.equal(clock.pending, 0);
  });

  test("calls nobody after it was cancelled, nor with a timeout of 0", () => {
    const clock = new ManualClock();
    const timer = new IdleTimer(clock, 100, () => assert.fail("cancelled"));
    const never = new IdleTimer(clock, 0, () => assert.fail("never"));
    timer.cancel();
    never.touch();
    clock.advance(1_000);
    assert.equal(clock.pending, 0);
  });

  test("counts the silence there was when the time is changed", () => {
    const clock = new ManualClock();
    let calls = 0;
    const timer = new IdleTimer(clock, 1_000, () => calls++);
    clock.advance(60);
    timer.changeTo(100);
    clock.advance(39);
    assert.equal(calls, 0);
    clock.advance(1);
    assert.equal(calls, 1);
    assert.equal(clock.pending, 0);
  });

  test("calls at once when more silence than enough has passed", () => {
    const clock = new ManualClock();
    let calls = 0;
    const timer = new IdleTimer(clock, 1_000, () => calls++);
    clock.advance(500);
    timer.changeTo(100);
    clock.advance(0);
    assert.equal(calls, 1);
  });
});
