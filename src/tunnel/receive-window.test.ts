import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ReceiveWindow, type WindowBudget } from "./receive-window.ts";

describe("receive window", () => {
  test("grants again when a quarter of it was taken, not when it arrived", () => {
    const window = new ReceiveWindow(
      { initialWindowBytes: 100, maxWindowBytes: 100 },
      { remaining: 0 },
      0,
    );
    assert.ok(window.receive(100, 0));
    assert.equal(window.consume(24, 0), 0);
    assert.equal(window.consume(1, 0), 25);
    assert.equal(window.consume(50, 0), 50);
  });

  test("notices more than was granted", () => {
    const window = new ReceiveWindow(
      { initialWindowBytes: 100, maxWindowBytes: 100 },
      { remaining: 0 },
      0,
    );
    assert.ok(window.receive(60, 0));
    assert.equal(window.consume(60, 0), 60);
    assert.ok(window.receive(100, 0));
    assert.ok(!window.receive(1, 0));
  });

  test("doubles for a quick reader up to its eager size, whatever limits", () => {
    const budget = { remaining: 1_000 };
    const limits = { initialWindowBytes: 100, eagerWindowBytes: 300, maxWindowBytes: 300 };
    const window = new ReceiveWindow(limits, budget, 0);
    assert.ok(window.receive(50, 0));
    assert.equal(window.consume(50, 4), 150, "50 again and 100 more");
    assert.equal(budget.remaining, 900);
    assert.ok(window.receive(100, 4));
    assert.equal(window.consume(100, 8), 200, "100 again and the last 100");
    assert.ok(window.receive(150, 8));
    assert.equal(window.consume(150, 12), 150);
    assert.equal(budget.remaining, 800);
    window.release();
    window.release();
    assert.equal(budget.remaining, 1_000);
  });

  test("stays as it is for a slow reader", () => {
    const budget = { remaining: 1_000 };
    const window = new ReceiveWindow(
      { initialWindowBytes: 100, eagerWindowBytes: 300, maxWindowBytes: 300 },
      budget,
      0,
    );
    assert.ok(window.receive(50, 0));
    assert.equal(window.consume(50, 5), 50);
    assert.equal(budget.remaining, 1_000);
  });

  test("grows to its maximum where the round trip is what limits", () => {
    const { windowBytes, bytesPerMs } = transfer({ tripMs: 100, bytesPerMs: 1e6, forMs: 4_000 });
    assert.equal(windowBytes, LIMITS.maxWindowBytes);
    assert.ok(bytesPerMs > 0.8 * (LIMITS.maxWindowBytes / 100), `${bytesPerMs} bytes/ms`);
  });

  test("grows no further than the path is full", () => {
    for (const tripMs of [0.2, 10, 50, 200]) {
      for (const bytesPerMs of [1_000, 10_000]) {
        const { windowBytes, ...got } = transfer({ tripMs, bytesPerMs, forMs: 10_000 });
        const path = tripMs * bytesPerMs;
        const most = Math.max(2 * LIMITS.initialWindowBytes, 3 * path);
        assert.ok(windowBytes <= most, `${windowBytes} bytes for a path of ${path}`);
        const reachable = Math.min(bytesPerMs, LIMITS.maxWindowBytes / tripMs);
        assert.ok(got.bytesPerMs > 0.8 * reachable, `${got.bytesPerMs} of ${reachable} bytes/ms`);
      }
    }
  });

  test("grows no further than the link's budget", () => {
    const budget = { remaining: 30 };
    const [one, two] = [0, 1].map(
      () =>
        new ReceiveWindow(
          { initialWindowBytes: 100, eagerWindowBytes: 1_000, maxWindowBytes: 1_000 },
          budget,
          0,
        ),
    );
    assert.equal(one?.consume(50, 0), 80);
    assert.equal(two?.consume(50, 0), 50);
    assert.equal(budget.remaining, 0);
    one?.release();
    assert.equal(budget.remaining, 30);
  });

  test("neither overruns nor starves an obedient sender, and keeps the budget", () => {
    const steps = fc.array(
      fc.record({
        stream: fc.nat(2),
        act: fc.constantFrom("send" as const, "consume" as const, "wait" as const),
        share: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
      { maxLength: 200 },
    );
    const limits = fc.record({
      initialWindowBytes: fc.integer({ min: 1, max: 1_000 }),
      eagerWindowBytes: fc.integer({ min: 1, max: 20_000 }),
      maxWindowBytes: fc.integer({ min: 1, max: 20_000 }),
    });
    fc.assert(
      fc.property(limits, fc.nat(5_000), steps, (bounds, total, walk) => {
        const { initialWindowBytes: initial, maxWindowBytes: max } = bounds;
        const budget: WindowBudget = { remaining: total };
        const models = [0, 1, 2].map(() => ({
          window: new ReceiveWindow(bounds, budget, 0),
          credit: initial,
          queued: 0,
        }));
        let now = 0;
        for (const { stream, act, share } of walk) {
          const model = models[stream];
          if (model === undefined) continue;
          if (act === "wait") now += Math.round(share * 2_000);
          if (act === "send") {
            const byteLength = Math.round(share * model.credit);
            assert.ok(model.window.receive(byteLength, now), "an obedient sender was refused");
            model.credit -= byteLength;
            model.queued += byteLength;
          }
          if (act === "consume") {
            const byteLength = Math.round(share * model.queued);
            model.queued -= byteLength;
            const increment = model.window.consume(byteLength, now);
            assert.ok(Number.isInteger(increment) && increment >= 0);
            model.credit += increment;
          }
          assert.ok(model.credit + model.queued <= Math.max(initial, max), "over the maximum");
          assert.ok(budget.remaining >= 0);
          // Whoever has everything taken may send: otherwise both ends wait for ever.
          if (model.queued === 0) assert.ok(model.credit > 0, "the sender is stuck");
        }
        for (const { window } of models) window.release();
        assert.equal(budget.remaining, total);
      }),
      { numRuns: 300 },
    );
  });
});

const LIMITS = { initialWindowBytes: 100_000, maxWindowBytes: 1_600_000 };

/** A sender that has always more to say, a path of this length and width, a reader that keeps up. */
function transfer(path: {
  readonly tripMs: number;
  readonly bytesPerMs: number;
  readonly forMs: number;
}): { readonly windowBytes: number; readonly bytesPerMs: number } {
  const { tripMs, bytesPerMs, forMs } = path;
  const window = new ReceiveWindow(LIMITS, { remaining: LIMITS.maxWindowBytes }, 0);
  const grants = [{ at: tripMs / 2, bytes: LIMITS.initialWindowBytes }];
  let windowBytes = LIMITS.initialWindowBytes;
  let unacknowledged = 0;
  let total = 0;
  let freeAt = 0; // when the narrowest place of the path takes the next piece
  for (let grant = grants.shift(); grant !== undefined; grant = grants.shift()) {
    for (let left = grant.bytes; left > 0; left -= PIECE) {
      const bytes = Math.min(PIECE, left);
      freeAt = Math.max(freeAt, grant.at) + bytes / bytesPerMs;
      const now = freeAt + tripMs / 2;
      if (now > forMs) return { windowBytes, bytesPerMs: total / (forMs / 2) };
      assert.ok(window.receive(bytes, now));
      if (now > forMs / 2) total += bytes; // it is at its full size by then
      unacknowledged += bytes;
      const increment = window.consume(bytes, now);
      if (increment === 0) continue;
      windowBytes += increment - unacknowledged;
      unacknowledged = 0;
      grants.push({ at: now + tripMs / 2, bytes: increment });
    }
  }
  throw new Error("the sender is stuck");
}

const PIECE = 4_000;
