import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { WrongTokens } from "./wrong-tokens.ts";

describe("wrong tokens", () => {
  test("are new once", () => {
    const wrong = new WrongTokens();
    assert.deepEqual(
      ["a", "b", "a", "a", "b", "c"].map((token) => wrong.isNew(token)),
      [true, true, false, false, false, true],
    );
  });

  test("are forgotten when others came since", () => {
    const wrong = new WrongTokens(2);
    assert.deepEqual(
      ["a", "b", "a", "c", "a", "b"].map((token) => wrong.isNew(token)),
      [true, true, false, true, false, true],
    );
  });
});
