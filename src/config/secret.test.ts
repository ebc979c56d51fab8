import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { format, inspect } from "node:util";
import { Secret } from "./secret.ts";

describe("a secret", () => {
  const secret = new Secret("hunter2");

  test("reveals its value when asked to", () => {
    assert.equal(secret.reveal(), "hunter2");
  });

  test("prints as stars in every common way of printing", () => {
    const ways = [
      String(secret),
      ["", secret].join(""),
      JSON.stringify({ secret }),
      inspect({ nested: { secret } }, { showHidden: true, depth: 9 }),
      format("%s %o %O %j", secret, secret, secret, secret),
      Object.entries(secret).join(),
    ];
    for (const text of ways) assert.doesNotMatch(text, /hunter2/);
    assert.equal(JSON.stringify({ secret }), '{"secret":"***"}');
  });
});
