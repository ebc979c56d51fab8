import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { backoffMs, DEFAULT_BACKOFF } from "./backoff.ts";

describe("backoff", () => {
  test("doubles its cap with every attempt, up to the maximum", () => {
    const caps = [0, 1, 2, 3, 7, 8, 1_000].map((attempt) => backoffMs(attempt, 1));
    assert.deepEqual(caps, [250, 500, 1_000, 2_000, 30_000, 30_000, 30_000]);
  });

  test("spreads over the whole range, but is never nothing", () => {
    assert.equal(backoffMs(3, 0), 25);
    assert.equal(backoffMs(3, 0.5), 1_000);
  });

  test("stays between a tenth of the minimum and the maximum", () => {
    const limits = fc.record({
      minMs: fc.integer({ min: 1, max: 10_000 }),
      maxMs: fc.integer({ min: 10_000, max: 100_000 }),
    });
    const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(fc.nat(), random, limits, (attempt, chance, { minMs, maxMs }) => {
        const waitMs = backoffMs(attempt, chance, { minMs, maxMs });
        assert.ok(waitMs >= minMs / 10 && waitMs <= maxMs, `${waitMs} ms`);
      }),
    );
  });

  test("gives half of many clients a different second than the other half", () => {
    const { maxMs } = DEFAULT_BACKOFF;
    const waits = Array.from({ length: 100 }, (_, index) => backoffMs(20, index / 100));
    assert.equal(waits.filter((waitMs) => waitMs < maxMs / 2).length, 50);
  });
});
