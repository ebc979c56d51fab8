import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../clock/clock.ts";
import { ConfigError } from "../errors.ts";
import { parseCredential } from "./credential.ts";
import { type ResolveOptions, resolveCredential } from "./resolve-credential.ts";

const resolveText = async (text: string, options?: Partial<ResolveOptions>): Promise<string> => {
  const env = { TOKEN: " sesame \n", EMPTY: "  ", LINES: "one\ntwo" };
  const all = { clock: systemClock, env, what: 'client "alice"', ...options };
  return (await resolveCredential(parseCredential(text), all)).reveal();
};

const rejects = async (
  text: string,
  expected: RegExp,
  options?: Partial<ResolveOptions>,
): Promise<void> => {
  await assert.rejects(resolveText(text, options), (thrown) => {
    assert.ok(thrown instanceof ConfigError);
    assert.equal(thrown.code, "ERR_CREDENTIAL");
    assert.match(thrown.message, expected);
    assert.match(thrown.message, /^client "alice": /);
    return true;
  });
};

describe("resolving a credential", () => {
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-credential-"));
  });
  after(() => rm(folder, { recursive: true }));

  test("takes a literal as it is", async () => {
    assert.equal(await resolveText("hunter2"), "hunter2");
  });

  test("reads the environment, trimmed", async () => {
    assert.equal(await resolveText("env:TOKEN"), "sesame");
    await rejects("env:NOPE", /environment variable NOPE is not set/);
    await rejects("env:EMPTY", /environment variable EMPTY is empty/);
    await rejects("env:LINES", /environment variable LINES has 2 lines, want one/);
    assert.equal(await resolveText("env:LINES", { isMultiline: true }), "one\ntwo");
  });

  test("reads a file, trimmed and bounded", async () => {
    const path = join(folder, "token");
    await writeFile(path, "sesame\n");
    assert.equal(await resolveText(`file:${path}`), "sesame");
    await rejects(`file:${path}`, /exceeds 3 bytes/, { maxBytes: 3 });
    await rejects(`file:${folder}/nope`, /nope cannot be read: there is no such file/);
    await rejects(`file:${folder}`, /is a directory/);
  });

  test("runs a command and takes its one line", async () => {
    assert.equal(await resolveText("cmd:echo sesame"), "sesame");
    assert.equal(await resolveText("cmd:printf 'a b' | tr a c"), "c b");
    await rejects("cmd:exit 3", /command "exit 3" failed with exit code 3/);
    await rejects("cmd:echo why >&2; exit 1", /failed with exit code 1: why/);
    await rejects("cmd:true", /command "true" is empty/);
    await rejects("cmd:echo a; echo b", /has 2 lines/);
  });

  test("ends a command that prints without end, or never ends", async () => {
    await rejects("cmd:yes", /command "yes" printed more than 65536 bytes/);
    await rejects("cmd:sleep 60 | cat", /did not end within 50 ms/, { commandTimeoutMs: 50 });
  });

  test("stops waiting for a command when told to", async () => {
    const signal = AbortSignal.abort(new Error("never mind"));
    await assert.rejects(resolveText("cmd:sleep 60", { signal }), /never mind/);
  });
});
