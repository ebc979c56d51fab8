import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, test } from "node:test";
import { sluice, startEcho, startSluice } from "../support/sluice-process.ts";
import { CLIENT_ID, freePorts } from "../support/tunnel.ts";

/** GETs a URL through an HTTP proxy. */
async function getThrough(proxyPort: number, url: string): Promise<string> {
  const request = http.get({ host: "127.0.0.1", port: proxyPort, path: url, agent: false });
  const [response] = await once(request, "response");
  return await text(response);
}

describe("sluice up", () => {
  test("runs both ends, prints a curl line that works, and ends on SIGTERM", async () => {
    await using up = startSluice(["up"]);
    const [, proxy, url = ""] = await up.waitFor(/curl --socks5-hostname (\S+) (\S+)/);
    await up.waitFor(/Ctrl-C ends it/);
    assert.match(up.stdout, /^LISTENER +ADDRESS +LEADS TO +CERTIFICATE\n/);
    assert.match(up.stdout, /^socks +127\.0\.0\.1:\d+ +demo +-$/m);
    assert.match(up.stdout, /^demo +pong\+tcp:\/\/127\.0\.0\.1:\d+ +up +[\d.]+ ms +carries/m);
    const proxyPort = Number(/:(\d+)$/.exec(proxy ?? "")?.[1]);
    assert.match(await getThrough(proxyPort, url), /came through the tunnel/);
    up.kill("SIGTERM");
    const { code, stderr } = await up.exit;
    assert.equal(code, 0, stderr);
    const lines = stderr
      .trim()
      .split("\n")
      .map((line) => ({ ...Object(JSON.parse(line)) }));
    assert.ok(lines.some(({ msg, to }) => msg === "stream closed" && url.includes(to)));
    assert.ok(lines.some(({ msg }) => msg === "shutting down"));
  });

  test("takes another port for the proxy, and prints JSON", async () => {
    const [port] = await freePorts(1);
    await using up = startSluice(["up", "-D", String(port), "--json"]);
    const [line] = await up.waitFor(/^\{.*\}\n/);
    const { listeners, tunnels } = { ...Object(JSON.parse(line)) };
    assert.equal(listeners[1].address, `127.0.0.1:${port}`);
    assert.equal(tunnels[0].state, "up");
    up.kill("SIGINT");
    assert.equal((await up.exit).code, 0);
    assert.equal(up.stdout, line);
  });
});

describe("exit codes", { concurrency: true }, () => {
  test("0: help", async () => {
    assert.equal((await sluice(["--help"])).code, 0);
  });

  test("1: a credential that is not there", async () => {
    const { code, stderr } = await sluice([
      "connect",
      "pong+tcp://env:NOPE@127.0.0.1:1",
      "-D",
      "0",
    ]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^sluice: client id of pong\+tcp:\/\/127\.0\.0\.1:1: environment variable NOPE is not set\n$/,
    );
  });

  test("2: a mistyped command", async () => {
    const { code, stderr } = await sluice(["conect"]);
    assert.equal(code, 2);
    assert.match(stderr, /unknown command 'conect'/);
  });

  test("3: a port that is taken", async () => {
    await using echo = await startEcho();
    const url = `pong+tcp://127.0.0.1:${echo.port}`;
    const { code, stderr, stdout } = await sluice(["serve", url, "--client", `a=${CLIENT_ID}`]);
    assert.equal(code, 3);
    assert.match(
      stderr,
      /cannot listen on 127\.0\.0\.1:\d+: the address is already in use\nhint: /,
    );
    assert.equal(stdout, "");
  });
});

describe("secrets", () => {
  test("stand in no line of output, whatever happens", async () => {
    const secret = "d0d0cafe-0000-4000-8000-00000000beef";
    const [servePort, port] = await freePorts(2);
    const args = [`pong+tcp://127.0.0.1:${servePort}`, "--client", `a=${CLIENT_ID}`];
    await using serve = startSluice(["serve", ...args, "--log-level", "debug"]);
    await serve.waitFor(/LISTENER/);
    const url = `pong+tcp://${secret}@127.0.0.1:${servePort}`;
    const doors = ["-D", String(port), "--user", "bob:hunter2", "--log-level", "debug"];
    await using connect = startSluice(["connect", url, ...doors]);
    await connect.waitFor(/TUNNEL/);
    await assert.rejects(getThrough(port, "http://[bad"), /./).catch(() => {});
    connect.kill();
    serve.kill();
    const ends = await Promise.all([connect.exit, serve.exit]);
    const printed = ends.map(({ stdout, stderr }) => stdout + stderr).join("");
    assert.match(printed, /unknown client id/);
    assert.doesNotMatch(printed, /hunter2|d0d0cafe|0f608556/);
  });
});

describe("print-config", () => {
  test("prints a file that run does the same with", async () => {
    await using echo = await startEcho();
    const [servePort, forward] = await freePorts(2);
    const target = `127.0.0.1:${echo.port}`;
    const folder = await mkdtemp(join(tmpdir(), "sluice-print-"));
    const env = { ID: CLIENT_ID };
    const serveArgs = [
      `pong+tcp://127.0.0.1:${servePort}`,
      "--client",
      "a=env:ID",
      "--allow",
      target,
    ];
    const connectArgs = [`pong+tcp://env:ID@127.0.0.1:${servePort}`, "-L", `${forward}:${target}`];
    const files = [join(folder, "serve.yaml"), join(folder, "connect.yaml")] as const;
    for (const [file, args] of [
      [files[0], ["serve", ...serveArgs]],
      [files[1], ["connect", ...connectArgs]],
    ] as const) {
      const { stdout, code } = await sluice(["print-config", ...args], env);
      assert.equal(code, 0);
      await writeFile(file, stdout);
    }
    assert.doesNotMatch(await readFile(files[0], "utf8"), /SECRETS/);
    await using serve = startSluice(["run", files[0]], env);
    await serve.waitFor(/LISTENER/);
    await using connect = startSluice(["run", files[1]], env);
    await connect.waitFor(/^tunnel .* up /m);
    const socket = net.connect(forward, "127.0.0.1");
    socket.end("through both files");
    assert.equal(await text(socket), "through both files");
    await rm(folder, { recursive: true });
  });
});
