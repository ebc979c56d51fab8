import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import WebSocket from "ws";
import { type App, startApp } from "../../src/app.ts";
import { parseConfig } from "../../src/config/parse-config.ts";
import { encodeMessage, parseMessage } from "../../src/protocols/linksocks/codec.ts";
import type { Malformed, Message } from "../../src/protocols/linksocks/messages.ts";
import { sha256 } from "../support/linksocks-house.ts";
import { LogRecorder } from "../support/log-recorder.ts";
import { type Origin, tcpOrigin } from "../support/origin.ts";

const ONE = "00112233445566778899aabbccddee01";
const TWO = "00112233445566778899aabbccddee02";

// Spec: linksocks 7: what the reference falls for.
describe("a LinkSocks server under abuse", () => {
  const scope = new AsyncDisposableStack();
  const logs = new LogRecorder();
  let app: App;
  let origin: Origin;
  let place: string;
  const heardByOrigin: string[] = [];

  before(async () => {
    origin = scope.use(
      await tcpOrigin((socket) => {
        socket.on("data", (chunk: Buffer) => {
          heardByOrigin.push(chunk.toString());
          socket.write(chunk);
        });
        socket.on("end", () => socket.end());
      }),
    );
    app = scope.use(
      await startApp(
        parseConfig({
          serve: [
            {
              url: "linksocks+ws://127.0.0.1:0?wait=500ms",
              clients: { alice: "forward-token", carol: "other-forward-token" },
              providers: {
                office: "provider-token",
                lab: "other-provider-token",
                free: { token: "autonomy-token", autonomy: true },
              },
              connectors: {
                bob: { token: "connector-token", provider: "office" },
                dave: { token: "other-connector-token", provider: "lab" },
              },
              allow: ["127.0.0.0/8"],
            },
          ],
        }),
        { logger: logs },
      ),
    );
    place = app.listeners[0]?.address ?? "";
  });
  after(() => scope.disposeAsync());

  const login = async (token: string): Promise<Peer> => {
    const peer = new Peer(`ws://${place}/socket?token=${sha256(token)}`);
    await peer.until((message) => message.type === "authResponse");
    return peer;
  };
  const connectTo = ({ port }: Origin, channelId: string): Message => ({
    type: "connect",
    protocol: "tcp",
    channelId,
    host: "127.0.0.1",
    port,
  });

  test("turns the token of nobody away, also after an autonomous provider was there", async () => {
    await using free = new Peer(`ws://${place}/socket`);
    const nil = "00000000-0000-0000-0000-000000000000";
    free.say({ type: "auth", token: "autonomy-token", isReverse: true, instance: nil });
    await free.until((message) => message.type === "authResponse" && message.error === undefined);
    await using intruder = new Peer(`ws://${place}/socket`);
    intruder.say({ type: "auth", token: nil, isReverse: true, instance: nil });
    await intruder.until(
      (message) => message.type === "authResponse" && message.error === "invalid token",
    );
    await intruder.closed;
  });

  test("does not let a provider use the server as a way out", async () => {
    for (const token of ["provider-token", "autonomy-token"]) {
      await using provider = await login(token);
      provider.say(connectTo(origin, ONE));
      const answer = await provider.until(({ type }) => type === "connectResponse");
      assert.ok(answer.type === "connectResponse" && answer.error !== undefined);
    }
    assert.deepEqual(heardByOrigin, []);
  });

  test("binds a channel to the WebSocket that opened it", async () => {
    await using alice = await login("forward-token");
    await using carol = await login("other-forward-token");
    alice.say(connectTo(origin, ONE));
    await alice.until(({ type }) => type === "connectResponse");
    carol.say(data(ONE, "injected"));
    carol.say({ type: "disconnect", channelId: ONE, error: "" });
    carol.say(connectTo(origin, TWO));
    await carol.until(({ type }) => type === "connectResponse");
    alice.say(data(ONE, "mine"));
    const echo = await alice.until(({ type }) => type === "data");
    assert.ok(echo.type === "data" && Buffer.from(echo.payload).toString() === "mine");
    assert.deepEqual(heardByOrigin.splice(0), ["mine"]);
  });

  test("stops a gzip bomb at its limit, and only its channel", async () => {
    await using alice = await login("forward-token");
    for (const channelId of [ONE, TWO]) alice.say(connectTo(origin, channelId));
    for (const channelId of [ONE, TWO]) await alice.until(opened(channelId));
    const bomb = gzipSync(Buffer.alloc(512 * 1024 * 1024));
    assert.ok(bomb.byteLength < 1024 * 1024);
    const usedBefore = process.memoryUsage().rss;
    const payload = Uint8Array.from(bomb);
    alice.say({ type: "data", protocol: "tcp", channelId: ONE, compression: 1, payload });
    await alice.until((message) => message.type === "disconnect" && message.channelId === ONE);
    assert.ok(process.memoryUsage().rss - usedBefore < 100 * 1024 * 1024);
    alice.say(data(TWO, "still here"));
    await alice.until(({ type }) => type === "data");
    heardByOrigin.length = 0;
  });

  test("says 1009 to a message above 32 MiB", async () => {
    await using alice = await login("forward-token");
    alice.socket.send(Buffer.alloc(32 * 1024 * 1024 + 1));
    assert.equal(await alice.closed, 1009);
  });

  test("loses one channel to a malformed message, and keeps the others", async () => {
    await using alice = await login("forward-token");
    alice.say(connectTo(origin, TWO));
    await alice.until(opened(TWO));
    alice.socket.send(Buffer.from(`0104 01 ${ONE} 00 00000010 68`.replaceAll(" ", ""), "hex"));
    alice.socket.send(Buffer.from("0109000000037b7b7b", "hex"));
    alice.socket.send(Buffer.from(`0107 ${ONE} 00 03`.replaceAll(" ", ""), "hex"));
    alice.socket.send(Buffer.alloc(0));
    alice.say(data(TWO, "still here"));
    await alice.until(({ type }) => type === "data");
    heardByOrigin.length = 0;
  });

  test("answers a wish for port 0, and for no protocol it knows", async () => {
    await using alice = await login("forward-token");
    alice.say({ type: "connect", protocol: "tcp", channelId: ONE, host: "127.0.0.1", port: 0 });
    alice.say({ type: "connect", protocol: "unknown", protocolByte: 5, channelId: TWO });
    for (const channelId of [ONE, TWO]) {
      const answer = await alice.until(opened(channelId));
      assert.ok(answer.type === "connectResponse" && answer.error !== undefined);
    }
  });

  test("is not held up by a provider that stopped listening", async () => {
    await using stalled = await login("provider-token");
    await using bob = await login("connector-token");
    await using lab = await login("other-provider-token");
    await using dave = await login("other-connector-token");
    bob.say(connectTo(origin, ONE));
    const wish = await stalled.until(({ type }) => type === "connect");
    assert.ok(wish.type === "connect");
    stalled.say({ type: "connectResponse", channelId: wish.channelId, error: undefined });
    await bob.until(opened(ONE));
    stalled.socket.pause();
    const piece = "x".repeat(64 * 1024);
    for (let at = 0; at < 512; at++) bob.say(data(ONE, piece));
    dave.say(connectTo(origin, ONE));
    const other = await lab.until(({ type }) => type === "connect");
    assert.ok(other.type === "connect");
    lab.say({ type: "connectResponse", channelId: other.channelId, error: undefined });
    await dave.until(opened(ONE));
  });

  test("tells connectors when their provider dies, and those that come later", async () => {
    await using bob = await login("connector-token");
    const provider = await login("provider-token");
    bob.say(connectTo(origin, ONE));
    const wish = await provider.until(({ type }) => type === "connect");
    assert.ok(wish.type === "connect");
    provider.say({ type: "connectResponse", channelId: wish.channelId, error: undefined });
    await bob.until(opened(ONE));
    provider.socket.terminate();
    const end = await bob.until((message) => message.type === "disconnect");
    assert.ok(end.type === "disconnect" && end.error !== "" && end.error !== "EOF");
    bob.say(connectTo(origin, TWO));
    const answer = await bob.until(opened(TWO));
    assert.ok(answer.type === "connectResponse");
    assert.equal(answer.error, "no available reverse clients");
  });

  test("keeps secrets out of its log", () => {
    assert.doesNotMatch(logs.text, /(?:forward|provider|connector|autonomy)-token/);
    assert.ok(!logs.text.includes(sha256("forward-token")));
  });
});

describe("the HTTP side of a LinkSocks server", () => {
  let app: App;
  let port: number;

  before(async () => {
    app = await startApp(
      parseConfig({
        serve: [
          { url: "linksocks+ws://127.0.0.1:0", clients: { alice: "forward-token" }, api: "key" },
        ],
      }),
    );
    port = Number(app.listeners[0]?.address.split(":").at(-1));
  });
  after(() => app.close(0));

  const upgrade = "Upgrade: websocket\r\nConnection: Upgrade";
  const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
  const token = sha256("forward-token");
  const running = "Sluice is running. API endpoints available at /api/*\n";
  // Spec: linksocks 2.1, as recorded in http-surface.jsonl.
  const cases = [
    ["GET / HTTP/1.1", "", 200, running],
    ["GET /socket HTTP/1.1", "", 400, "Bad Request\n"],
    ["GET /nothing HTTP/1.1", "", 404, "404 page not found\n"],
    ["GET /api/nothing HTTP/1.1", "", 404, "404 page not found\n"],
    ["GET / HTTP/1.1", `${upgrade}\r\n${key}\r\nSec-WebSocket-Version: 13`, 200, running],
    [
      "GET /socket HTTP/1.1",
      `${upgrade}\r\n${key}\r\nSec-WebSocket-Version: 12`,
      400,
      "Bad Request\n",
    ],
    [
      "GET /socket HTTP/1.1",
      `${upgrade}\r\nSec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13`,
      400,
      "Bad Request\n",
    ],
    [
      `POST /socket?token=${token} HTTP/1.1`,
      `${upgrade}\r\n${key}\r\nSec-WebSocket-Version: 13`,
      405,
      "Method Not Allowed\n",
    ],
  ] as const;
  for (const [line, headers, status, body] of cases) {
    const what = headers === "" ? "" : `, ${headers.split("\r\n").slice(-2).join(", ")}`;
    test(`answers ${line.replace(token, "…")}${what} with ${status}`, async () => {
      const text = await raw(port, `${line}\r\nHost: x\r\n${headers}${headers && "\r\n"}\r\n`);
      assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.ok(text.endsWith(`\r\n\r\n${body}`), text);
    });
  }

  test("takes WebSockets from any page and without extensions", async () => {
    const headers = [upgrade, key, "Sec-WebSocket-Version: 13", "Origin: http://evil.test"];
    headers.push("Sec-WebSocket-Extensions: permessage-deflate");
    headers.push("Sec-WebSocket-Protocol: x");
    const text = await raw(
      port,
      `GET /socket?token=${token} HTTP/1.1\r\nHost: x\r\n${headers.join("\r\n")}\r\n\r\n`,
      "\u0001\u0002\u0001",
    );
    const [head = ""] = text.split("\r\n\r\n");
    assert.deepEqual(head.split("\r\n").toSorted(), [
      "Connection: Upgrade",
      "HTTP/1.1 101 Switching Protocols",
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
      "Upgrade: websocket",
    ]);
  });

  test("manages tokens, and opens the ports of reverse tokens", async () => {
    const call = async (method: string, path: string, body?: string): Promise<unknown> => {
      const headers = { "x-api-key": "key" };
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body }),
      });
      return await response.json();
    };
    const made = await call("POST", "/api/token", '{"type":"reverse","token":"r"}');
    const { port: socksPort }: { port?: unknown } = { ...Object(made) };
    assert.ok(typeof socksPort === "number" && socksPort > 0);
    const socket = net.connect(socksPort, "127.0.0.1");
    socket.write(Buffer.from("050100", "hex"));
    const [reply]: Buffer[] = await once(socket, "data");
    assert.equal(reply?.toString("hex"), "0500");
    socket.destroy();
    const taken = await call("POST", "/api/token", `{"type":"reverse","port":${socksPort}}`);
    assert.deepEqual(taken, { success: false, error: `cannot allocate port: ${socksPort}` });
    await call("DELETE", "/api/token/r");
    const late = net.connect(socksPort, "127.0.0.1");
    const [error] = await once(late, "error");
    assert.equal(Object(error).code, "ECONNREFUSED");
  });

  test("reads no body without end", async () => {
    const response = await fetch(`http://127.0.0.1:${port}/api/token`, {
      method: "POST",
      headers: { "x-api-key": "key" },
      body: "x".repeat(100_000),
    });
    assert.equal(response.status, 413);
  });
});

/** A scripted peer on a real WebSocket. */
class Peer implements AsyncDisposable {
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
  readonly #early: Uint8Array[] = [];
  readonly #heard: (Message | Malformed)[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(url: string) {
    this.socket = new WebSocket(url, { perMessageDeflate: false });
    this.socket.on("error", () => {}); // a server that cuts it off is what is tested
    this.socket.on("open", () => {
      for (const bytes of this.#early) this.socket.send(bytes);
    });
    this.socket.on("message", (bytes: Buffer) => {
      this.#heard.push(parseMessage(bytes));
      for (const look of this.#waiting) look();
    });
    this.closed = new Promise((resolve) => this.socket.on("close", resolve));
  }

  say(message: Message): void {
    const bytes = encodeMessage(message);
    if (this.socket.readyState === WebSocket.CONNECTING) this.#early.push(bytes);
    else this.socket.send(bytes);
  }

  /** The first message like this, of those that were not asked for yet. */
  until(isIt: (message: Message) => boolean): Promise<Message> {
    const { promise, resolve } = Promise.withResolvers<Message>();
    const look = (): void => {
      const at = this.#heard.findIndex((one) => one.type !== "malformed" && isIt(one));
      const [found] = at < 0 ? [] : this.#heard.splice(at, 1);
      if (found === undefined || found.type === "malformed") return;
      this.#waiting.delete(look);
      resolve(found);
    };
    this.#waiting.add(look);
    look();
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.terminate();
    await this.closed;
  }
}

function opened(channelId: string): (message: Message) => boolean {
  return (message) => message.type === "connectResponse" && message.channelId === channelId;
}

function data(channelId: string, text: string): Message {
  const payload = Buffer.from(text);
  return { type: "data", protocol: "tcp", channelId, compression: 0, payload };
}

/** Everything a server says to these bytes, until it ends, or says something in particular. */
async function raw(port: number, text: string, last?: string): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  socket.write(text);
  let heard = "";
  for await (const chunk of socket) {
    heard += Buffer.from(chunk).toString("latin1");
    if (last !== undefined && heard.includes(last)) break;
  }
  socket.destroy();
  return heard;
}
