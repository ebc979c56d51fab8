import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type GroupPolicy, pick } from "./pick.ts";

describe("picking a member", () => {
  test("goes by order, turn or load, and only to those that are free", () => {
    const members = [{ load: 3 }, { load: 1 }, { load: 2 }, { load: 1 }];
    const table: readonly (readonly [GroupPolicy, turn: number, free: string, expected: number])[] =
      [
        ["failover", 2, "yyyy", 0],
        ["failover", 2, "nnyy", 2],
        ["failover", 0, "nnnn", -1],
        ["round-robin", 2, "yyyy", 2],
        ["round-robin", 2, "yynn", 0],
        ["round-robin", 3, "nyyn", 1],
        ["round-robin", 0, "nnnn", -1],
        ["least-streams", 0, "yyyy", 1],
        ["least-streams", 2, "yyyy", 3],
        ["least-streams", 2, "ynyn", 2],
        ["least-streams", 0, "nnnn", -1],
      ];
    for (const [policy, turn, free, expected] of table) {
      const isFree = (index: number): boolean => free[index] === "y";
      assert.equal(pick(policy, members, { isFree, turn }), expected, `${policy} ${turn} ${free}`);
    }
    assert.equal(pick("round-robin", [], { isFree: () => true, turn: 0 }), -1);
  });
});
