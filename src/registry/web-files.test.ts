import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { WebFile } from "../protocols/vproxy/websocks/send-page.ts";
import { openWebFiles } from "./web-files.ts";

describe("web files", () => {
  let folder: string;
  let root: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "sluice-web-"));
    root = join(folder, "root");
    mkdirSync(join(root, "sub"), { recursive: true });
    writeFileSync(join(root, "page.html"), "<p>page</p>");
    writeFileSync(join(root, "empty"), "");
    writeFileSync(join(folder, "secret"), "secret");
    mkdirSync(join(folder, "rootling"));
    writeFileSync(join(folder, "rootling", "x"), "neighbour");
    symlinkSync(join(folder, "secret"), join(root, "out"));
    symlinkSync(join(root, "page.html"), join(root, "in"));
  });
  after(() => rmSync(folder, { recursive: true }));

  const read = async (path: string): Promise<string | undefined> => {
    const found = await (await openWebFiles(root)).find(path);
    return found === undefined || found === "folder" ? found : await text(found);
  };

  test("are found by their path", async () => {
    assert.equal(await read("/page.html"), "<p>page</p>");
    assert.equal(await read("/empty"), "");
    assert.equal(await read("/sub"), "folder");
    assert.equal(await read("/"), "folder");
    assert.equal(await read("/nothing"), undefined);
  });

  test("stay below the folder, whatever links say", async () => {
    assert.equal(await read("/in"), "<p>page</p>");
    assert.equal(await read("/out"), undefined);
    assert.equal(await read("/../secret"), undefined);
    assert.equal(await read("/../rootling/x"), undefined);
  });

  test("are closed when nobody reads on", async () => {
    const file = await (await openWebFiles(root)).find("/page.html");
    assert.ok(typeof file === "object");
    for await (const chunk of file.read()) {
      assert.ok(chunk.byteLength > 0);
      break;
    }
  });

  test("need a folder", async () => {
    await assert.rejects(openWebFiles(join(root, "nope")), /there is no such directory/);
    await assert.rejects(openWebFiles(join(root, "empty")), /is no directory/);
  });
});

async function text(file: WebFile): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.read()) chunks.push(chunk);
  assert.equal(Buffer.concat(chunks).byteLength, file.byteLength);
  return Buffer.concat(chunks).toString();
}
