import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import { run } from "../support/child-process.ts";
import { httpOrigin, type Origin } from "../support/origin.ts";
import { CLIENT_ID, startTunnel, type TestTunnel } from "../support/tunnel.ts";
import { skipWithout } from "../support/which.ts";

const HEADER = Buffer.from(`00${CLIENT_ID.replaceAll("-", "")}`, "hex");

describe("a pong remote under bad input", { skip: skipWithout("curl"), timeout: 120_000 }, () => {
  let tunnel: TestTunnel;
  let origin: Origin;

  before(async () => {
    origin = await httpOrigin();
    tunnel = await startTunnel();
  });

  after(async () => {
    await tunnel?.[Symbol.asyncDispose]();
    await origin?.[Symbol.asyncDispose]();
  });

  /** Others notice nothing. */
  const assertStillServing = async (): Promise<void> => {
    const proxy = ["--socks5-hostname", `127.0.0.1:${tunnel.proxyPort}`];
    const result = await run("curl", [
      "-sS",
      "--max-time",
      "15",
      ...proxy,
      `http://127.0.0.1:${origin.port}/ok`,
    ]);
    assert.equal(result.stdout, "hello from /ok\n", result.stderr);
  };

  const cases: readonly (readonly [name: string, bytes: Buffer, line: RegExp])[] = [
    [
      "a wrong version",
      Buffer.concat([Buffer.from([9]), HEADER.subarray(1)]),
      /pong version 9 is not 0/,
    ],
    [
      "an unknown client id",
      Buffer.concat([Buffer.from([0]), Buffer.alloc(16, 7)]),
      /unknown client id/,
    ],
    ["a header cut short", HEADER.subarray(0, 9), /ended after 9 of 17 bytes/],
    [
      "another protocol's greeting",
      Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
      /pong version 71 is not 0/,
    ],
    [
      "a frame length below 7",
      Buffer.concat([HEADER, Buffer.from("00060000000101", "hex")]),
      /frame length 6 is below 7/,
    ],
    [
      "an end inside a frame",
      Buffer.concat([HEADER, Buffer.from("00ff000000010000", "hex")]),
      /ended inside a frame/,
    ],
  ];
  for (const [name, bytes, line] of cases) {
    test(`closes on ${name}, with a line that says so`, async () => {
      const socket = net.connect({ port: tunnel.servePort, host: "127.0.0.1" });
      socket.on("error", () => {}); // a reset is as good as an end here
      socket.resume();
      socket.end(bytes);
      await new Promise((resolve) => socket.once("close", resolve));
      await tunnel.serve.waitFor(line, { on: "stderr" });
      await assertStillServing();
    });
  }

  test("keeps its memory bounded under 10,000 half-open connections", async () => {
    await assertStillServing();
    const baseline = residentBytes(tunnel.serve.process.pid);
    const sockets: net.Socket[] = [];
    for (let at = 0; at < 10_000; at++) {
      const socket = net.connect({ port: tunnel.servePort, host: "127.0.0.1" });
      socket.on("error", () => {}); // past the limit they are closed at once
      sockets.push(socket);
      if (at % 200 === 199) await once(socket, "connect").catch(() => undefined);
    }
    const grown = residentBytes(tunnel.serve.process.pid) - baseline;
    await assertStillServing();
    for (const socket of sockets) socket.destroy();
    assert.ok(grown < 160 * 1024 * 1024, `${Math.round(grown / 2 ** 20)} MiB`);
    assert.match(tunnel.serve.stderr, /too many peers at their header/);
  });
});

function residentBytes(pid: number | undefined): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(match?.[1] ?? 0) * 1024;
}
