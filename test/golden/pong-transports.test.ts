import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { describe, test } from "node:test";
import tls from "node:tls";
import { parseHostPort } from "../../src/address/target.ts";
import { PongClient } from "../../src/protocols/pong/client.ts";
import { PongServer } from "../../src/protocols/pong/server.ts";
import { dialTls } from "../../src/transports/tls/dial.ts";
import { listenTls } from "../../src/transports/tls/listen.ts";
import { dialWs } from "../../src/transports/ws/dial.ts";
import { listenWs } from "../../src/transports/ws/listen.ts";
import type { Connection, Listener, OnConnection } from "../../src/tunnel/connection.ts";
import { silentLogger } from "../../src/tunnel/logger.ts";
import type { OnRequest } from "../../src/tunnel/request.ts";
import { systemRuntime } from "../../src/tunnel/runtime.ts";
import { assertBytes } from "../support/hex.ts";
import { until } from "../support/test-client.ts";
import { certificate } from "../support/tunnel.ts";
import { skipWithout } from "../support/which.ts";
import {
  assertFrames,
  cutFrames,
  frame,
  joinFrames,
  Type,
  type WireFrame,
  withoutCuts,
} from "./pong-frames.ts";
import { readTranscript, sentBytes, type Transcript } from "./transcript.ts";
import { cutHead, cutWsFrames, wsData } from "./ws-frames.ts";

const WEB_SOCKETS = ["transport-ws-open", "head-transport-ws-open", "transport-ws-20k-fragments"];

describe("pong golden transcripts over real transports", () => {
  for (const name of WEB_SOCKETS) {
    test(`replays ${name} as the remote over a WebSocket`, async () => {
      const transcript = readTranscript("pong", name);
      await using remote = await startRemote(transcript, (accept) =>
        listenWs({ runtime, at: LOOPBACK, path: "/pong" }, accept),
      );
      using client = new RawPeer(net.connect(remote.to));
      const sent = recorded(transcript, "client");
      assert.ok(sent !== undefined);
      client.socket.write(`${sent.head}\r\n\r\n`);
      await until(() => cutHead(client.bytes) !== undefined, "an answer to the upgrade");
      client.socket.write(sent.rest);
      const expected = answerOf(transcript, "ws");
      const answer = (): Uint8Array => wsData(cutHead(client.bytes)?.rest ?? NOTHING);
      await until(() => answer().byteLength >= expected.byteLength, "the whole answer");
      // The very bytes of pong-go's answer, and then FINISH for CLOSE (spec 2.5).
      assert.equal(cutHead(client.bytes)?.head, recorded(transcript, "server")?.head);
      assertBytes(answer(), expected);
      const frames = cutWsFrames(cutHead(client.bytes)?.rest ?? NOTHING);
      assert.ok(frames.every(({ isMasked }) => !isMasked));
      assertBytes(remote.received, appBytes(transcript));
    });

    test(`replays ${name} as the local over a WebSocket`, async () => {
      const transcript = readTranscript("pong", name);
      await using server = await rawServer(net.createServer());
      const local = openStream(transcript, ({ port, signal }) => {
        const to = { host: "127.0.0.1", port };
        return dialWs({ runtime, to, signal, secure: false, path: "/pong" });
      });
      const heard = local(server.port);
      const peer = await server.accepted();
      await until(() => cutHead(peer.bytes) !== undefined, "an upgrade request");
      const asked = fieldsOf(cutHead(peer.bytes)?.head ?? "");
      const wanted = fieldsOf(recorded(transcript, "client")?.head ?? "");
      assert.equal(asked.line, wanted.line);
      // No Origin, no extensions, no subprotocol; order and spelling of the names are free.
      assert.deepEqual([...asked.fields.keys()].toSorted(), [...wanted.fields.keys()].toSorted());
      for (const field of ["user-agent", "connection", "upgrade", "sec-websocket-version"]) {
        assert.equal(
          asked.fields.get(field)?.toLowerCase(),
          wanted.fields.get(field)?.toLowerCase(),
        );
      }
      const key = asked.fields.get("sec-websocket-key") ?? "";
      const answer = recorded(transcript, "server");
      assert.ok(answer !== undefined);
      const accepted = createHash("sha1")
        .update(key + WS_GUID)
        .digest("base64");
      peer.socket.write(answer.head.replace(/(Accept: ).*/, `$1${accepted}`) + "\r\n\r\n");
      const expected = sentBytes(transcript, { layer: "ws", from: "client", conn: 1 });
      const said = (): Uint8Array => wsData(cutHead(peer.bytes)?.rest ?? NOTHING);
      await until(() => said().byteLength >= expected.byteLength, "all the local has to say");
      peer.socket.write(answer.rest);
      const { received } = await heard;
      assertBytes(said(), expected);
      assert.ok(cutWsFrames(cutHead(peer.bytes)?.rest ?? NOTHING).every((it) => it.isMasked));
      assertBytes(received, appAnswer(transcript));
    });
  }

  test("replays probe-ws-ping-origin-text as the remote", async () => {
    const transcript = readTranscript("pong", "probe-ws-ping-origin-text");
    // The probe asks for any path, so ours must not insist on one either.
    await using remote = await startRemote(transcript, (accept) =>
      listenWs({ runtime, at: LOOPBACK }, accept),
    );
    for (const conn of [1, 2, 3]) {
      using client = new RawPeer(net.connect(remote.to));
      const answered = recorded(transcript, "server", conn);
      assert.ok(answered !== undefined);
      let answeredLines = 0;
      for (const line of transcript.lines) {
        if (line.layer !== "tcp" || line.conn !== conn || line.event !== "data") continue;
        if (line.from === "client") client.socket.write(line.bytes);
        else {
          // Each answer is one WebSocket frame, the first one the HTTP head.
          const count = answeredLines++;
          const frames = (): number => cutWsFrames(cutHead(client.bytes)?.rest ?? NOTHING).length;
          const isThere = (): boolean => cutHead(client.bytes) !== undefined && frames() >= count;
          await until(isThere, `answer ${count} on connection ${conn}`);
        }
      }
      await until(() => client.isEnded, `the end of connection ${conn}`);
      const answer = cutHead(client.bytes);
      const [status, wanted] = [answer?.head, answered.head].map((it) => it?.split("\r\n")[0]);
      assert.equal(status, wanted);
      if (conn === 2) continue; // the text of a 403 is anybody's
      const frames = (bytes: Uint8Array): string[] =>
        cutWsFrames(bytes)
          .filter(({ opcode }) => opcode > 2)
          .map(({ opcode, payload }) => `${opcode} ${Buffer.from(payload).toString("hex")}`);
      assert.deepEqual(frames(answer?.rest ?? NOTHING), frames(answered.rest));
      // The echo follows our reads, which hand on a frame's pieces as they come: cuts are free.
      const data = (bytes: Uint8Array): WireFrame[] => withoutCuts(cutFrames(wsData(bytes)).frames);
      assertFrames(data(answer?.rest ?? NOTHING), data(answered.rest), "echoes");
    }
  });

  test("replays transport-tls-open as the remote inside TLS", {
    skip: skipWithout("openssl"),
  }, async () => {
    const transcript = readTranscript("pong", "transport-tls-open");
    await using scope = new AsyncDisposableStack();
    const pem = readPem(scope);
    await using remote = await startRemote(transcript, (accept) =>
      listenTls({ runtime, at: LOOPBACK, tls: pem }, accept),
    );
    // As pong-go asks: TLS 1.3, no ALPN, no name for an address.
    const options = { minVersion: "TLSv1.3", rejectUnauthorized: false } as const;
    using client = new RawPeer(tls.connect({ ...remote.to, ...options }));
    client.socket.write(sentBytes(transcript, { layer: "tls-plaintext", from: "client", conn: 1 }));
    const expected = answerOf(transcript, "tls-plaintext");
    await until(() => client.bytes.byteLength >= expected.byteLength, "the whole answer");
    assertBytes(client.bytes, expected);
    assertBytes(remote.received, appBytes(transcript));
  });

  test("replays transport-tls-open as the local inside TLS", {
    skip: skipWithout("openssl"),
  }, async () => {
    const transcript = readTranscript("pong", "transport-tls-open");
    await using scope = new AsyncDisposableStack();
    const names: unknown[] = [];
    const server = tls.createServer({ ...readPem(scope), ALPNProtocols: ["h2", "http/1.1"] });
    server.on("secureConnection", (socket) => names.push(socket.alpnProtocol, socket.servername));
    await using raw = await rawServer(server);
    const local = openStream(transcript, ({ port, signal }) => {
      const to = { host: "127.0.0.1", port };
      return dialTls({ runtime, to, signal, tls: { insecure: true } });
    });
    const heard = local(raw.port);
    const peer = await raw.accepted();
    const expected = sentBytes(transcript, { layer: "tls-plaintext", from: "client", conn: 1 });
    await until(() => peer.bytes.byteLength >= expected.byteLength, "all the local has to say");
    peer.socket.write(sentBytes(transcript, { layer: "tls-plaintext", from: "server", conn: 1 }));
    const { received } = await heard;
    assertBytes(peer.bytes, expected);
    assertBytes(received, appAnswer(transcript));
    assert.deepEqual(names, [false, false], "no ALPN, no name");
  });
});

/** The other end, byte by byte. */
class RawPeer implements Disposable {
  readonly socket: net.Socket;
  isEnded = false;
  readonly #chunks: Uint8Array[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#chunks.push(chunk));
    socket.on("error", () => {}); // a reset is an end too
    socket.on("end", () => socket.end());
    for (const event of ["end", "close"]) {
      socket.on(event, () => {
        this.isEnded = true;
      });
    }
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** A remote of ours, whose targets behave as the recorded ones: echo, or answer once all arrived. */
async function startRemote(
  transcript: Transcript,
  listen: (accept: OnConnection) => Promise<Listener>,
): Promise<AsyncDisposable & { to: { host: string; port: number }; received: Uint8Array[] }> {
  const received: Uint8Array[] = [];
  const wanted = appBytes(transcript).byteLength;
  const onRequest: OnRequest = (request) => {
    const stream = request.accept();
    let bytes = 0;
    own(stream, (chunk) => {
      received.push(chunk.slice());
      bytes += chunk.byteLength;
      if (transcript.capturedFrom.client === "probe") stream.write([chunk]);
      else if (bytes === wanted) {
        stream.write([appAnswer(transcript)]);
        stream.finish();
      }
    });
  };
  const server = new PongServer({
    name: "remote",
    clients: [{ name: "alice", id: transcript.clientId }],
    runtime,
    logger: silentLogger,
    onRequest,
  });
  const listener = await listen((connection) => server.accept(connection));
  const to = parseHostPort(listener.address);
  assert.ok(to !== undefined);
  return {
    to,
    received,
    [Symbol.asyncDispose]: async () => {
      await listener.close();
      await server.close(0);
    },
  };
}

/** A local of ours that opens the recorded stream, says what the program said, and reads to the end. */
function openStream(
  transcript: Transcript,
  dial: (options: { port: number; signal: AbortSignal }) => Promise<Connection>,
): (port: number) => Promise<{ received: readonly Uint8Array[] }> {
  return async (port) => {
    const client = new PongClient({
      name: "home",
      clientId: transcript.clientId,
      runtime,
      logger: silentLogger,
      session: { extensions: false },
      dialer: {
        description: "pong",
        dial: async ({ signal }) => await dial({ port, signal }),
      },
    });
    const target = { network: "tcp", host: "127.0.0.1", port: targetPort(transcript) } as const;
    const metadata = { inbound: "test", source: "test" };
    const signal = new AbortController().signal;
    const stream = await client.open(target, { signal, metadata });
    const received: Uint8Array[] = [];
    const ended = Promise.withResolvers<void>();
    own(stream, (chunk) => received.push(chunk.slice()), ended.resolve);
    stream.write([appBytes(transcript)]);
    await ended.promise;
    stream.finish();
    await client.close(0);
    return { received };
  };
}

function own(
  connection: Connection,
  onData: (chunk: Uint8Array) => void,
  onEnd: () => void = () => {},
): void {
  connection.attach({ onData, onEnd, onDrain: () => {}, onClose: onEnd });
  connection.resume();
}

async function rawServer(
  server: net.Server,
): Promise<AsyncDisposable & { port: number; accepted: () => Promise<RawPeer> }> {
  const first = Promise.withResolvers<RawPeer>();
  const peers: RawPeer[] = [];
  const event = server instanceof tls.Server ? "secureConnection" : "connection";
  server.on(event, (socket: net.Socket) => {
    const peer = new RawPeer(socket);
    peers.push(peer);
    first.resolve(peer);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    accepted: () => first.promise,
    [Symbol.asyncDispose]: async () => {
      for (const peer of peers) peer[Symbol.dispose]();
      server.close();
      await once(server, "close");
    },
  };
}

/** What one end sent over TCP, cut behind its HTTP head. */
function recorded(
  transcript: Transcript,
  from: "client" | "server",
  conn = 1,
): ReturnType<typeof cutHead> {
  return cutHead(sentBytes(transcript, { layer: "tcp", from, conn }));
}

/** What the recorded program sent behind its SOCKS5 request for an IPv4 address. */
function appBytes(transcript: Transcript): Uint8Array {
  return sentBytes(transcript, { layer: "app", from: "client", conn: 1 }).subarray(13);
}

function appAnswer(transcript: Transcript): Uint8Array {
  return sentBytes(transcript, { layer: "dst", from: "server", conn: 1 });
}

function targetPort(transcript: Transcript): number {
  const asked = sentBytes(transcript, { layer: "app", from: "client", conn: 1 });
  return Buffer.from(asked).readUInt16BE(11);
}

/** What our remote says where pong-go's said CLOSE. */
function answerOf(transcript: Transcript, layer: string): Uint8Array {
  const { frames } = cutFrames(sentBytes(transcript, { layer, from: "server", conn: 1 }));
  return joinFrames(frames.map((it) => (it.type === Type.close ? frame(Type.finish, it.id) : it)));
}

function fieldsOf(head: string): { line: string; fields: Map<string, string> } {
  const [line = "", ...fields] = head.split("\r\n");
  return {
    line,
    fields: new Map(
      fields.map((field) => {
        const at = field.indexOf(":");
        return [field.slice(0, at).toLowerCase(), field.slice(at + 1).trim()];
      }),
    ),
  };
}

function readPem(scope: AsyncDisposableStack): { cert: Buffer; key: Buffer } {
  const { cert, key } = certificate(scope);
  return { cert: readFileSync(cert), key: readFileSync(key) };
}

const NOTHING = new Uint8Array(0);
const runtime = systemRuntime();
const LOOPBACK = { host: "127.0.0.1", port: 0 } as const;

/** RFC 6455 1.3. */
const WS_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
