import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Health } from "./health.ts";

describe("health of a member", () => {
  test("turns after so many results in a row, and not before", () => {
    const health = new Health({ up: 2, down: 3 });
    assert.deepEqual(
      [health.failed("one"), health.failed("two"), health.passed()],
      [false, false, false],
    );
    assert.deepEqual(
      [health.failed("a"), health.failed("b"), health.failed("c")],
      [false, false, true],
    );
    assert.equal(health.isUp, false);
    assert.equal(health.failure, "c");
    assert.deepEqual(
      [health.passed(), health.failed("d"), health.passed(), health.passed()],
      [false, false, false, true],
    );
    assert.equal(health.isUp, true);
  });

  test("agrees with a naive model", () => {
    const thresholds = fc.record({
      up: fc.integer({ min: 1, max: 4 }),
      down: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(thresholds, fc.array(fc.boolean()), ({ up, down }, results) => {
        const health = new Health({ up, down });
        let isUp = true;
        let since: boolean[] = [];
        for (const result of results) {
          if (result) health.passed();
          else health.failed("x");
          since.push(result);
          const last = since.slice(isUp ? -down : -up);
          if (last.length === (isUp ? down : up) && last.every((one) => one !== isUp)) {
            isUp = !isUp;
            since = [];
          }
          assert.equal(health.isUp, isUp);
        }
      }),
    );
  });
});
