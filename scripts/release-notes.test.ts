import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { run } from "../test/support/child-process.ts";
import { foldFragments, parseFragmentName } from "./fold-fragments.ts";

const TOP = join(import.meta.dirname, "..");

describe("release notes", () => {
  test("take the kind from the file name", () => {
    assert.equal(parseFragmentName("pong-over-ws.added.md"), "added");
    assert.equal(parseFragmentName("Pong.added.md"), undefined);
    assert.equal(parseFragmentName("pong.improved.md"), undefined);
    assert.equal(parseFragmentName("pong.md"), undefined);
  });

  test("group the changes above the former release", () => {
    const before = "# Changes\n\n## 0.1.0 (2026-11-01)\n\n### Added\n\n- Old.\n";
    const after = foldFragments(
      before,
      [
        { kind: "fixed", text: "Fixes a thing." },
        { kind: "added", text: "Adds a thing\nin two lines.\n" },
        { kind: "added", text: "Adds another." },
      ],
      { version: "0.2.0", date: "2026-12-01" },
    );
    assert.equal(
      after,
      [
        "# Changes\n",
        "## 0.2.0 (2026-12-01)\n",
        "### Added\n",
        "- Adds a thing\n  in two lines.\n- Adds another.\n",
        "### Fixed\n",
        "- Fixes a thing.\n",
        "## 0.1.0 (2026-11-01)\n\n### Added\n\n- Old.\n",
      ].join("\n"),
    );
  });

  test("start a change log that has no release yet", () => {
    const after = foldFragments("# Changes\n", [{ kind: "added", text: "All." }], {
      version: "0.1.0",
      date: "2026-11-20",
    });
    assert.equal(after, "# Changes\n\n## 0.1.0 (2026-11-20)\n\n### Added\n\n- All.\n");
  });

  test("refuse a version twice", () => {
    const before = "# Changes\n\n## 0.1.0 (2026-11-01)\n";
    const release = { version: "0.1.0", date: "2026-11-20" };
    assert.throws(() => foldFragments(before, [], release), /0\.1\.0 is released already/);
  });

  test("fold the files and empty the folder", async () => {
    await using checkout = await copyOfDocuments();
    const done = await releaseNotes(checkout.path, ["0.9.0", "2026-12-01"]);
    assert.equal(done.stderr, "");
    assert.equal(done.code, 0);
    assert.deepEqual(await readdir(join(checkout.path, "changes")), ["README.md"]);
    const log = await readFile(join(checkout.path, "CHANGELOG.md"), "utf8");
    assert.match(log, /^## 0\.9\.0 \(2026-12-01\)\n\n### Added\n\n[^]*- Tests releases\.$/m);
  });

  test("name a misnamed or empty fragment and change nothing", async () => {
    await using checkout = await copyOfDocuments();
    await writeFile(join(checkout.path, "changes", "oops.md"), "What kind?");
    await writeFile(join(checkout.path, "changes", "empty.fixed.md"), "\n");
    const before = await readFile(join(checkout.path, "CHANGELOG.md"), "utf8");
    const failed = await releaseNotes(checkout.path, ["0.9.0"]);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /changes\/oops\.md: not <slug>/);
    assert.match(failed.stderr, /changes\/empty\.fixed\.md: says nothing/);
    assert.equal(await readFile(join(checkout.path, "CHANGELOG.md"), "utf8"), before);
    assert.equal((await releaseNotes(checkout.path, ["next"])).code, 2);
  });

  test("can be made from the fragments of this checkout", async () => {
    const names = await readdir(join(TOP, "changes"));
    const fragments = names.filter((name) => name !== "README.md");
    assert.deepEqual(
      fragments.filter((name) => parseFragmentName(name) === undefined),
      [],
    );
  });
});

function releaseNotes(top: string, args: readonly string[]): ReturnType<typeof run> {
  const script = join(import.meta.dirname, "release-notes.ts");
  return run(process.execPath, [script, ...args], { env: { SLUICE_RELEASE_TOP: top } });
}

async function copyOfDocuments(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "sluice-"));
  await mkdir(join(path, "changes"));
  await cp(join(TOP, "CHANGELOG.md"), join(path, "CHANGELOG.md"));
  await cp(join(TOP, "changes", "README.md"), join(path, "changes", "README.md"));
  await writeFile(join(path, "changes", "test.added.md"), "Tests releases.\n");
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
