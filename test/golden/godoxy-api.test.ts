import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import {
  ApiHouse,
  HttpReader,
  type HttpMessage,
  parseMessage,
  readAll,
} from "../support/godoxy-api-house.ts";
import { VECTOR_TIME, vectorText } from "../support/godoxy-certificates.ts";
import { type GodoxyConn, readGodoxy, saidBy } from "./godoxy-transcript.ts";

/** Where ours says something else, and why. */
const DEVIATIONS = {
  /** Bodies pass as they are, so none is asked for compressed on anybody's behalf. */
  "accept-encoding": "not added",
  /** Node says what the reference leaves to HTTP/1.1. */
  connection: "said to origins",
  /** The reference guesses it from the body where the origin says nothing. */
  "content-type of origins without one": "not guessed",
  /** Node leaves the judgement of certificates to us, behind the handshake. */
  "alert 48 for a foreign certificate": "the connection ends without one",
  /** OpenSSL names the version it was asked for, Go 1.0. */
  "version of the record of alert 70": "1.1",
} as const;

describe("the HTTPS API, as recorded", { skip: tooEarly(), timeout: 20_000 }, () => {
  for (const name of ["api-info-and-health", "api-proxy-http", "api-capability-detection"]) {
    const { conns } = readGodoxy(name);
    for (const conn of conns.filter(speaksHttp)) {
      test(`${name}, connection ${conn.conn}`, async () => {
        await using origin = await PlayedOrigin.open(conn);
        await using house = await ApiHouse.open({
          portOf: (port) => (LIVE_PORTS.has(port) ? origin.port : CLOSED_PORT),
          // Ours tells nobody of its files unless it is told to.
          api: { hasFile: (path) => Promise.resolve(path === "/") },
        });
        const client = await house.connect();
        const reader = new HttpReader(client);
        for (const { question, answer } of exchangesOf(conn)) {
          client.write(question);
          const asked = parseMessage(question);
          const got = await reader.next(asked.start.startsWith("HEAD "));
          assertSameAnswer(got, parseMessage(answer), asked.start);
        }
        client.destroy();
        assertSameRequests(origin.requests, requestsIn(saidBy(conn, "client", "destination")));
      });
    }
  }
});

describe("the shared port, as recorded", { skip: tooEarly(), timeout: 20_000 }, () => {
  for (const [conn, what] of [
    [1, "only another protocol"],
    [4, "TLS 1.1"],
    [5, "HTTP without TLS"],
  ] as const) {
    test(`answers ${what} byte for byte`, async () => {
      await using house = await ApiHouse.open();
      const socket = await house.connectRaw();
      socket.write(rawBytes("tcp-alpn", conn, "client"));
      const answer = await readAll(socket);
      const recorded = rawBytes("tcp-alpn", conn, "server");
      if (conn === 4) recorded[2] = 2; // see the deviations
      assert.deepEqual(answer, recorded);
    });
  }

  for (const [conn, protocols] of [
    [2, ["godoxy-agent-stream/1", "http/1.1"]],
    [3, undefined],
  ] as const) {
    test(`serves HTTP to who offers ${protocols?.join(" and ") ?? "nothing"}`, async () => {
      const recorded = readGodoxy("tcp-alpn").conns.find((it) => it.conn === conn);
      assert.ok(recorded);
      await using house = await ApiHouse.open();
      const client = await house.connect(protocols ? { ALPNProtocols: [...protocols] } : {});
      assert.equal(client.alpnProtocol, protocols ? "http/1.1" : false);
      client.write(saidBy(recorded, "client", "tunnel"));
      const answer = parseMessage(await readAll(client));
      assertSameAnswer(answer, parseMessage(saidBy(recorded, "server", "tunnel")), "GET");
      assert.equal(answer.headers.get("connection"), "close");
    });
  }

  test("takes no server's certificate for a client's", async () => {
    await using house = await ApiHouse.open();
    const client = house.dial({
      cert: vectorText("agent-a", "server.pem"),
      key: vectorText("agent-a", "server.key"),
    });
    assert.equal((await readAll(client)).byteLength, 0);
    assert.match(house.log.text, /certificate is refused: invalid purpose/);
  });

  for (const { conns, version } of [
    { conns: "1 and 3", version: "TLSv1.3" },
    { conns: "2 and 4", version: "TLSv1.2" },
  ] as const) {
    for (const agent of [undefined, "agent-b"] as const) {
      const shown = agent === undefined ? "no certificate" : "one of another CA of that name";
      test(`says nothing over ${version} to who shows ${shown} (${conns})`, async () => {
        const recorded = readGodoxy("tcp-client-certificate-rejected");
        for (const conn of recorded.conns) {
          assert.equal(saidBy(conn, "server", "tunnel").byteLength, 0);
        }
        await using house = await ApiHouse.open();
        const client = house.dial({
          cert: agent && vectorText(agent, "client.pem"),
          key: agent && vectorText(agent, "client.key"),
          minVersion: version,
          maxVersion: version,
          ALPNProtocols: ["godoxy-agent-stream/1"],
        });
        client.write(Buffer.alloc(275));
        const answer = await readAll(client);
        assert.equal(answer.byteLength, 0);
        assert.equal(house.streams.length, 0);
        const { errored } = client;
        const code = errored && "code" in errored ? String(errored.code) : undefined;
        if (agent === undefined) {
          const alert = version === "TLSv1.3" ? ALERT_116 : "EPROTO";
          // A reset, as in the recording, may overtake the alert.
          assert.ok([alert, "ECONNRESET", "EPIPE", undefined].includes(code), code);
          assert.match(house.log.text, /certificate is missing/);
        } else {
          assert.ok(code === "ECONNRESET" || code === undefined, DEVIATIONS[FOREIGN]);
          assert.match(house.log.text, /tls handshake/);
        }
      });
    }
  }
});

/** The agent's other end, which answers as it did when it was recorded. */
class PlayedOrigin implements AsyncDisposable {
  readonly requests: HttpMessage[] = [];
  readonly #server: net.Server;

  private constructor(server: net.Server) {
    this.#server = server;
  }

  static async open(conn: GodoxyConn): Promise<PlayedOrigin> {
    const answers = conn.lines.filter(
      ({ leg, from, event }) => leg === "destination" && from === "server" && event === "data",
    );
    const server = net.createServer((socket) => {
      const reader = new HttpReader(socket);
      const serve = async (): Promise<void> => {
        for (;;) {
          const request = await reader.next();
          origin.requests.push(request);
          socket.write(answers.shift()?.bytes ?? "HTTP/1.1 500 Too Many\r\n\r\n");
        }
      };
      void serve().catch(() => socket.destroy());
    });
    const origin = new PlayedOrigin(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return origin;
  }

  get port(): number {
    const address = this.#server.address();
    assert.ok(typeof address === "object" && address !== null);
    return address.port;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    return Promise.resolve();
  }
}

function speaksHttp(conn: GodoxyConn): boolean {
  return Buffer.from(saidBy(conn, "client", "tunnel")).includes(" HTTP/1.1\r\n");
}

/** Each request with what was answered to it. */
function exchangesOf({ lines }: GodoxyConn): { question: Uint8Array; answer: Uint8Array }[] {
  const exchanges: { question: Uint8Array; answer: Uint8Array }[] = [];
  for (const { leg, event, from, bytes } of lines) {
    if (leg !== "tunnel" || event !== "data") continue;
    const last = exchanges.at(-1);
    if (from === "client")
      exchanges.push({ question: Buffer.from(bytes), answer: Buffer.alloc(0) });
    else if (last !== undefined) last.answer = Buffer.concat([last.answer, bytes]);
  }
  return exchanges;
}

function assertSameAnswer(got: HttpMessage, wanted: HttpMessage, what: string): void {
  assert.equal(got.start, wanted.start, what);
  const [body, recorded] = [timeless(got.body), timeless(wanted.body)];
  assert.equal(body, recorded, what);
  for (const name of ["content-type", "x-content-type-options", "transfer-encoding", "x-origin"]) {
    // Guessed: see the deviations.
    if (name === "content-type" && wanted.headers.has("x-origin")) continue;
    assert.equal(got.headers.get(name), wanted.headers.get(name), `${what}: ${name}`);
  }
  if (!body.includes("latency")) {
    assert.equal(got.headers.get("content-length"), wanted.headers.get("content-length"), what);
  }
  assert.match(got.headers.get("date") ?? "", / GMT$/);
}

function assertSameRequests(got: readonly HttpMessage[], wanted: readonly HttpMessage[]): void {
  const plain = ({ start, headers, body }: HttpMessage): object => {
    const kept = [...headers].filter(
      ([name]) => name !== "accept-encoding" && name !== "connection",
    );
    return { start, headers: Object.fromEntries(kept), body: body.toString() };
  };
  assert.deepEqual(got.map(plain), wanted.map(plain));
}

/** The requests one after the other in what the agent said to the origin. */
function requestsIn(bytes: Uint8Array): HttpMessage[] {
  const found: HttpMessage[] = [];
  for (let rest: Buffer = Buffer.from(bytes); rest.byteLength > 0; ) {
    const { start, headers, body } = parseMessage(rest);
    const length = Number(headers.get("content-length") ?? 0);
    found.push({ start, headers, body: body.subarray(0, length) });
    rest = body.subarray(length);
  }
  return found;
}

function timeless(body: Buffer): string {
  return body
    .toString()
    .replace(/"latency":\d+/, '"latency":0')
    .replace(/"latency":0/, "latency");
}

function rawBytes(name: string, conn: number, from: "client" | "server"): Buffer {
  const text = readFileSync(join(import.meta.dirname, `../vectors/godoxy/${name}.jsonl`), "utf8");
  const lines = text
    .trim()
    .split("\n")
    .slice(1)
    .map((line) => JSON.parse(line) as RawLine);
  const mine = lines.filter((it) => it.layer === "tcp" && it.conn === conn && it.from === from);
  return Buffer.concat(mine.map(({ hex = "" }) => Buffer.from(hex, "hex")));
}

interface RawLine {
  readonly layer: string;
  readonly conn: number;
  readonly from: string;
  readonly hex?: string;
}

/** Real TLS looks at the real clock. */
function tooEarly(): string | false {
  return new Date() < VECTOR_TIME && "the recorded certificates are not valid yet by this clock";
}

const ALERT_116 = "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED";
const FOREIGN = "alert 48 for a foreign certificate";

/** Of the destinations that were there; the others refused. */
const LIVE_PORTS: ReadonlySet<number> = new Set([45_517, 33_443]);
const CLOSED_PORT = 1;
