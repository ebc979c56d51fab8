import assert from "node:assert/strict";
import http from "node:http";
import http2 from "node:http2";
import type { Duplex } from "node:stream";
import { describe, test } from "node:test";
import tls from "node:tls";
import fc from "fast-check";
import { HttpReader, type HttpMessage } from "../../../../test/support/godoxy-api-house.ts";
import { vectorText } from "../../../../test/support/godoxy-certificates.ts";
import { LogRecorder } from "../../../../test/support/log-recorder.ts";
import { settled, turns } from "../../../../test/support/turns.ts";
import type { Target } from "../../../address/target.ts";
import { SlabPool } from "../../../bytes/slab-pool.ts";
import { systemClock } from "../../../clock/clock.ts";
import { ManualClock } from "../../../clock/manual-clock.ts";
import { ConfigError, NetworkError, PolicyError } from "../../../errors.ts";
import { connectionPair } from "../../../tunnel/connection-pair.ts";
import { toDuplex } from "../../../tunnel/duplex.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import { type AgentApi, type AgentApiOptions, createAgentApi } from "./agent-api.ts";

describe("the HTTP side of an agent", { timeout: 20_000 }, () => {
  test("says who it is in words a GoDoxy server can read", async () => {
    await using house = new House({ version: "v1.2.3-beta", containers: "podman" });
    const [answer] = await house.ask(["GET /godoxy/agent/info HTTP/1.1", "Host: a"]);
    assert.equal(
      answer?.body.toString(),
      '{"version":"v1.2.3-beta","name":"agent","runtime":"podman"}\n',
    );
    assert.throws(() => new House({ version: "1.2" }), ConfigError);
  });

  test("says it by parts as well, for older servers", async () => {
    await using house = new House({ version: "v1.2.3", containers: "podman" });
    for (const [part, text] of [
      ["version", "v1.2.3"],
      ["name", "agent"],
      ["runtime", "podman"],
    ] as const) {
      const [answer] = await house.ask([`GET /godoxy/agent/${part} HTTP/1.1`, "Host: a"]);
      assert.equal(answer?.start, "HTTP/1.1 200 OK");
      assert.equal(answer.body.toString().trim(), text);
    }
  });

  test("answers everything else with nothing, and goes on", async () => {
    await using house = new House();
    const heads = [
      ["GET / HTTP/1.1", "Host: a"],
      ["GET /version HTTP/1.1", "Host: a"],
      ["GET /godoxy/agent/system_info HTTP/1.1", "Host: a"],
      ["GET /godoxy/agent/proxy/httpx/ HTTP/1.1", "Host: a"],
      ["GET http://a/godoxy/agent/info HTTP/1.1", "Host: a"],
      ["GET /godoxy/agent/socket HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: upgrade"],
      ["DELETE /containers/x HTTP/1.1", "Host: a", "Content-Length: 0"],
    ];
    const client = house.connect();
    for (const head of heads) {
      client.send(head);
      const { start, headers, body } = await client.reader.next();
      assert.equal(start, "HTTP/1.1 502 Bad Gateway", head[0]);
      assert.deepEqual([headers.get("content-length"), body.byteLength], ["0", 0]);
    }
    client.send(["CONNECT 127.0.0.1:22 HTTP/1.1", "Host: a"]);
    assert.match((await client.reader.rest()).toString(), /^HTTP\/1\.1 502 Bad Gateway\r\n/);
    assert.deepEqual(house.dialled, []);
  });

  test("passes large bodies both ways as fast as they are taken, and no faster", async () => {
    await using house = new House();
    let taken = 0;
    let go = (): void => {};
    house.origin.on("request", (request, response) => {
      go = () => {
        request.on("data", (chunk: Buffer) => (taken += chunk.byteLength));
        request.on("end", () => response.end(Buffer.alloc(3_000_000, "b")));
      };
    });
    const client = house.connect();
    client.send(proxied("POST /big", ["Content-Length: 8000000"]));
    for (let count = 0; count < 125; count++) client.duplex.write(Buffer.alloc(64_000, "a"));
    await settled(() => client.duplex.writableLength);
    assert.ok(client.duplex.writableLength > 0, "somebody took 8 MB for an origin that reads none");
    go();
    const answer = await client.reader.next();
    assert.equal(taken, 8_000_000);
    assert.equal(answer.body.byteLength, 3_000_000);
  });

  test("keeps connections to origins, and asks the rules each time all the same", async () => {
    const asked: Target[] = [];
    let isAllowed = true;
    await using house = new House({
      isAllowed: (target) => {
        asked.push(target);
        return isAllowed;
      },
    });
    house.origin.on("request", (_request, response) => response.end("ok"));
    const client = house.connect();
    for (const status of [200, 200, 403]) {
      isAllowed = status === 200;
      client.send(proxied("GET /"));
      const answer = await client.reader.next();
      assert.match(answer.start, new RegExp(` ${status} `));
    }
    assert.equal(house.dialled.length, 1);
    const target = { network: "tcp", host: "origin", port: 8080 };
    assert.deepEqual(asked, [target, target, target]);
  });

  test("says that the origin is not reachable, whatever kept it from being so", async () => {
    for (const error of [
      new NetworkError("ERR_DIAL_REFUSED", "refused"),
      new NetworkError("ERR_DNS", "no such name"),
      new Error("unheard of"),
    ]) {
      await using house = new House({ dial: () => Promise.reject(error) });
      const [got, head] = await house.ask(proxied("GET /"), proxied("HEAD /"));
      assert.equal(got?.start, "HTTP/1.1 502 Bad Gateway");
      assert.equal(got?.headers.get("transfer-encoding"), "chunked");
      assert.equal(got?.body.toString(), "1f\r\nOrigin server is not reachable.\r\n0\r\n\r\n");
      assert.equal(head?.start, "HTTP/1.1 502 Bad Gateway");
      assert.match(house.log.text, /http origin not reached .*"target":"origin:8080"/);
    }
    const denied = new PolicyError("ERR_POLICY_DENIED", "secret rules");
    await using house = new House({ dial: () => Promise.reject(denied) });
    const [answer] = await house.ask(proxied("GET /"));
    assert.equal(answer?.start, "HTTP/1.1 403 Forbidden");
    assert.equal(answer?.body.toString(), "not allowed by the rules of this agent\n");
  });

  test("gives an origin up that does not answer in time, and one that is never reached", async () => {
    const clock = new ManualClock();
    await using house = new House({ runtime: { ...RUNTIME, clock } });
    house.origin.on("request", () => {});
    const config = { response_header_timeout: 2_000_000_000 };
    const client = house.connect();
    client.send(proxied("GET /", [], config));
    await house.until(() => house.requests > 0);
    clock.advance(2_000);
    const answer = await client.reader.next();
    assert.equal(answer.start, "HTTP/1.1 502 Bad Gateway");
    house.dial = () => new Promise(() => {});
    client.send(proxied("GET /", ["X-Other: 1"], { max_conns_per_host: 3 }));
    await house.until(() => house.dialled.length === 2);
    clock.advance(10_000);
    assert.equal((await client.reader.next()).start, "HTTP/1.1 502 Bad Gateway");
  });

  test("lets a response that breaks off look broken off", async () => {
    await using house = new House();
    house.origin.on("request", (_request, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half", () => void turns(20).then(() => response.destroy()));
    });
    const client = house.connect();
    client.send(proxied("GET /"));
    await assert.rejects(client.reader.next());
    assert.ok(client.duplex.destroyed || client.duplex.readableEnded);
  });

  test("ends what it asked an origin for when the client leaves", async () => {
    await using house = new House();
    let isClosed = false;
    house.origin.on("request", (request) => request.on("close", () => (isClosed = true)));
    const client = house.connect();
    client.send(proxied("GET /slow"));
    await house.until(() => house.requests > 0);
    client.duplex.destroy();
    await house.until(() => isClosed);
  });

  test("joins a WebSocket, with what came early on both sides", async () => {
    await using house = new House();
    house.origin.on("upgrade", (request, socket: Duplex, head: Buffer) => {
      assert.equal(request.url, "/chat?x=1");
      assert.equal(request.headers["x-forwarded-for"], "192.0.2.7");
      assert.equal(request.headers.connection, "Upgrade");
      const fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x";
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n\r\nhello`);
      socket.write(head);
      socket.on("data", (chunk: Buffer) => socket.write(chunk.toString().toUpperCase()));
      socket.on("end", () => socket.end("bye"));
    });
    const client = house.connect();
    client.send(proxied("GET /chat?x=1", ["Connection: Upgrade", "Upgrade: websocket"]), "early ");
    const answer = await client.reader.next();
    assert.equal(answer.start, "HTTP/1.1 101 Switching Protocols");
    assert.equal(answer.headers.get("sec-websocket-accept"), "x");
    client.duplex.end("late");
    const rest = (await client.reader.rest()).toString();
    assert.match(rest, /^hello(?:early |EARLY )LATEbye$/);
  });

  test("passes on that an origin declines a WebSocket", async () => {
    await using house = new House();
    house.origin.on("request", (_request, response) => response.writeHead(403).end("no"));
    const upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
    const [answer] = await house.ask(proxied("GET /chat", upgrade));
    assert.equal(answer?.start, "HTTP/1.1 403 Forbidden");
    assert.equal(answer?.headers.get("connection"), "close");
    house.isAllowed = false;
    const [denied] = await house.ask(proxied("GET /chat", upgrade));
    assert.equal(denied?.start, "HTTP/1.1 403 Forbidden");
  });

  test("speaks HTTP/2 without TLS to origins that want it, with trailers", async () => {
    await using house = new House();
    const server = http2.createServer();
    server.on("stream", (stream, headers) => {
      assert.equal(headers[":path"], "/svc/Call");
      assert.equal(headers[":authority"], "godoxy.agent");
      assert.equal(headers["te"], "trailers");
      assert.equal(headers["x-forwarded-proto"], "https");
      stream.respond({ ":status": 201, "x-many": ["a", "b"] }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.pipe(stream);
    });
    house.serve = (duplex) => void server.emit("connection", duplex);
    const fields = ["X-Proxy-Scheme: h2c", "TE: trailers", "Content-Length: 4"];
    const [answer] = await house.ask([...proxied("POST /svc/Call", fields, undefined, "")], "ping");
    assert.equal(answer?.start, "HTTP/1.1 201 Created");
    assert.equal(answer?.headers.get("x-many"), "a, b");
    assert.equal(answer?.body.toString(), "4\r\nping\r\n0\r\ngrpc-status: 0\r\n\r\n");
    house.serve = (duplex) => void duplex.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    const [failed] = await house.ask(proxied("GET /", ["X-Proxy-Scheme: h2c"], undefined, ""));
    assert.equal(failed?.start, "HTTP/1.1 502 Bad Gateway");
  });

  test("verifies origins in TLS unless it is told not to", async () => {
    await using house = new House();
    const [cert, key] = [vectorText("agent-a", "server.pem"), vectorText("agent-a", "server.key")];
    house.origin.on("request", (_request, response) => response.end("secure"));
    house.serve = (duplex) => {
      const secureContext = tls.createSecureContext({ cert, key });
      const socket = new tls.TLSSocket(duplex, { isServer: true, secureContext });
      socket.on("error", () => {});
      house.origin.emit("connection", socket);
    };
    const https = ["X-Proxy-Scheme: https"];
    const [refused] = await house.ask(proxied("GET /", https, undefined, ""));
    assert.equal(refused?.start, "HTTP/1.1 502 Bad Gateway");
    assert.match(house.log.text, /"code":"ERR_TLS"/);
    const [taken] = await house.ask(proxied("GET /", https, { no_tls_verify: true }, ""));
    assert.equal(taken?.body.toString(), "secure");
  });
});

describe("an agent's API and those who abuse it", { timeout: 20_000 }, () => {
  test("never lets one request be two", async () => {
    for (const head of [
      proxied("POST /", ["Content-Length: 4", "Transfer-Encoding: chunked"]),
      proxied("POST /", ["Content-Length: 4", "Content-Length: 5"]),
      proxied("POST /", ["Content-Length: +4"]),
      proxied("POST /", ["Content-Length: 0x4"]),
      proxied("POST /", ["Transfer-Encoding: xchunked"]),
      proxied("POST /", ["Transfer-Encoding: chunked, identity"]),
      proxied("POST /", ["Transfer-Encoding: gzip, chunked"]),
      proxied("POST /", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
      proxied("POST /", ["Transfer-Encoding : chunked"]),
      proxied("GET /", ["X-Bad: a\0b"]),
      proxied("GET /", [" X-Folded: first"]),
      ["GET /godoxy/agent/proxy/http/ HTTP/1.1", ...PROXY_FIELDS], // no Host
    ]) {
      await using house = new House();
      const client = house.connect();
      client.send(head, "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n");
      const answer = (await client.reader.rest()).toString();
      // What is seen behind the head only is not answered.
      assert.match(answer, /^(?:HTTP\/1\.1 (?:400|501) [^]*)?$/, head.join("|"));
      assert.equal(answer.split("HTTP/1.1 ").length <= 2, true, answer);
      assert.equal(house.requests, 0, head.join("|"));
    }
  });

  test("refuses a configuration that is too large, or not one", async () => {
    await using house = new House();
    const large = proxied("GET /", ["X-Proxy-Scheme: http"], { x: "x".repeat(20_000) }, "");
    const twice = proxied("GET /", ["X-Proxy-Host: other:1"]);
    const file = proxied("GET /", [], { ssl_certificate: "/etc/hostname" });
    const [first, second, third] = await house.ask(large, twice, file);
    assert.equal(
      first?.body.toString(),
      "failed to parse agent proxy config: config of 26680 bytes exceeds 16384\n",
    );
    assert.equal(
      second?.body.toString(),
      "failed to parse agent proxy config: more than one x-proxy-host\n",
    );
    assert.equal(third?.start, "HTTP/1.1 500 Internal Server Error");
    assert.match(third?.body.toString() ?? "", /^failed to build proxy: ssl_certificate: /);
    assert.deepEqual(house.dialled, []);
  });

  test("bounds heads by their size and by the number of their fields", async () => {
    await using house = new House();
    const long = ["GET /godoxy/agent/info HTTP/1.1", "Host: a", `X: ${"x".repeat(70_000)}`];
    const [tooLong] = await house.ask(long);
    assert.equal(tooLong?.start, "HTTP/1.1 431 Request Header Fields Too Large");
    const fields = Array.from({ length: 300 }, (_, index) => `X-${index}: 1`);
    const [tooMany] = await house.ask(["GET /godoxy/agent/info HTTP/1.1", "Host: a", ...fields]);
    assert.equal(tooMany?.start, "HTTP/1.1 431 Request Header Fields Too Large");
  });

  test("waits a bounded time for heads, bodies and the next request", async () => {
    const clock = new ManualClock();
    await using house = new House({ runtime: { ...RUNTIME, clock } });
    house.origin.on("request", (request) => request.resume());
    const mute = house.connect();
    const dripping = house.connect();
    const idle = house.connect();
    idle.send(["GET /godoxy/agent/info HTTP/1.1", "Host: a"]);
    await idle.reader.next();
    const stuck = house.connect();
    stuck.send(proxied("POST /", ["Content-Length: 10"]), "half");
    await house.until(() => house.requests > 0);
    for (let second = 0; second < 9; second++) {
      dripping.duplex.write("GET /drip"[second]);
      await turns();
      clock.advance(1_000);
    }
    assert.ok(!mute.isOver && !dripping.isOver);
    clock.advance(1_000);
    await house.until(() => mute.isOver && dripping.isOver);
    assert.ok(!idle.isOver && !stuck.isOver);
    clock.advance(50_000);
    await house.until(() => stuck.isOver);
    clock.advance(60_000);
    await house.until(() => idle.isOver);
    assert.match(house.log.text, /request head not complete within 10000 ms/);
    assert.match(house.log.text, /no byte of the request body for 60000 ms/);
  });

  test("bounds its connections, in all and for each key", async () => {
    await using house = new House({ maxConnections: 3, maxConnectionsPerClient: 2 });
    const [one, two, three] = [house.connect("a"), house.connect("a"), house.connect("a")];
    const [four, five] = [house.connect("b"), house.connect("c")];
    await house.until(() => three.isOver && five.isOver);
    assert.ok(!one.isOver && !two.isOver && !four.isOver);
    one.duplex.destroy();
    await turns();
    const again = house.connect("a");
    again.send(["GET /godoxy/agent/info HTTP/1.1", "Host: a"]);
    assert.match((await again.reader.next()).start, / 200 /);
  });

  test("closes when everybody was answered, or when time is up", async () => {
    const clock = new ManualClock();
    await using house = new House({ runtime: { ...RUNTIME, clock } });
    let answer = (): void => {};
    house.origin.on("request", (_request, response) => {
      answer = () => void response.end("late");
    });
    const [idle, busy, stuck] = [house.connect(), house.connect(), house.connect()];
    busy.send(proxied("GET /"));
    await house.until(() => house.requests === 1);
    const finish = answer;
    stuck.send(proxied("GET /"));
    await house.until(() => house.requests === 2);
    const closed = house.api.close(1_000);
    await house.until(() => idle.isOver);
    finish();
    assert.equal((await busy.reader.next()).body.toString(), "late");
    await house.until(() => busy.isOver);
    assert.ok(!stuck.isOver);
    clock.advance(1_000);
    await closed;
    await house.until(() => stuck.isOver);
    const late = house.connect();
    await house.until(() => late.isOver);
  });
});

describe("whatever is sent to an agent's API", { timeout: 20_000 }, () => {
  test("leaves it well", async () => {
    await using house = new House();
    house.origin.on("request", (_request, response) => response.end("ok"));
    const word = fc.constantFrom(...WORDS);
    const junk = fc.string({ unit: "binary-ascii", maxLength: 20 });
    const message = fc.array(fc.oneof({ weight: 5, arbitrary: word }, junk), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(message, fc.boolean(), async (parts, isCut) => {
        const client = house.connect();
        client.duplex.write(Buffer.from(parts.join(""), "latin1"));
        await turns(isCut ? 1 : 10);
        client.duplex.destroy();
      }),
      { numRuns: 500 },
    );
    const [answer] = await house.ask(["GET /godoxy/agent/info HTTP/1.1", "Host: a"]);
    assert.equal(answer?.start, "HTTP/1.1 200 OK");
  });
});

describe("health checks", { timeout: 20_000 }, () => {
  test("tell a target that is not there from one nobody could ask for", async () => {
    for (const [error, status, text] of [
      [new NetworkError("ERR_DIAL_REFUSED", "x"), 200, "dial tcp h:1: connect: connection refused"],
      [new NetworkError("ERR_DIAL_TIMEOUT", "x"), 502, "dial tcp h:1: i/o timeout\n"],
      [new NetworkError("ERR_DNS", "x"), 502, "dial tcp h:1: no such host\n"],
      [new NetworkError("ERR_TUNNEL_DOWN", "it is down"), 502, "dial tcp h:1: it is down\n"],
      [new PolicyError("ERR_POLICY_DENIED", "x"), 200, "not allowed by the rules of this agent"],
    ] as const) {
      await using house = new House({ dial: () => Promise.reject(error) });
      const [answer] = await house.ask(health("scheme=tcp&host=h:1"));
      assert.match(answer?.start ?? "", new RegExp(` ${status} `));
      assert.ok(answer?.body.toString().includes(text), answer?.body.toString());
      if (status === 200) assert.match(answer?.body.toString() ?? "", /"healthy":false/);
    }
  });

  test("speak of no file and no UDP target the rules are silent about", async () => {
    await using house = new House({ isAllowed: ({ network }) => network === "tcp" });
    const [file, udp] = await house.ask(
      health("scheme=fileserver&path=/etc/passwd"),
      health("scheme=udp&host=h&port=1"),
    );
    for (const answer of [file, udp]) assert.match(answer?.body.toString() ?? "", /not allowed/);
    await using other = new House({
      checkUdp: () => Promise.reject(new NetworkError("ERR_DNS", "x")),
    });
    const [broken] = await other.ask(health("scheme=udp&host=h&port=1"));
    assert.equal(broken?.body.toString(), "dial udp h:1: no such host\n");
  });

  test("end at their deadline, which is bounded", async () => {
    const clock = new ManualClock();
    await using house = new House({ runtime: { ...RUNTIME, clock } });
    house.dial = () => new Promise(() => {});
    for (const [query, ms, start] of [
      ["scheme=tcp&host=h:1&timeout=300", 300, /^HTTP\/1\.1 502 /],
      ["scheme=tcp&host=h:1&timeout=x", 5_000, /^HTTP\/1\.1 502 /],
      ["scheme=tcp&host=h:1&timeout=999999999", 60_000, /^HTTP\/1\.1 502 /],
      ["scheme=http&host=h:1&timeout=300", 300, /^HTTP\/1\.1 200 /],
    ] as const) {
      const before = house.dialled.length;
      const client = house.connect();
      client.send(health(query));
      await house.until(() => house.dialled.length > before);
      clock.advance(ms);
      assert.match((await client.reader.next()).start, start, query);
    }
  });

  test("ask in HTTP/2 without TLS, and in TLS nobody vouches for", async () => {
    await using house = new House();
    const server = http2.createServer((request, response) => {
      response.writeHead(request.url === "/ok" ? 200 : 503).end();
    });
    house.serve = (duplex) => void server.emit("connection", duplex);
    const [well, ill] = await house.ask(
      health("scheme=h2c&host=h:1&path=/x/..//ok"),
      health("scheme=h2c&host=h:1&path=/bad"),
    );
    assert.match(well?.body.toString() ?? "", /^\{"healthy":true,"detail":"",/);
    assert.match(ill?.body.toString() ?? "", /^\{"healthy":false,"detail":"Service Unavailable",/);
    const [cert, key] = [vectorText("agent-a", "server.pem"), vectorText("agent-a", "server.key")];
    house.origin.on("request", (_request, response) => response.end());
    house.serve = (duplex) => {
      const secureContext = tls.createSecureContext({ cert, key });
      const socket = new tls.TLSSocket(duplex, { isServer: true, secureContext });
      socket.on("error", () => {});
      house.origin.emit("connection", socket);
    };
    const [secure] = await house.ask(health("scheme=https&host=h"));
    assert.match(secure?.body.toString() ?? "", /^\{"healthy":true/);
    assert.equal(house.dialled.at(-1)?.port, 443);
  });
});

/** An agent's API in memory, with one origin behind every name. */
class House implements AsyncDisposable {
  readonly api: AgentApi;
  readonly log = new LogRecorder();
  readonly origin: http.Server = http.createServer();
  readonly dialled: Target[] = [];
  requests = 0;
  isAllowed = true;
  serve: (duplex: Duplex) => void = (duplex) => void this.origin.emit("connection", duplex);
  dial: AgentApiOptions["dial"] = () => {
    const [near, far] = connectionPair(RUNTIME);
    this.serve(toDuplex(far).on("error", () => {}));
    return Promise.resolve(near);
  };

  constructor(options: Partial<AgentApiOptions> = {}) {
    this.origin.on("request", () => this.requests++);
    this.api = createAgentApi({
      name: "agent",
      runtime: RUNTIME,
      logger: this.log,
      isAllowed: () => this.isAllowed,
      ...options,
      dial: (target, signal) => {
        this.dialled.push(target);
        return (options.dial ?? this.dial)(target, signal);
      },
    });
  }

  connect(key = "key"): Client {
    const [near, far] = connectionPair(RUNTIME);
    this.api.accept(toDuplex(far), { address: "192.0.2.7", name: "client", key });
    return new Client(toDuplex(near));
  }

  /** What one connection is answered to requests, one after the other. */
  async ask(...heads: readonly (readonly string[] | string)[]): Promise<HttpMessage[]> {
    const client = this.connect();
    const answers: HttpMessage[] = [];
    for (const [index, head] of heads.entries()) {
      if (typeof head === "string") continue;
      const body = heads[index + 1];
      client.send(head, typeof body === "string" ? body : "");
      answers.push(await client.reader.next(head[0]?.startsWith("HEAD ")));
    }
    client.duplex.destroy();
    return answers;
  }

  async until(isSo: () => boolean): Promise<void> {
    for (let turn = 0; turn < 20_000 && !isSo(); turn++) await turns(1);
    assert.ok(isSo());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api.close();
  }
}

class Client {
  readonly duplex: Duplex;
  readonly reader: HttpReader;
  isOver = false;

  constructor(duplex: Duplex) {
    this.duplex = duplex;
    const over = (): void => {
      this.isOver = true;
    };
    duplex.on("error", over).on("close", over).on("end", over);
    this.reader = new HttpReader(duplex);
  }

  send(head: readonly string[], body = ""): void {
    this.duplex.write(`${head.join("\r\n")}\r\n\r\n${body}`);
  }
}

function proxied(
  line: string,
  fields: readonly string[] = [],
  config: object = {},
  scheme = "X-Proxy-Scheme: http",
): string[] {
  const [method = "", path = ""] = line.split(" ");
  return [
    `${method} /godoxy/agent/proxy/http${path} HTTP/1.1`,
    "Host: godoxy.agent",
    "X-Proxy-Host: origin:8080",
    ...(scheme === "" ? [] : [scheme]),
    `X-Proxy-Config: ${Buffer.from(JSON.stringify(config)).toString("base64")}`,
    ...fields,
  ];
}

function health(query: string): string[] {
  return [`GET /godoxy/agent/health?${query} HTTP/1.1`, "Host: a"];
}

const WORDS = [
  "GET /godoxy/agent/proxy/http/x HTTP/1.1\r\nHost: a\r\n",
  "POST /godoxy/agent/proxy/http/ HTTP/1.1\r\nHost: a\r\n",
  "GET /godoxy/agent/health?scheme=http&host=h HTTP/1.1\r\nHost: a\r\n",
  "X-Proxy-Host: origin:8080\r\n",
  "X-Proxy-Scheme: http\r\n",
  "X-Proxy-Scheme: h2c\r\n",
  "X-Proxy-Config: e30=\r\n",
  "Content-Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Connection: Upgrade\r\nUpgrade: websocket\r\n",
  "Expect: 100-continue\r\n",
  "Http2-Settings: x\r\n",
  "TE: trailers\r\n",
  "5\r\nhello\r\n",
  "0\r\n\r\n",
  "\r\n",
  "hello",
];

const PROXY_FIELDS = ["X-Proxy-Host: origin:8080", "X-Proxy-Scheme: http", "X-Proxy-Config: e30="];

const RUNTIME: Runtime = { clock: systemClock, random: () => 0.5, slabs: new SlabPool() };
