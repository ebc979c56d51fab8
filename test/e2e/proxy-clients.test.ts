import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { describe, test } from "node:test";
import { SocksClient, type SocksProxy } from "socks";
import type { Target } from "../../src/address/target.ts";
import { createForwardInbound } from "../../src/inbound/forward/inbound.ts";
import { listenTcp } from "../../src/transports/tcp/listen.ts";
import type { Listener } from "../../src/tunnel/connection.ts";
import { silentLogger } from "../../src/tunnel/logger.ts";
import { systemRuntime } from "../../src/tunnel/runtime.ts";
import { run } from "../support/child-process.ts";
import { patternBytes } from "../support/chunks.ts";
import { directDial } from "../support/direct-dial.ts";
import {
  openHttpOrigin,
  openProxyPort,
  openTcpOrigin,
  type Origin,
} from "../support/proxy-port.ts";
import { skipWithout } from "../support/which.ts";

const USERS = { alice: "s3cret pass" };

describe("proxy port, asked by curl", { skip: skipWithout("curl") }, () => {
  for (const flags of [
    ["--socks4", "{proxy}"],
    ["--socks4a", "{proxy}"],
    ["--socks5", "{proxy}"],
    ["--socks5-hostname", "{proxy}"],
    ["-x", "http://{proxy}"],
    ["-p", "-x", "http://{proxy}"],
    ["-x", "http://{proxy}", "--proxy1.0", "{proxy}"],
  ]) {
    test(`fetches through ${flags.join(" ")}`, async () => {
      await using origin = await openTextOrigin();
      await using proxy = await openProxyPort();
      const { code, stdout, stderr } = await curl(proxy.port, flags, url(origin, "/a?b=c"));
      assert.equal(code, 0, stderr);
      assert.equal(stdout, "GET /a?b=c");
      assert.deepEqual(proxy.lines, []);
    });
  }

  for (const flags of [
    ["--socks5-hostname", "{proxy}"],
    ["-x", "http://{proxy}"],
    ["-p", "-x", "http://{proxy}"],
  ]) {
    test(`logs in through ${flags.join(" ")}, and not with a wrong password`, async () => {
      await using origin = await openTextOrigin();
      await using proxy = await openProxyPort({ users: USERS });
      const right = ["--proxy-user", "alice:s3cret pass"];
      const good = await curl(proxy.port, [...flags, ...right], url(origin, "/in"));
      assert.equal(good.stdout, "GET /in", good.stderr);
      assert.equal(proxy.requests[0]?.metadata.user, "alice");
      const wrong = ["--fail", "--proxy-user", "alice:s3cret"];
      const bad = await curl(proxy.port, [...flags, ...wrong], url(origin, "/in"));
      assert.notEqual(bad.code, 0);
      const none = await curl(proxy.port, [...flags, "--fail"], url(origin, "/in"));
      assert.notEqual(none.code, 0);
      assert.equal(proxy.requests.length, 1);
      assert.equal(origin.accepted, 1);
    });
  }

  test("names what failed: refused", async () => {
    await using proxy = await openProxyPort();
    await using origin = await openTextOrigin();
    const { port } = origin;
    await origin[Symbol.asyncDispose]();
    const dead = `http://127.0.0.1:${port}/`;
    const http = await curl(proxy.port, ["-i", "-x", "http://{proxy}"], dead);
    assert.match(http.stdout, /^HTTP\/1.1 502 /);
    assert.match(http.stdout, /connection refused[^]*phase: {2}dial[^]*try: /);
    const tunnel = await curl(proxy.port, ["-p", "-x", "http://{proxy}"], dead);
    assert.equal(tunnel.code, 56);
    assert.match(tunnel.stderr, /502/);
    const socks5 = await curl(proxy.port, ["--socks5-hostname", "{proxy}"], dead);
    assert.equal(socks5.code, 97);
    assert.match(socks5.stderr, /\(5\)/);
    const socks4 = await curl(proxy.port, ["--socks4a", "{proxy}"], dead);
    assert.equal(socks4.code, 97);
    assert.match(socks4.stderr, /91|rejected/);
  });

  test("uses one connection for two origins, and one to each", async () => {
    await using first = await openTextOrigin();
    await using second = await openTextOrigin();
    await using proxy = await openProxyPort();
    const urls = ["/1", "/2"].flatMap((path) => [url(first, path), url(second, path)]);
    const flags = ["-v", "-x", "http://{proxy}"];
    const { code, stdout, stderr } = await curl(proxy.port, flags, ...urls);
    assert.equal(code, 0, stderr);
    assert.equal(stdout, "GET /1GET /1GET /2GET /2");
    assert.equal(stderr.match(/Re-using existing connection/g)?.length, 3);
    assert.deepEqual([first.accepted, second.accepted], [1, 1]);
  });

  test("uploads with Expect: 100-continue and downloads the same back", async () => {
    await using origin = await openHttpOrigin((request, response) => void request.pipe(response));
    await using proxy = await openProxyPort();
    const bytes = Buffer.from(patternBytes(3_000_000)).toString("base64");
    const flags = ["-x", "http://{proxy}", "-H", "Expect: 100-continue", "--data-binary", "@-"];
    const args = flags.map((flag) => flag.replace("{proxy}", `127.0.0.1:${proxy.port}`));
    const result = await run("curl", ["-sS", ...args, url(origin, "/")], { input: bytes });
    assert.equal(result.code, 0, result.stderr);
    assert.equal(sha256(result.stdout), sha256(bytes));
  });

  test("shows curl that a download broke off", async () => {
    await using origin = await openHttpOrigin((_request, response) => {
      response.write("half of it");
      setImmediate(() => response.socket?.resetAndDestroy());
    });
    await using proxy = await openProxyPort();
    for (const flags of [
      ["-x", "http://{proxy}"],
      ["-p", "-x", "http://{proxy}"],
      ["--socks5", "{proxy}"],
    ]) {
      const { code } = await curl(proxy.port, flags, url(origin, "/"));
      assert.ok([18, 56].includes(code), `${flags.join(" ")}: exit code ${code}`);
    }
  });
});

describe("proxy port, asked by the socks package", () => {
  for (const [type, auth] of [
    [4, {}],
    [5, {}],
    [5, { userId: "alice", password: "s3cret pass" }],
  ] as const) {
    test(`connects with SOCKS${type}${"userId" in auth ? " and a password" : ""}`, async () => {
      await using origin = await openTcpOrigin((socket) => void socket.pipe(socket));
      await using proxy = await openProxyPort("userId" in auth ? { users: USERS } : {});
      const upstream: SocksProxy = { host: "127.0.0.1", port: proxy.port, type, ...auth };
      const { socket } = await SocksClient.createConnection({
        proxy: upstream,
        command: "connect",
        destination: { host: type === 4 ? "127.0.0.1" : "localhost", port: origin.port },
      });
      socket.end("there and back");
      let answer = "";
      socket.setEncoding("utf8");
      for await (const text of socket) answer += String(text);
      assert.equal(answer, "there and back", "half-close goes through, and the answer comes back");
    });
  }

  test("refuses BIND and UDP ASSOCIATE as not supported", async () => {
    await using proxy = await openProxyPort();
    const upstream: SocksProxy = { host: "127.0.0.1", port: proxy.port, type: 5 };
    const destination = { host: "127.0.0.1", port: 9 };
    for (const command of ["bind", "associate"] as const) {
      const options = { proxy: upstream, command, destination };
      const client = new SocksClient(options);
      const failed = new Promise<Error>((resolve) => client.once("error", resolve));
      client.connect();
      assert.match((await failed).message, /CommandNotSupported/);
    }
  });
});

describe("static forward", () => {
  test("carries megabytes and the half-close of a plain TCP client", async () => {
    await using origin = await openTcpOrigin((socket) => void socket.pipe(socket));
    const target = { network: "tcp", host: "127.0.0.1", port: origin.port } as const;
    await using listener = await openForward(target);
    const client = net.connect({ host: "127.0.0.1", port: portOf(listener), allowHalfOpen: true });
    const bytes = Buffer.from(patternBytes(4_000_000));
    client.end(bytes);
    const answer: Buffer[] = [];
    for await (const chunk of client) answer.push(chunk as Buffer);
    assert.equal(Buffer.concat(answer).equals(bytes), true);
  });

  test("resets its client when nothing listens at the target", async () => {
    const origin = await openTcpOrigin(() => {});
    await origin[Symbol.asyncDispose]();
    await using listener = await openForward({
      network: "tcp",
      host: "127.0.0.1",
      port: origin.port,
    });
    const client = net.connect({ host: "127.0.0.1", port: portOf(listener) });
    const [error] = (await once(client, "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNRESET");
  });
});

async function openForward(target: Target): Promise<Listener> {
  const runtime = systemRuntime();
  const serve = createForwardInbound({
    name: "forward test",
    target,
    onRequest: directDial(runtime),
    runtime,
    logger: silentLogger,
  });
  return await listenTcp({ runtime, at: { host: "127.0.0.1", port: 0 } }, serve);
}

function portOf(listener: Listener): number {
  return Number(listener.address.split(":")[1]);
}

async function openTextOrigin(): Promise<Origin> {
  return await openHttpOrigin((request, response) => {
    response.end(`${request.method} ${request.url}`);
  });
}

function url(origin: Origin, path: string): string {
  return `http://127.0.0.1:${origin.port}${path}`;
}

async function curl(
  port: number,
  flags: readonly string[],
  ...urls: readonly string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const proxied = flags.map((flag) => flag.replace("{proxy}", `127.0.0.1:${port}`));
  const env = { http_proxy: undefined, all_proxy: undefined, no_proxy: undefined };
  return await run("curl", ["-sS", "--noproxy", "", ...proxied, ...urls], { env });
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
