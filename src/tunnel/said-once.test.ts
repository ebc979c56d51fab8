import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MAX_SAID, SaidOnce } from "./said-once.ts";

describe("said once", () => {
  test("knows what it has heard, and falls silent at the bound", () => {
    const said = new SaidOnce();
    assert.equal(said.isFirst("a"), true);
    assert.equal(said.isFirst("a"), false);
    for (let count = 1; count < MAX_SAID; count++) assert.equal(said.isFirst(`${count}`), true);
    assert.equal(said.isFirst("one too many"), false);
    assert.equal(said.isFirst("a"), false);
  });
});
