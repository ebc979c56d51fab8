import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ConfigError } from "../errors.ts";
import { loadConfig, problemOf, readConfigFile } from "./load.ts";

describe("loading a configuration", () => {
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-load-"));
  });
  after(() => rm(folder, { recursive: true }));

  test("puts flags over the environment over the file", () => {
    const file = { log: { level: "warn", format: "json" }, grace: "1s" };
    assert.deepEqual(loadConfig(file, {}, {}).log, { level: "warn", format: "json" });
    const environment = { SLUICE_LOG_LEVEL: "error", SLUICE_GRACE: "2s", SLUICE_OTHER: "x" };
    const middle = loadConfig(file, {}, environment);
    assert.deepEqual(middle.log, { level: "error", format: "json" });
    assert.equal(middle.grace, 2000);
    const top = loadConfig(file, { logLevel: "debug", grace: "3s" }, environment);
    assert.deepEqual(top.log, { level: "debug", format: "json" });
    assert.equal(top.grace, 3000);
  });

  test("names the variable that is wrong", () => {
    const load = (environment: Record<string, string>) => () => loadConfig({}, {}, environment);
    assert.throws(
      load({ SLUICE_LOG_LEVEL: "debgu" }),
      /^ConfigError: environment variable SLUICE_LOG_LEVEL: "debgu" is not one of .* \(did you mean "debug"\?\)$/,
    );
    assert.throws(load({ SLUICE_GRACE: "soon" }), /SLUICE_GRACE: "soon" is no duration/);
    assert.deepEqual(loadConfig({}, {}, { SLUICE_GRACE: "" }), loadConfig({}, {}, {}));
  });

  test("judges the text of a flag by itself", () => {
    assert.equal(problemOf("grace", "10s"), undefined);
    assert.match(problemOf("logFormat", "prety") ?? "", /did you mean "pretty"\?/);
  });

  test("reads a file, or standard input, and reports problems with their place", async () => {
    const path = join(folder, "sluice.yaml");
    await writeFile(path, "grace: 3s\n");
    assert.deepEqual(await readConfigFile(path, none()), { grace: "3s" });
    assert.deepEqual(await readConfigFile("-", once("grace: 4s\n")), { grace: "4s" });
    await assert.rejects(readConfigFile("-", once("a: 1\nb: 2\n")), (thrown) => {
      assert.ok(thrown instanceof ConfigError);
      assert.match(thrown.message, /^stdin:1:1: a: unknown key.*\nstdin:2:1: b: unknown key/);
      return true;
    });
  });

  test("says why a file cannot be read", async () => {
    await assert.rejects(
      readConfigFile(join(folder, "nope"), none()),
      /nope: there is no such file/,
    );
    await assert.rejects(readConfigFile(folder, none()), /is a directory/);
    await assert.rejects(
      readConfigFile("-", once("#".repeat(1_048_577))),
      /configuration exceeds 1048576 bytes/,
    );
  });
});

async function* none(): AsyncGenerator<string> {}

async function* once(text: string): AsyncGenerator<string> {
  yield text;
}
