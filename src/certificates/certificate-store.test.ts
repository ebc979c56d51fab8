import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { strToU8, zipSync } from "fflate";
import { vectorPath, vectorText } from "../../test/support/godoxy-certificates.ts";
import { ConfigError } from "../errors.ts";
import { isZip, readStore, writeStore } from "./certificate-store.ts";
import { checkMaterial } from "./material.ts";

const STORE = {
  ca: vectorText("agent-a", "ca.pem"),
  cert: vectorText("agent-a", "client.pem"),
  key: vectorText("agent-a", "client.key"),
};
const FILES = {
  "ca.pem": strToU8(STORE.ca),
  "cert.pem": strToU8(STORE.cert),
  "key.pem": strToU8(STORE.key),
};

describe("certificate stores", () => {
  test("of the original are read", () => {
    for (const agent of ["agent-a", "agent-b"] as const) {
      const bytes = readFileSync(vectorPath(agent, "agent.zip"));
      assert.ok(isZip(bytes));
      const store = readStore(bytes);
      assert.deepEqual(store, {
        ca: vectorText(agent, "ca.pem"),
        cert: vectorText(agent, "client.pem"),
        key: vectorText(agent, "client.key"),
      });
      checkMaterial(store);
    }
  });

  test("of ours are read back, and always the same bytes", () => {
    assert.deepEqual(readStore(writeStore(STORE)), STORE);
    assert.deepEqual(writeStore(STORE), writeStore(STORE));
  });

  test("of ours have the entries of the original, in its order, not compressed", () => {
    // The central directory: the method stands at 10, the length of the name at 28, the name at 46.
    const names = (bytes: Buffer): string[] => {
      const found: string[] = [];
      for (let at = 0; (at = bytes.indexOf("504b0102", at, "hex")) >= 0; at += 46) {
        assert.equal(bytes.readUInt16LE(at + 10), 0);
        found.push(bytes.toString("latin1", at + 46, at + 46 + bytes.readUInt16LE(at + 28)));
      }
      return found;
    };
    const original = names(readFileSync(vectorPath("agent-a", "agent.zip")));
    assert.deepEqual(original.toSorted(), ["ca.pem", "cert.pem", "key.pem"]);
    assert.deepEqual(names(Buffer.from(writeStore(STORE))), original);
  });

  test("are read by unzip, and those of zip by us", { skip: zipSkip() }, () => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-store-"));
    try {
      const path = join(folder, "ours.zip");
      writeFileSync(path, writeStore(STORE));
      const unzip = (...args: string[]) => execFileSync("unzip", args, { encoding: "utf8" });
      assert.match(unzip("-t", path), /No errors detected/);
      assert.equal(unzip("-p", path, "key.pem"), STORE.key);
      for (const [name, bytes] of Object.entries(FILES)) writeFileSync(join(folder, name), bytes);
      writeFileSync(join(folder, "notes.txt"), "more");
      const entries = ["notes.txt", "key.pem", "ca.pem", "cert.pem"];
      execFileSync("zip", ["-q", "-9", "theirs.zip", ...entries], { cwd: folder });
      assert.deepEqual(readStore(readFileSync(join(folder, "theirs.zip"))), STORE);
      // Written to a pipe, sizes stand in the central directory alone, as the original has it.
      const piped = execFileSync("zip", ["-q", "-", ...entries], { cwd: folder });
      assert.deepEqual(readStore(piped), STORE);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const { "key.pem": _, ...withoutKey } = FILES;
  const twice = Buffer.from(zipSync({ ...FILES, "xx.pem": FILES["ca.pem"] }, { level: 0 }));
  for (let at = twice.indexOf("xx.pem"); at >= 0; at = twice.indexOf("xx.pem"))
    twice.write("ca.pem", at);
  for (const [what, bytes, message] of [
    ["without a key", zipSync(withoutKey), /^store has no key.pem$/],
    ["that is empty", new Uint8Array(), /^store is no zip that can be read: /],
    ["that is text", strToU8(STORE.ca), /^store is no zip that can be read: /],
    ["cut short", writeStore(STORE).subarray(0, 900), /^store is no zip that can be read: /],
    [
      "with a key for a certificate",
      zipSync({ ...FILES, "cert.pem": FILES["key.pem"] }),
      /^cert.pem /,
    ],
    ["with an entry twice", twice, /^store has ca.pem twice$/],
    [
      "with an entry that swells",
      zipSync({ ...FILES, "ca.pem": new Uint8Array(20_000_000) }),
      /^ca.pem of 20000000 bytes exceeds 65536$/,
    ],
    [
      "with too many entries",
      zipSync(
        Object.fromEntries(Array.from({ length: 65 }, (__, at) => [`${at}`, FILES["ca.pem"]])),
      ),
      /^store has over 64 entries$/,
    ],
    ["too large", new Uint8Array(1_048_577), /^store of 1048577 bytes exceeds 1048576$/],
  ] as const) {
    test(`are refused: one ${what}`, () => {
      assert.throws(
        () => readStore(bytes),
        (thrown) => {
          assert.ok(thrown instanceof ConfigError, String(thrown));
          assert.match(thrown.message, message);
          return true;
        },
      );
    });
  }

  test("that were damaged give a store or an error of the configuration", () => {
    const good = writeStore(STORE);
    const change = fc.tuple(fc.nat(good.byteLength - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
        const bytes = Uint8Array.from(good);
        for (const [at, value] of changes) bytes[at] = value;
        try {
          readStore(bytes);
        } catch (thrown) {
          assert.ok(thrown instanceof ConfigError, String(thrown));
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

function zipSkip(): string | false {
  const isThere = ["zip", "unzip"].every((name) => spawnSync(name, ["-v"]).error === undefined);
  return isThere ? false : "zip or unzip is not installed";
}
