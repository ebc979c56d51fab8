import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import type net from "node:net";
import { after, before, describe, test } from "node:test";
import { writeStore } from "../../src/certificates/certificate-store.ts";
import { formatPemPair } from "../../src/certificates/pem-pair.ts";
import { run } from "../support/child-process.ts";
import { GodoxyHouse } from "../support/godoxy-house.ts";
import { echoDatagrams, readUntilEnd, startUdpEcho } from "../support/linksocks-traffic.ts";
import { lowPort } from "../support/low-port.ts";
import { httpOrigin, type Origin, patternHash, tcpOrigin } from "../support/origin.ts";
import { sluice } from "../support/sluice-process.ts";
import { socksAssociate, socksConnect } from "../support/socks-app.ts";
import { skipWithout } from "../support/which.ts";

describe("godoxy", { skip: skipWithout("curl", "openssl"), timeout: 180_000 }, () => {
  const scope = new AsyncDisposableStack();
  let house: GodoxyHouse;
  let pages: Origin;
  let origin: Origin;
  let behave: (socket: net.Socket) => void;

  before(async () => {
    pages = scope.use(await httpOrigin());
    origin = scope.use(await tcpOrigin((socket) => behave(socket)));
    house = scope.use(await GodoxyHouse.start({ query: "pool=2" }));
  });
  after(async () => await scope.disposeAsync());

  const curl = async (path: string, ...more: readonly string[]): ReturnType<typeof run> => {
    const proxy = ["--socks5-hostname", `127.0.0.1:${house.proxyPort}`];
    const args = ["-sS", "--max-time", "30", ...proxy, ...more];
    return await run("curl", [...args, `http://127.0.0.1:${pages.port}${path}`], {
      deadlineMs: 40_000,
    });
  };
  const reach = async (): Promise<net.Socket> =>
    await socksConnect(house.proxyPort, { host: "127.0.0.1", port: origin.port });

  test("carries requests, many at a time", async () => {
    const { stdout, stderr } = await curl("/hello");
    assert.equal(stdout, "hello from /hello\n", stderr);
    const many = await curl("/hello?[1-100]", "-Z", "--parallel-max", "25");
    assert.equal(many.stdout.match(/hello from/g)?.length, 100, many.stderr);
  });

  test("carries 20 MB each way whole", async () => {
    const size = 20_000_000;
    const pipe = `curl -sS --max-time 30 --socks5-hostname 127.0.0.1:${house.proxyPort} http://127.0.0.1:${pages.port}/bytes/${size}`;
    const down = await run("bash", ["-c", `${pipe} | sha256sum`], { deadlineMs: 40_000 });
    assert.equal(down.stdout.split(" ")[0], await patternHash(size), down.stderr);
    const up = await run(
      "bash",
      [
        "-c",
        `${pipe} | curl -sS --max-time 30 --socks5-hostname 127.0.0.1:${house.proxyPort} -T - http://127.0.0.1:${pages.port}/put`,
      ],
      { deadlineMs: 60_000 },
    );
    assert.equal(up.stdout, `${size} ${await patternHash(size)}\n`, up.stderr);
  });

  test("passes each side's end on, and answers that come after it", async () => {
    behave = (socket) => {
      let text = "";
      socket.on("data", (chunk) => (text += chunk.toString()));
      socket.on("end", () => socket.end(`you said ${text}`));
    };
    const socket = await reach();
    socket.end("all of it");
    assert.equal((await readUntilEnd(socket)).text, "you said all of it");
  });

  test("delivers what a target says first, and its reset as a reset", async () => {
    behave = (socket) => {
      socket.write("banner");
      socket.once("data", () => socket.resetAndDestroy());
    };
    const socket = await reach();
    const first = await new Promise<string>((resolve) =>
      socket.once("data", (data) => resolve(String(data))),
    );
    assert.equal(first, "banner");
    const error = new Promise<string>((resolve) =>
      socket.once("error", (failure) => resolve(failure.message)),
    );
    socket.write("go");
    assert.match(await error, /ECONNRESET/);
  });

  test("carries datagrams to several targets of one association", async () => {
    await using one = await startUdpEcho();
    await using two = await startUdpEcho();
    const targets = [one, two].map(({ port }) => ({ host: "127.0.0.1", port }));
    await echoDatagrams(house.proxyPort, targets, { rounds: 5 });
  });

  test("ends a session of datagrams to a port where nobody listens", async () => {
    const port = await lowPort();
    await using app = await socksAssociate(house.proxyPort);
    for (let count = 1; count <= 3; count++) {
      app.send({ host: "127.0.0.1", port }, Buffer.from(`datagram ${count}`));
    }
    await house.agent.waitFor(new RegExp(`"to":"127.0.0.1:${port}/udp".*nobody listens`), {
      on: "stderr",
    });
  });

  test("answers ping with what the agent can do", async () => {
    const { code, stdout, stderr } = await sluice(["ping", house.url()]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /probe .*TCP yes, UDP yes/);
  });

  test("keeps out who shows a certificate of another CA, and says so on both ends", async () => {
    const { code, stderr } = await sluice(["ping", house.url("stranger")]);
    assert.equal(code, 3);
    assert.match(stderr, /certificate|tls handshake/i);
    await house.agent.waitFor(/tls handshake.*connection refused/, { on: "stderr" });
    const datagrams = await sluice(["ping", house.url("stranger", "dtls")]);
    assert.equal(datagrams.code, 3);
    await house.agent.waitFor(/dtls handshake.*connection refused/, { on: "stderr" });
  });

  test("answers the HTTPS API on the same port", async () => {
    const identity = `--cert ${house.file("client.pem")} --key ${house.file("client.key")}`;
    const words = `-sS --max-time 10 --cacert ${house.file("ca.pem")} ${identity} --resolve godoxy.agent:${house.port}:127.0.0.1`;
    const { stdout, stderr } = await run("curl", [
      ...words.split(" "),
      `https://godoxy.agent:${house.port}/godoxy/agent/info`,
    ]);
    const info: { version?: string } = JSON.parse(stdout || stderr);
    assert.match(info.version ?? "", /^v\d+\.\d+\.\d+/);
  });

  test("shows a new certificate soon after its file changed", async () => {
    const serial = async (): Promise<string> => {
      const { stdout } = await run("bash", [
        "-c",
        `openssl s_client -connect 127.0.0.1:${house.port} -cert ${house.file("client.pem")} -key ${house.file("client.key")} </dev/null 2>/dev/null | openssl x509 -noout -serial`,
      ]);
      return stdout;
    };
    const former = await serial();
    assert.match(former, /serial=/);
    house.issue("server", "server");
    await house.agent.waitFor(/certificates read again/, { on: "stderr", deadlineMs: 20_000 });
    assert.notEqual(await serial(), former);
    assert.equal((await curl("/hello")).stdout, "hello from /hello\n");
  });

  test("comes back after the agent was killed and started again", async () => {
    await house.killAgent();
    await house.startAgent();
    assert.equal((await curl("/hello")).stdout, "hello from /hello\n");
    await using echo = await startUdpEcho();
    await echoDatagrams(house.proxyPort, [{ host: "127.0.0.1", port: echo.port }], { rounds: 2 });
  });
});

describe("godoxy, another way", { skip: skipWithout("curl"), timeout: 60_000 }, () => {
  test("dials nothing that is not allowed, and the agent says which flag would allow it", async () => {
    await using origin = await tcpOrigin((socket) => void socket.end("secret"));
    await using house = await GodoxyHouse.start({ serveFlags: [] });
    const socket = await socksConnect(house.proxyPort, { host: "127.0.0.1", port: origin.port });
    socket.on("error", () => {});
    const text = await readUntilEnd(socket).then(
      (said) => said.text,
      () => "",
    );
    assert.equal(text, "");
    await house.agent.waitFor(/--allow/, { on: "stderr" });
  });

  test("is configured by the environment of a GoDoxy agent", async () => {
    await using files = await GodoxyHouse.start();
    const read = (name: string): string => readFileSync(files.file(name), "utf8");
    const serveEnv = {
      AGENT_CA_CERT: formatPemPair(files.ca),
      AGENT_SSL_CERT: formatPemPair({ cert: read("server.pem"), key: read("server.key") }),
      AGENT_NAME: "cellar",
    };
    await using house = await GodoxyHouse.start({ serveEnv, isTcpOnly: true });
    const url = files.url().replace(`:${files.port}`, `:${house.port}`);
    const { code, stdout, stderr } = await sluice(["ping", url]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /TCP yes, UDP no/);
  });

  test("dials with the files of GoDoxy's certs folder: a zip, or pairs", async () => {
    await using house = await GodoxyHouse.start();
    const read = (name: string): string => readFileSync(house.file(name), "utf8");
    const client = { cert: read("client.pem"), key: read("client.key") };
    writeFileSync(house.file("agent.zip"), writeStore({ ca: house.ca.cert, ...client }));
    writeFileSync(house.file("client.pair"), formatPemPair(client));
    const pair = `file:${house.file("client.pair")}`;
    for (const query of [
      `store=${house.file("agent.zip")}`,
      `ca=file:${house.file("ca.pem")}&cert=${pair}&key=${pair}`,
    ]) {
      const url = `godoxy+tls://127.0.0.1:${house.port}?${query}`;
      const { code, stdout, stderr } = await sluice(["ping", url]);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /TCP yes, UDP yes/);
    }
  });

  test("tells targets who asks, in the PROXY protocol", async () => {
    for (const [version, start] of [
      ["v1", Buffer.from("PROXY TCP4 127.0.0.1 127.0.0.1 ")],
      ["v2", Buffer.from("0d0a0d0a000d0a515549540a2111000c7f0000017f000001", "hex")],
    ] as const) {
      const heard = Promise.withResolvers<Buffer>();
      await using origin = await tcpOrigin((socket) => {
        socket.once("data", (data: Buffer) => heard.resolve(data));
      });
      await using house = await GodoxyHouse.start({ query: `proxyprotocol=${version}` });
      const target = { host: "127.0.0.1", port: origin.port };
      const socket = await socksConnect(house.proxyPort, target);
      socket.write("then the program");
      assert.deepEqual((await heard.promise).subarray(0, start.byteLength), start);
      socket.destroy();
    }
  });

  test("says what is missing", async () => {
    const { code, stderr } = await sluice(["serve", "godoxy+tls://127.0.0.1:0"]);
    assert.equal(code, 1);
    assert.match(stderr, /no ca, no cert, no key\nhint: .*sluice cert/s);
  });
});
