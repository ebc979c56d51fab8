import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseClientId } from "./client-id.ts";

describe("a client id", () => {
  test("reads every spelling of a UUID", () => {
    const expected = Buffer.from("0f60855688f711eca8a30242ac120002", "hex");
    for (const text of [
      "0f608556-88f7-11ec-a8a3-0242ac120002",
      "0F608556-88F7-11EC-A8A3-0242AC120002",
      "0f60855688f711eca8a30242ac120002",
      "{0f608556-88f7-11ec-a8a3-0242ac120002}",
      "urn:uuid:0f608556-88f7-11ec-a8a3-0242ac120002",
    ]) {
      assert.deepEqual(Buffer.from(parseClientId(text)), expected, text);
    }
  });

  test("refuses other text without repeating it", () => {
    assert.throws(
      () => parseClientId("hunter2"),
      /^ConfigError: client id of 7 characters is no UUID$/,
    );
  });
});
