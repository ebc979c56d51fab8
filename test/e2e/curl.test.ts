import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type ChildResult, run } from "../support/child-process.ts";
import { httpOrigin, type Origin, patternHash } from "../support/origin.ts";
import { PONG_TRANSPORTS, startTunnel, type TestTunnel } from "../support/tunnel.ts";
import { skipWithout } from "../support/which.ts";

const skip = skipWithout("curl", "openssl");

for (const transport of PONG_TRANSPORTS) {
  describe(`curl through pong over ${transport}`, { skip }, () => {
    let tunnel: TestTunnel;
    let origin: Origin;

    before(async () => {
      origin = await httpOrigin();
      tunnel = await startTunnel({ transport });
    });

    after(async () => {
      await tunnel?.[Symbol.asyncDispose]();
      await origin?.[Symbol.asyncDispose]();
    });

    const curl = (...args: readonly string[]): Promise<ChildResult> =>
      run("curl", ["--silent", "--show-error", "--max-time", "20", ...args]);

    const proxies: readonly (readonly [
      name: string,
      flags: (port: number) => string[],
      host: string,
    ])[] = [
      ["--socks5", (port) => ["--socks5", `127.0.0.1:${port}`], "127.0.0.1"],
      ["--socks5-hostname", (port) => ["--socks5-hostname", `127.0.0.1:${port}`], "localhost"],
      ["--socks4", (port) => ["--socks4", `127.0.0.1:${port}`], "127.0.0.1"],
      ["--socks4a", (port) => ["--socks4a", `127.0.0.1:${port}`], "localhost"],
      ["-x http://", (port) => ["-x", `http://127.0.0.1:${port}`], "127.0.0.1"],
      ["-p -x http:// (CONNECT)", (port) => ["-p", "-x", `http://127.0.0.1:${port}`], "localhost"],
    ];
    for (const [name, flags, host] of proxies) {
      test(`fetches with ${name}`, async () => {
        const { port } = origin;
        const result = await curl(...flags(tunnel.proxyPort), `http://${host}:${port}/hello`);
        assert.equal(result.stdout, "hello from /hello\n", result.stderr);
      });
    }

    test("keeps the connection for two requests in one call", async () => {
      const url = `http://127.0.0.1:${origin.port}`;
      const proxy = `http://127.0.0.1:${tunnel.proxyPort}`;
      const { stdout, stderr } = await curl(
        "-x",
        proxy,
        `${url}/one`,
        `${url}/two`,
        "-w",
        "%{num_connects} ",
      );
      assert.equal(stdout, "hello from /one\n1 hello from /two\n0 ", stderr);
    });

    test("says refused through SOCKS5 when the target refuses", async () => {
      const result = await curl("--socks5", `127.0.0.1:${tunnel.proxyPort}`, "http://127.0.0.1:1/");
      assert.equal(result.code, 97, result.stderr);
      assert.match(result.stderr, /5/);
    });

    test("says 502 with the reason through HTTP when the target refuses", async () => {
      const result = await curl(
        "-x",
        `http://127.0.0.1:${tunnel.proxyPort}`,
        "-i",
        "http://127.0.0.1:1/",
      );
      assert.match(result.stdout, /^HTTP\/1\.1 502 /);
      assert.match(result.stdout, /refused/);
    });

    test("carries 16 MiB each way without a bit changed", async () => {
      const size = 16 * 1024 * 1024;
      const expected = await patternHash(size);
      const proxy = `127.0.0.1:${tunnel.proxyPort}`;
      const url = `http://127.0.0.1:${origin.port}`;
      const pipe = `curl -sS --socks5 ${proxy} ${url}/bytes/${size} | tee >(sha256sum >&2) | curl -sS --socks5 ${proxy} -T - ${url}/put`;
      const result = await run("bash", ["-c", pipe], { deadlineMs: 30_000 });
      assert.equal(result.stdout, `${size} ${expected}\n`, result.stderr);
    });
  });
}

test("runs 500 requests, 250 at a time", { skip }, async () => {
  await using origin = await httpOrigin();
  await using tunnel = await startTunnel();
  const urls = `http://127.0.0.1:${origin.port}/[1-500]`;
  const flags = ["--parallel", "--parallel-immediate", "--parallel-max", "250"];
  const proxy = ["--socks5-hostname", `127.0.0.1:${tunnel.proxyPort}`];
  const result = await run("curl", ["-sS", ...flags, ...proxy, urls, "--max-time", "60"], {
    deadlineMs: 60_000,
  });
  const lines = result.stdout.trimEnd().split("\n").toSorted();
  const expected = Array.from({ length: 500 }, (_, at) => `hello from /${at + 1}`).toSorted();
  assert.deepEqual(lines, expected, result.stderr);
});
