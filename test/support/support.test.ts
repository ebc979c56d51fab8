import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { run, start } from "./child-process.ts";
import { patternBytes, randomChunks, singleBytes } from "./chunks.ts";
import { assertBytes, dump, hex } from "./hex.ts";
import { skipWithout, which } from "./which.ts";

describe("hex support", () => {
  test("reads spaced digits", () => {
    assert.deepEqual([...hex("00 0e\n ff")], [0x00, 0x0e, 0xff]);
    assert.throws(() => hex("0"), /not whole bytes/);
    assert.throws(() => hex("zz"), /not whole bytes/);
  });

  test("dumps sixteen bytes a line", () => {
    const lines = dump(Buffer.from("Sluice carries TCP")).split("\n");
    assert.deepEqual(lines, [
      "000000  53 6c 75 69 63 65 20 63 61 72 72 69 65 73 20 54  |Sluice carries T|",
      `000010  43 50${" ".repeat(42)}  |CP|`,
    ]);
  });

  test("shows the line that differs", () => {
    assertBytes([hex("01"), hex("02")], hex("01 02"));
    assert.throws(() => assertBytes(hex("01 02"), hex("01 03")), /01 03/);
    assert.throws(() => assertBytes(hex("01"), hex("")), { name: "AssertionError" });
  });
});

describe("chunk support", () => {
  test("loses and adds nothing, whatever the sizes", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.infiniteStream(fc.nat(20)), (bytes, sizes) => {
        assertBytes([...randomChunks(bytes, sizes)], bytes);
        assertBytes([...singleBytes(bytes)], bytes);
      }),
    );
  });

  test("ends when every size is zero", () => {
    const zeros = {
      *[Symbol.iterator]() {
        for (;;) yield 0;
      },
    };
    assertBytes([...randomChunks(hex("01 02"), zeros)], hex("01 02"));
  });

  test("makes the same pattern from the same seed only", () => {
    assertBytes(patternBytes(100, 7), patternBytes(100, 7));
    assert.notDeepEqual(patternBytes(100, 7), patternBytes(100, 8));
    assert.equal(new Set(patternBytes(4_096)).size, 256);
  });
});

describe("program support", () => {
  test("finds programs in the path", () => {
    assert.ok(which("sh")?.endsWith("/sh"));
    assert.equal(which("no-such-program-here"), undefined);
    assert.equal(skipWithout("sh"), false);
    assert.equal(skipWithout("sh", "no-such-program-here"), "not installed: no-such-program-here");
  });

  test("runs a program to its end", async () => {
    const result = await run("sh", ["-c", "cat; echo err >&2; exit 3"], { input: "in\n" });
    assert.deepEqual(result, { code: 3, signal: null, stdout: "in\n", stderr: "err\n" });
  });

  test("waits for a line and ends the program with the scope", async () => {
    let pid: number | undefined;
    {
      await using child = start("sh", ["-c", "echo port 4711; exec sleep 100"]);
      const match = await child.waitFor(/port (\d+)/);
      assert.equal(match[1], "4711");
      pid = child.process.pid;
    }
    assert.throws(() => process.kill(pid ?? 0, 0), { code: "ESRCH" });
  });

  test("tells what was printed when the line never comes", async () => {
    await using child = start("sh", ["-c", "echo other; exit 1"]);
    await assert.rejects(child.waitFor(/port/), /it ended[^]*other/);
  });

  test("kills a program at its deadline", async () => {
    const result = await run("sleep", ["100"], { deadlineMs: 50 });
    assert.equal(result.signal, "SIGKILL");
    assert.equal(result.code, 137);
  });

  test("rejects for a program that cannot start", async () => {
    await assert.rejects(run("no-such-program-here"), /cannot start no-such-program-here/);
  });
});
