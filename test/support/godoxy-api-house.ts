import { once } from "node:events";
import net from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import { SlabPool } from "../../src/bytes/slab-pool.ts";
import { systemClock } from "../../src/clock/clock.ts";
import {
  type AgentApi,
  type AgentApiOptions,
  createAgentApi,
} from "../../src/protocols/godoxy/api/agent-api.ts";
import { listenGodoxy, type GodoxyListenOptions } from "../../src/registry/godoxy-listener.ts";
import { dialTcp } from "../../src/transports/tcp/dial.ts";
import type { TlsListener } from "../../src/transports/tls/listen.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import type { PeerIdentity } from "../../src/tunnel/datagram-connection.ts";
import type { Runtime } from "../../src/tunnel/runtime.ts";
import { vectorText } from "./godoxy-certificates.ts";
import { LogRecorder } from "./log-recorder.ts";

/** What differs from a plain agent. */
export interface ApiHouseOptions {
  readonly api?: Partial<AgentApiOptions> | undefined;
  readonly listen?: Partial<GodoxyListenOptions> | undefined;
  /** Where a port the client names really is. @default where it says; `undefined`: nowhere */
  readonly portOf?: ((port: number) => number) | undefined;
}

/** An agent's TCP port with the certificates of the vectors, its HTTP side, and its streams. */
export class ApiHouse implements AsyncDisposable {
  readonly listener: TlsListener;
  readonly api: AgentApi;
  readonly port: number;
  readonly log: LogRecorder;
  readonly streams: { readonly connection: Connection; readonly identity: PeerIdentity }[];

  private constructor(parts: Pick<ApiHouse, "listener" | "api" | "log" | "streams">) {
    this.listener = parts.listener;
    this.api = parts.api;
    this.log = parts.log;
    this.streams = parts.streams;
    this.port = Number(/\d+$/.exec(parts.listener.address)?.[0]);
  }

  static async open({
    api: more = {},
    listen = {},
    portOf,
  }: ApiHouseOptions = {}): Promise<ApiHouse> {
    const log = new LogRecorder();
    const streams: ApiHouse["streams"] = [];
    const runtime = more.runtime ?? RUNTIME;
    const api = createAgentApi({
      name: "vector-agent",
      logger: log,
      dial: async ({ host, port }, signal) =>
        await dialTcp({ runtime, to: { host, port: portOf?.(port) ?? port }, signal }),
      ...more,
      runtime,
    });
    const listener = await listenGodoxy({
      runtime,
      logger: log,
      at: { host: "127.0.0.1", port: 0 },
      tls: {
        ca: vectorText("agent-a", "ca.pem"),
        cert: vectorText("agent-a", "server.pem"),
        key: vectorText("agent-a", "server.key"),
      },
      onStream: (connection, identity) => void streams.push({ connection, identity }),
      onHttp: (socket, { name, pin }) =>
        api.accept(socket, { address: socket.remoteAddress ?? "", name, key: pin }),
      ...listen,
    });
    return new ApiHouse({ listener, api, log, streams });
  }

  /** A TLS client with the certificate of the vectors, whose handshake is done. */
  async connect(options: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
    const socket = this.dial(options);
    await once(socket, "secureConnect");
    return socket;
  }

  /** The same, from its beginning. */
  dial(options: tls.ConnectionOptions = {}): tls.TLSSocket {
    return tls.connect({
      port: this.port,
      host: "127.0.0.1",
      servername: "godoxy.agent",
      ca: vectorText("agent-a", "ca.pem"),
      cert: vectorText("agent-a", "client.pem"),
      key: vectorText("agent-a", "client.key"),
      ...options,
    });
  }

  /** A TCP connection without TLS. */
  async connectRaw(): Promise<net.Socket> {
    const socket = net.connect({ port: this.port, host: "127.0.0.1", allowHalfOpen: true });
    await once(socket, "connect");
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.listener.close();
    for (const { connection } of this.streams) connection.close();
    await this.api.close();
  }
}

/** All a socket says until it ends or breaks. */
export async function readAll(socket: net.Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => {}); // whoever wants to know asks `socket.errored`
  if (socket.readableEnded) socket.end();
  else socket.once("end", () => socket.end());
  if (!socket.destroyed)
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  return Buffer.concat(chunks);
}

/** Reads one HTTP/1.1 message after the other from a socket. */
export class HttpReader {
  #bytes: Buffer = Buffer.alloc(0);
  #isEnded = false;
  #wake = (): void => {};

  constructor(socket: Duplex) {
    const ended = (): void => {
      this.#isEnded = true;
      this.#wake();
    };
    socket.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake();
    });
    socket.on("end", ended).on("close", ended).on("error", ended);
  }

  /** @param isHead whether it has no body whatever it says */
  async next(isHead = false): Promise<HttpMessage> {
    const end = await this.#until(() => {
      const at = this.#bytes.indexOf("\r\n\r\n");
      return at < 0 ? undefined : at + 4;
    });
    const message = splitHead(this.#take(end));
    const length = Number(message.headers.get("content-length") ?? 0);
    if (isHead) return message;
    if (message.headers.get("transfer-encoding") === "chunked") {
      const stop = await this.#until(() => {
        const at = this.#bytes.indexOf("0\r\n\r\n");
        return at < 0 ? undefined : at + 5;
      });
      return { ...message, body: this.#take(stop) };
    }
    await this.#until(() => (this.#bytes.byteLength >= length ? length : undefined));
    return { ...message, body: this.#take(length) };
  }

  /** Everything up to the end. */
  async rest(): Promise<Buffer> {
    await this.#until(() => (this.#isEnded ? 0 : undefined), true);
    return this.#take(this.#bytes.byteLength);
  }

  #take(length: number): Buffer {
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  async #until(find: () => number | undefined, isEndFine = false): Promise<number> {
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (this.#isEnded && !isEndFine) {
        throw new Error(`ended after ${JSON.stringify(this.#bytes.toString("latin1"))}`);
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** A message: its first line, its fields in small letters, its body as it is on the wire. */
export interface HttpMessage {
  readonly start: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Reads a whole message. */
export function parseMessage(bytes: Uint8Array): HttpMessage {
  const whole = Buffer.from(bytes);
  const end = whole.indexOf("\r\n\r\n") + 4;
  return { ...splitHead(whole.subarray(0, end)), body: whole.subarray(end) };
}

function splitHead(head: Buffer): HttpMessage {
  const [start = "", ...lines] = head.toString("latin1").slice(0, -4).split("\r\n");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const before = headers.get(name);
    const value = line.slice(colon + 1).trim();
    headers.set(name, before === undefined ? value : `${before} | ${value}`);
  }
  return { start, headers, body: Buffer.alloc(0) };
}

const RUNTIME: Runtime = { clock: systemClock, random: () => 0.5, slabs: new SlabPool() };
