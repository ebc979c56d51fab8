import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { clockDifference, formatHttpDate, parseHttpDate } from "./http-date.ts";

describe("dates of HTTP", () => {
  test("are read as HTTP and as vproxy write them", () => {
    const unixMs = Date.UTC(2026, 10, 20, 15, 40, 52);
    assert.equal(parseHttpDate("Fri, 20 Nov 2026 15:40:52 GMT"), unixMs);
    assert.equal(parseHttpDate("Fri Nov 20 15:40:52 UTC 2026"), unixMs);
    assert.equal(parseHttpDate("Fri Nov 20 15:40:52 GMT 2026"), unixMs);
  });

  test("say nothing in zones that are several, and in no form at all", () => {
    for (const text of [
      "",
      "now",
      "Fri Nov 20 15:40:52 CST 2026",
      "Fri, 20 Nov 2026 15:40:52 CET",
      "Fri, 32 Nov 2026 15:40:52 GMT",
      "Fri, 20 Foo 2026 15:40:52 GMT",
      "Fri, 20 Nov 2026 25:40:52 GMT",
      "2026-11-20T15:40:52Z",
    ]) {
      assert.equal(parseHttpDate(text), undefined, text);
    }
  });

  test("come back as they were written", () => {
    fc.assert(
      fc.property(fc.nat(4_102_444_800), (seconds) => {
        assert.equal(parseHttpDate(formatHttpDate(seconds * 1_000 + 999)), seconds * 1_000);
      }),
    );
  });
});

describe("a difference of clocks", () => {
  const at = Date.UTC(2026, 10, 20, 15, 40, 52);
  const difference = (askedAt: number, answeredAt: number): number | undefined =>
    clockDifference(formatHttpDate(at), { askedAt: at + askedAt, answeredAt: at + answeredAt })
      ?.aheadMs;

  test("is none within the second of the date and the time of the answer", () => {
    assert.equal(difference(0, 10), 0);
    assert.equal(difference(999, 1_500), 0);
    assert.equal(difference(-9_000, 9_000), 0);
  });

  test("is what cannot be explained otherwise", () => {
    assert.equal(difference(60_999, 61_500), -60_000);
    assert.equal(difference(-61_000, -60_000), 60_000);
  });

  test("is unknown without a date", () => {
    assert.equal(clockDifference(undefined, { askedAt: 0, answeredAt: 0 }), undefined);
    assert.equal(clockDifference("soon", { askedAt: 0, answeredAt: 0 }), undefined);
  });
});
