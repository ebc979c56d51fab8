import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ReceiveWindow, type WindowBudget } from "./receive-window.ts";

describe("receive window", () => {
  test("grants again when half of it was taken, not when it arrived", () => {
    const window = new ReceiveWindow({ initial: 100, max: 100 }, { remaining: 0 }, 0);
    assert.ok(window.receive(100));
    assert.equal(window.consume(49, 0), 0);
    assert.equal(window.consume(1, 0), 50);
    assert.equal(window.consume(50, 0), 50);
  });

  test("notices more than was granted", () => {
    const window = new ReceiveWindow({ initial: 100, max: 100 }, { remaining: 0 }, 0);
    assert.ok(window.receive(60));
    assert.equal(window.consume(60, 0), 60);
    assert.ok(window.receive(100));
    assert.ok(!window.receive(1));
  });

  test("doubles while the reader is quick, up to its maximum", () => {
    const budget = { remaining: 1_000 };
    const window = new ReceiveWindow({ initial: 100, max: 300 }, budget, 0);
    assert.ok(window.receive(50));
    assert.equal(window.consume(50, 500), 150, "50 again and 100 more");
    assert.equal(budget.remaining, 900);
    assert.ok(window.receive(100));
    assert.equal(window.consume(100, 600), 200, "100 again and the last 100");
    assert.ok(window.receive(150));
    assert.equal(window.consume(150, 700), 150);
    assert.equal(budget.remaining, 800);
    window.release();
    window.release();
    assert.equal(budget.remaining, 1_000);
  });

  test("stays as it is for a slow reader", () => {
    const budget = { remaining: 1_000 };
    const window = new ReceiveWindow({ initial: 100, max: 300 }, budget, 0);
    assert.ok(window.receive(50));
    assert.equal(window.consume(50, 501), 50);
    assert.equal(budget.remaining, 1_000);
  });

  test("grows no further than the link's budget", () => {
    const budget = { remaining: 30 };
    const [one, two] = [0, 1].map(() => new ReceiveWindow({ initial: 100, max: 1_000 }, budget, 0));
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
      initial: fc.integer({ min: 1, max: 1_000 }),
      max: fc.integer({ min: 1, max: 20_000 }),
    });
    fc.assert(
      fc.property(limits, fc.nat(5_000), steps, ({ initial, max }, total, walk) => {
        const budget: WindowBudget = { remaining: total };
        const models = [0, 1, 2].map(() => ({
          window: new ReceiveWindow({ initial, max }, budget, 0),
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
            assert.ok(model.window.receive(byteLength), "an obedient sender was refused");
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
