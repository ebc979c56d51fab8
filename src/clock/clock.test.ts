import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { delay, systemClock, timeoutAfter } from "./clock.ts";
import { ManualClock } from "./manual-clock.ts";

describe("system clock", () => {
  test("moves forward and fires once", async () => {
    // Its timers keep no process alive, so something else must while we wait.
    const alive = setInterval(() => {}, 1_000);
    const before = systemClock.now();
    let fired = 0;
    await new Promise<void>((resolve) => {
      systemClock.schedule(1, () => {
        fired++;
        resolve();
      });
    });
    clearInterval(alive);
    assert.equal(fired, 1);
    assert.ok(systemClock.now() > before);
  });

  test("does not fire a cancelled timer", async () => {
    let fired = 0;
    const timer = systemClock.schedule(1, () => fired++);
    timer.cancel();
    timer.cancel();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(fired, 0);
  });

  test("keeps a delay beyond Node's range instead of firing at once", async () => {
    let fired = 0;
    const timer = systemClock.schedule(Number.MAX_SAFE_INTEGER, () => fired++);
    await new Promise((resolve) => setTimeout(resolve, 5));
    timer.cancel();
    assert.equal(fired, 0);
  });
});

describe("delay", () => {
  test("resolves when its time has come", async () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    const waiting = delay(clock, 100, abort.signal);
    clock.advance(100);
    await waiting;
    abort.abort();
    assert.equal(clock.pending, 0);
  });

  test("rejects with the signal's reason, before and during, and leaves no timer", async () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    const waiting = delay(clock, 100, abort.signal);
    const reason = new Error("enough");
    abort.abort(reason);
    await assert.rejects(waiting, reason);
    await assert.rejects(delay(clock, 100, abort.signal), reason);
    await assert.rejects(delay(clock, 100, AbortSignal.abort("text")), { message: "text" });
    assert.equal(clock.pending, 0);
  });
});

describe("timeout", () => {
  test("aborts with its reason at its time", () => {
    const clock = new ManualClock();
    const { signal } = timeoutAfter(clock, 100, () => new Error("too slow"));
    clock.advance(99);
    assert.equal(signal.aborted, false);
    clock.advance(1);
    assert.equal(signal.reason.message, "too slow");
  });

  test("is over with its scope", () => {
    const clock = new ManualClock();
    {
      using timeout = timeoutAfter(clock, 100, () => new Error("too slow"));
      assert.equal(timeout.signal.aborted, false);
      assert.equal(clock.pending, 1);
    }
    assert.equal(clock.pending, 0);
  });
});
