import assert from "node:assert/strict";
import { mkdtemp, rename, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { type LogLine, manualRuntime, recordingLogger } from "../../test/support/test-client.ts";
import type { ManualClock } from "../clock/manual-clock.ts";
import { ConfigError } from "../errors.ts";
import { HostLists, type LiveList } from "./host-lists.ts";

describe("host lists", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-lists-"));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  test("are read again when their file changes, by writing or by another in its place", async () => {
    const { lists, lines } = make();
    const path = join(folder, "list.txt");
    await writeFile(path, "||a.example\n");
    const list = await lists.open({ path });
    assert.equal(await lists.open({ path }), list, "one for all routes");
    assert.ok(names(list, "a.example"));
    await writeFile(path, "||b.example.org\n");
    await lists.refresh();
    assert.deepEqual([names(list, "a.example"), names(list, "b.example.org")], [false, true]);
    await writeFile(`${path}.new`, "||c.example.org\n");
    await rename(`${path}.new`, path);
    await lists.refresh();
    await lists.refresh();
    assert.ok(names(list, "c.example.org"));
    assert.deepEqual(
      lines.map(({ message }) => message),
      ["host list read", "host list read again", "host list read again"],
    );
  });

  test("stay as they were when the new file is of no use, which is said once", async () => {
    const { lists, lines } = make();
    const path = join(folder, "list.txt");
    await writeFile(path, "||a.example\n");
    const list = await lists.open({ path });
    await rm(path);
    await lists.refresh();
    await lists.refresh();
    await writeFile(path, "");
    await truncate(path, 16_777_217);
    await lists.refresh();
    await lists.refresh();
    assert.ok(names(list, "a.example"));
    const warnings = lines.filter(({ level }) => level === "warn");
    assert.equal(warnings.length, 2);
    assert.match(String(warnings[1]?.fields["reason"]), /16777217 bytes exceed 16777216/);
    await writeFile(path, "||b.example\n");
    await lists.refresh();
    assert.ok(names(list, "b.example"));
  });

  test("name the file and line of what they cannot read", async () => {
    const { lists, lines } = make();
    const path = join(folder, "list.txt");
    await writeFile(path, `||a.example\n${"/(/\n".repeat(25)}`);
    assert.ok(names(await lists.open({ path }), "a.example"));
    const warnings = lines.filter(({ level }) => level === "warn");
    assert.equal(warnings.length, 21);
    assert.equal(warnings[0]?.fields["list"], `${path}:2`);
    assert.deepEqual(warnings[20]?.fields, { list: path, lines: 5 });
  });

  test("do not open when there is no file, or it is too large", async () => {
    const { lists } = make();
    const path = join(folder, "list.txt");
    const because = (reason: string): ((thrown: unknown) => boolean) => {
      return (thrown) => thrown instanceof ConfigError && thrown.message.endsWith(reason);
    };
    await assert.rejects(lists.open({ path }), because("list.txt: there is no such file"));
    await assert.rejects(lists.open({ path: folder }), because(": is a directory"));
    await writeFile(path, "\n".repeat(200_000));
    await assert.rejects(lists.open({ path }), because(": more than 200000 lines"));
  });

  test("are looked at from time to time, until they are closed", async () => {
    const { lists, clock } = make();
    const path = join(folder, "list.txt");
    await writeFile(path, "");
    assert.equal(clock.pending, 0);
    await lists.open({ path });
    assert.equal(clock.next, 5_000);
    lists.close();
    assert.equal(clock.pending, 0);
  });
});

function make(): { lists: HostLists; lines: LogLine[]; clock: ManualClock } {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  return { lists: new HostLists({ runtime, logger }), lines, clock: runtime.clock };
}

function names(list: LiveList, host: string): boolean {
  return list.matchesTarget({ network: "tcp", host, port: 443 });
}
