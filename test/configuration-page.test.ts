import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { configurationPage, schemaFile } from "../scripts/configuration-page.ts";
import { checkText } from "../src/config/check.ts";

const read = (path: string): Promise<string> =>
  readFile(new URL(`../${path}`, import.meta.url), "utf8");

describe("what is written from the configuration schema", () => {
  test("is up to date: run `node scripts/write-schema.ts` when this fails", async () => {
    assert.equal(await read("schema/sluice.schema.json"), schemaFile());
    assert.equal(await read("docs/configuration.md"), configurationPage());
  });

  test("has an example that checks", () => {
    const [, yaml = ""] = /```yaml\n(.*?)```/s.exec(configurationPage()) ?? [];
    assert.deepEqual(checkText(yaml).problems, []);
  });
});
