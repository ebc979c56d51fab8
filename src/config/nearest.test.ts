import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { didYouMean, editDistance, nearest } from "./nearest.ts";

describe("nearest", () => {
  test("counts insertions, deletions, replacements and swaps", () => {
    assert.equal(editDistance("tls", "tls"), 0);
    assert.equal(editDistance("tsl", "tls"), 1);
    assert.equal(editDistance("inbound", "inbounds"), 1);
    assert.equal(editDistance("kitten", "sitting"), 3);
    assert.equal(editDistance("", "abc"), 3);
  });

  test("finds the candidate that was meant", () => {
    assert.equal(nearest("inbund", ["serve", "inbounds", "outbounds"]), "inbounds");
    assert.equal(nearest("TSL", ["tcp", "tls"]), "tls");
  });

  test("stays silent when nothing is close", () => {
    assert.equal(nearest("banana", ["tcp", "tls", "ws"]), undefined);
    assert.equal(nearest("x".repeat(10_000), ["tcp"]), undefined);
    assert.equal(didYouMean("banana", ["tcp"]), "");
  });

  test("phrases the question", () => {
    assert.equal(didYouMean("pnog", ["pong"]), ' (did you mean "pong"?)');
  });
});
