import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { ConfigError } from "../errors.ts";
import { ANY_DURATION, formatDuration, parseDuration } from "./duration.ts";

describe("a duration", () => {
  test("reads every unit, and seconds without one", () => {
    const table: Record<string, number> = {
      "0": 0,
      "10": 10_000,
      "250ms": 250,
      "15s": 15_000,
      "1.5m": 90_000,
      "2h": 7_200_000,
      "1d": 86_400_000,
      "15 s": 15_000,
      "15S": 15_000,
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.equal(parseDuration(text), expected, text);
    }
  });

  test("refuses what is no duration, naming the problem", () => {
    const table: Record<string, RegExp> = {
      "": /"" is no duration/,
      soon: /"soon" is no duration/,
      "-5s": /"-5s" is no duration/,
      "5sec": /unit "sec" is not one of ms, s, m, h, d/,
      "5hm": /unit "hm" is not one of.*did you mean/,
      "31d": /not between 0s and 30d/,
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.throws(() => parseDuration(text), expected, text);
      assert.throws(() => parseDuration(text), ConfigError);
    }
  });

  test("keeps to its limits", () => {
    assert.throws(() => parseDuration("1ms", { min: 10, max: 100 }), /between 10ms and 100ms/);
  });

  test("reads back what it writes", () => {
    fc.assert(
      fc.property(fc.nat(ANY_DURATION.max), (duration) => {
        assert.equal(parseDuration(formatDuration(duration)), duration);
      }),
    );
  });
});
