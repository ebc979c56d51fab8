import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { Child } from "../support/child-process.ts";
import { hex } from "../support/hex.ts";
import { startSluice } from "../support/sluice-process.ts";
import { freePorts } from "../support/tunnel.ts";
import { SocksUdpClient, UdpEcho } from "../support/socks-udp-client.ts";
import { until } from "../support/test-client.ts";

describe("datagrams through a SOCKS port", () => {
  test("reach many targets by IPv4, IPv6 and name, and the answers say who they are from", async () => {
    await using one = await UdpEcho.start("one ");
    await using two = await UdpEcho.start("two ");
    await using six = await UdpEcho.start("six ", "::1");
    await using sluice = await run(PROXY);
    await using client = await SocksUdpClient.associate(sluice.port);
    client.send("a", "127.0.0.1", one.port);
    client.send("b", "127.0.0.1", two.port);
    client.send("c", "::1", six.port);
    client.send("d", "localhost", one.port);
    client.send("", "127.0.0.1", two.port);
    await until(() => client.answers.length === 5, "answers");
    assert.deepEqual(
      client.answers.map(({ text, from }) => `${text}< ${from}`).toSorted(),
      [
        `one a< 127.0.0.1:${one.port}`,
        `one d< 127.0.0.1:${one.port}`,
        `six c< [::1]:${six.port}`,
        `two < 127.0.0.1:${two.port}`,
        `two b< 127.0.0.1:${two.port}`,
      ].toSorted(),
    );
    client.control.end();
    const line = await sluice.logged("association closed");
    assert.equal(line["packetsUp"], 5);
    assert.equal(line["packetsDown"], 5);
    assert.equal(line["bytesUp"], 4);
    assert.equal(line["via"], "direct");
    assert.equal(line["reason"], "finished");
    assert.match(String(line["to"]), /^127\.0\.0\.1:\d+\/udp and 3 more$/);
  });

  test("survive every malformed datagram, strangers, and a name that does not resolve", async () => {
    await using echo = await UdpEcho.start();
    await using sluice = await run(PROXY);
    await using client = await SocksUdpClient.associate(sluice.port);
    const bad = ["", "00", "0000", "0000 00", "0000 00 01", "0000 00 01 7f", "0000 00 03 ff"];
    const worse = [
      "0000 00 03 00 0035",
      "0000 01 01 7f000001 0035 78",
      "0000 00 09 00",
      "ffffffff",
    ];
    for (const wire of [...bad, ...worse]) client.sendRaw(hex(wire));
    client.send("lost", "no-such-host.invalid", echo.port);
    const stranger = createSocket("udp4");
    client.send("first", "127.0.0.1", echo.port);
    await until(() => client.answers.length === 1, "an answer");
    stranger.send(hex("0000 00 01 7f000001 0035 78"), client.relayPort, "127.0.0.1");
    client.send("second", "127.0.0.1", echo.port);
    await until(() => client.answers.length === 2, "an answer");
    stranger.close();
    assert.deepEqual(
      client.answers.map(({ text }) => text),
      ["first", "second"],
    );
    assert.deepEqual(echo.heard, ["first", "second"]);
    const line = await sluice.logged("datagrams dropped");
    assert.equal(line["code"], "ERR_DNS");
  });

  test("end with the control connection, and the port is free", async () => {
    await using sluice = await run(PROXY);
    await using client = await SocksUdpClient.associate(sluice.port);
    client.control.destroy();
    await sluice.logged("association closed");
    const again = createSocket("udp4").bind(client.relayPort, "127.0.0.1");
    await once(again, "listening");
    again.close();
  });

  test("do not reach what the exit denies", async () => {
    await using echo = await UdpEcho.start();
    await using sluice = await run(`inbounds: [{ socks: "127.0.0.1:0" }]\n`);
    await using client = await SocksUdpClient.associate(sluice.port);
    for (let count = 0; count < 3; count++) client.send("x", "127.0.0.1", echo.port);
    const line = await sluice.logged("datagrams dropped");
    assert.equal(line["code"], "ERR_POLICY_DENIED");
    assert.match(String(line["reason"]), /--allow 127\.0\.0\.1:\d+ would permit it/);
    assert.deepEqual(echo.heard, []);
  });

  test("are refused with reply 7 where the way out carries none", async () => {
    await using sluice = await run(`inbounds: [{ socks: "127.0.0.1:0", via: proxy }]
outbounds: { proxy: "socks5://127.0.0.1:9" }
`);
    await assert.rejects(SocksUdpClient.associate(sluice.port), /reply 7/);
    const line = await sluice.logged("association refused");
    assert.equal(line["reason"], "proxy carries no datagrams");
  });
});

describe("datagrams through a forward", () => {
  test("reach the target, each client apart, and end when the program does", async () => {
    await using echo = await UdpEcho.start("echo ");
    await using sluice = await run(`allow: ["127.0.0.0/8"]
inbounds: [{ forward: "127.0.0.1:0", to: "127.0.0.1:${echo.port}/udp" }]
`);
    assert.match(
      sluice.child.stdout,
      /^forward +127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+\/udp via direct/m,
    );
    const clients = Array.from({ length: 5 }, () => createSocket("udp4"));
    const heard = clients.map((client) => {
      const texts: string[] = [];
      client.on("message", (data, from) => {
        assert.equal(from.port, sluice.port);
        texts.push(data.toString());
      });
      return texts;
    });
    for (const [at, client] of clients.entries()) {
      for (const text of ["a", "b"]) client.send(`${text}${at}`, sluice.port, "127.0.0.1");
    }
    await until(() => heard.flat().length === 10, "answers");
    for (const [at, texts] of heard.entries()) {
      assert.deepEqual(texts.toSorted(), [`echo a${at}`, `echo b${at}`]);
    }
    for (const client of clients) client.close();
    sluice.child.kill("SIGTERM");
    const { code, stderr } = await sluice.child.exit;
    assert.equal(code, 0, stderr);
    assert.equal(stderr.match(/"association closed"/g)?.length, 5);
  });

  test("go through a tunnel that -L names, and both ends say so", async () => {
    await using echo = await UdpEcho.start("echo ");
    const [tunnelPort, forwardPort] = await freePorts(2);
    const common = ["--log-format", "json"];
    const url = (login: string): string => `linksocks+ws://${login}127.0.0.1:${tunnelPort}`;
    await using server = startSluice([
      "serve",
      url(""),
      "--client",
      "alice=long-enough-a-token",
      "--allow",
      "127.0.0.1",
      ...common,
    ]);
    await server.waitFor(/^linksocks/m);
    await using client = startSluice([
      "connect",
      url("long-enough-a-token@"),
      "-L",
      `${forwardPort}:127.0.0.1:${echo.port}/udp`,
      ...common,
    ]);
    await client.waitFor(/^forward/m);
    const program = createSocket("udp4");
    program.send("hello", forwardPort, "127.0.0.1");
    const [answer] = await once(program, "message");
    assert.equal(String(answer), "echo hello");
    program.close();
    client.kill("SIGTERM");
    const { stderr } = await client.exit;
    assert.match(stderr, /"bytesUp":5,"bytesDown":10,.*"reason":"finished".*"association closed"/);
    await until(() => /"user":"alice".*"association closed"/.test(server.stderr), "the far end");
  });

  test("carry a large datagram whole", async () => {
    await using echo = await UdpEcho.start();
    await using sluice = await run(`allow: ["127.0.0.0/8"]
inbounds: [{ forward: "127.0.0.1:0", to: "localhost:${echo.port}/udp" }]
`);
    const client = createSocket("udp4");
    const text = "x".repeat(60_000);
    client.send(text, sluice.port, "127.0.0.1");
    const [answer] = await once(client, "message");
    assert.equal(String(answer), text);
    client.close();
  });
});

const PROXY = `allow: ["127.0.0.0/8", "::1"]
inbounds: [{ socks: "127.0.0.1:0" }]
`;

interface RunningSluice extends AsyncDisposable {
  readonly child: Child;
  /** Of its one listener. */
  readonly port: number;
  /** The fields of the first log line with this message. */
  logged(message: string): Promise<Readonly<Record<string, unknown>>>;
}

/** Runs a configuration with one listener. */
async function run(configuration: string): Promise<RunningSluice> {
  await using scope = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "sluice-udp-"));
  scope.defer(async () => await rm(folder, { recursive: true }));
  const file = join(folder, "sluice.yaml");
  await writeFile(file, configuration);
  const child = scope.use(startSluice(["run", file, "--log-format", "json"]));
  const [, port] = await child.waitFor(/^(?:socks|forward) +127\.0\.0\.1:(\d+)/m);
  const kept = scope.move();
  return {
    child,
    port: Number(port),
    logged: async (message) => {
      const find = (): string | undefined =>
        child.stderr.split("\n").find((line) => line.includes(`"msg":"${message}"`));
      await until(() => find() !== undefined, message);
      return { ...Object(JSON.parse(find() ?? "{}")) };
    },
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  };
}
