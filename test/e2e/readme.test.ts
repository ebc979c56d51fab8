import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { start } from "../support/child-process.ts";
import { httpOrigin } from "../support/origin.ts";
import { CLIENT_ID, freePorts } from "../support/tunnel.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What each example after the first (`serve`) must print. */
const PRINTS = [
  /^HTTP\/1\.1 200 OK\r\n[^]*hello from \/open\n$/,
  /^hello from \/agent\n$/,
  /^hello from \/fetch\n/,
  /up pong\+tcp:\/\/127\.0\.0\.1:\d+\n[^]*ERR_POLICY_DENIED /,
];

describe("examples in the README", () => {
  test("run as they stand, in the order they stand", { timeout: 60_000 }, async () => {
    const readme = await readFile(join(ROOT, "README.md"), "utf8");
    const examples = Array.from(readme.matchAll(/^```ts\n([^]*?)^```$/gm), ([, code = ""]) => code);
    assert.equal(examples.length, 1 + PRINTS.length);
    await using origin = await httpOrigin();
    const [port] = await freePorts(2);
    // Inside the checkout, so that the package finds itself by name.
    const folder = await mkdtemp(join(ROOT, ".readme-"));
    try {
      const run = async (code: string, index: number) => {
        const file = join(folder, `${index}.ts`);
        await writeFile(
          file,
          code.replaceAll("7000", `${port}`).replaceAll("8080", `${origin.port}`),
        );
        const flags = ["--conditions=sluice-source", file];
        return start(process.execPath, flags, { env: { ALICE: CLIENT_ID }, deadlineMs: 50_000 });
      };
      const [serve = "", ...others] = examples;
      await using server = await run(serve, 0);
      await server.waitFor(/listening on/);
      for (const [index, code] of others.entries()) {
        await using child = await run(code, index + 1);
        const { stdout, stderr, code: exitCode } = await child.exit;
        assert.match(stdout, PRINTS[index] ?? /never/, `${code}\n${stderr}`);
        assert.equal(exitCode, 0, stderr);
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
