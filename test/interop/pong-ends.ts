import { readFileSync } from "node:fs";
import net from "node:net";
import type { Duplex } from "node:stream";
import { PongClient, type PongPoolOptions } from "../../src/protocols/pong/client.ts";
import type { PongOptions } from "../../src/protocols/pong/options.ts";
import { PongServer } from "../../src/protocols/pong/server.ts";
import { dialTcp } from "../../src/transports/tcp/dial.ts";
import { listenTcp } from "../../src/transports/tcp/listen.ts";
import { dialTls } from "../../src/transports/tls/dial.ts";
import { listenTls } from "../../src/transports/tls/listen.ts";
import { dialWs } from "../../src/transports/ws/dial.ts";
import { listenWs } from "../../src/transports/ws/listen.ts";
import type { Connection, Listener, OnConnection } from "../../src/tunnel/connection.ts";
import { toDuplex } from "../../src/tunnel/duplex.ts";
import { silentLogger } from "../../src/tunnel/logger.ts";
import type { Request } from "../../src/tunnel/request.ts";
import { systemRuntime } from "../../src/tunnel/runtime.ts";
import { directDial } from "../support/direct-dial.ts";
import { CLIENT_ID, type PongTransport } from "../support/tunnel.ts";
import { isSecure } from "./pong-reference.ts";

/** A program's way to a target, and how many streams our end has. */
export interface Way extends AsyncDisposable {
  open(target: { readonly host: string; readonly port: number }): Promise<Duplex>;
  /** Streams alive at our end. */
  readonly streams: number;
  /** Connections alive at our end. */
  readonly links: number;
}

/** How a local of ours may differ from the usual one. */
export interface LocalOptions {
  readonly clientId?: string;
  readonly session?: Partial<PongOptions>;
  readonly pool?: Partial<PongPoolOptions>;
  readonly keepaliveMs?: number;
}

/** A local of ours, in this process. */
export function ourLocal(
  transport: PongTransport,
  port: number,
  options: LocalOptions = {},
): Way & { readonly client: PongClient } {
  const { clientId = CLIENT_ID, session, pool, keepaliveMs } = options;
  const client = new PongClient({
    name: "interop",
    clientId: idBytes(clientId),
    runtime,
    logger: silentLogger,
    session,
    pool,
    dialer: {
      description: `pong+${transport}`,
      dial: async ({ signal }) => await dial(transport, { port, signal, keepaliveMs }),
    },
  });
  return {
    client,
    open: async ({ host, port: targetPort }) => {
      const metadata = { inbound: "interop", source: "test" };
      const signal = new AbortController().signal;
      const target = { network: "tcp", host, port: targetPort } as const;
      return toDuplex(await client.open(target, { signal, metadata }));
    },
    get streams() {
      return client.status().streams;
    },
    get links() {
      return client.status().links;
    },
    [Symbol.asyncDispose]: () => client.close(0),
  };
}

/** A remote of ours. */
export interface OurRemote {
  readonly port: number;
  readonly links: number;
  /** Streams alive now. */
  readonly live: ReadonlySet<Connection>;
  /** Errors that targets could not be reached with. */
  readonly refusals: string[];
  close(): Promise<void>;
}

/** A remote of ours, in this process. */
export async function ourRemote(
  transport: PongTransport,
  pem: { readonly cert: string; readonly key: string },
  options: { readonly keepaliveMs?: number } = {},
): Promise<OurRemote> {
  const live = new Set<Connection>();
  const refusals: string[] = [];
  const dialTarget = directDial(runtime);
  const server = new PongServer({
    name: "interop",
    clients: [{ name: "test", id: idBytes(CLIENT_ID) }],
    runtime,
    logger: silentLogger,
    onRequest: (request) => dialTarget(watch(request, live, refusals)),
  });
  const listener = await listen(transport, { pem, ...options }, (it) => server.accept(it));
  return {
    port: Number(listener.address.slice(listener.address.lastIndexOf(":") + 1)),
    get links() {
      return server.linkCount;
    },
    live,
    refusals,
    close: async () => {
      await listener.close();
      await server.close(0);
    },
  };
}

/** Through a pong-go local's SOCKS5 port, which says yes before it knows. */
export async function openThroughSocks(
  socksPort: number,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Duplex> {
  const socket = net.connect({ port: socksPort, host: "127.0.0.1", allowHalfOpen: true });
  const name = Buffer.from(host);
  const request = Buffer.alloc(7 + name.byteLength);
  request.set([5, 1, 0, 3, name.byteLength]);
  request.set(name, 5);
  request.writeUInt16BE(port, 5 + name.byteLength);
  socket.write(Buffer.of(5, 1, 0));
  await exactly(socket, 2);
  socket.write(request);
  await exactly(socket, 10);
  return socket;
}

/** Counts a request's stream until it is gone. */
function watch(request: Request, live: Set<Connection>, refusals: string[]): Request {
  return {
    ...request,
    accept: () => {
      const stream = request.accept();
      live.add(stream);
      const attach = stream.attach.bind(stream);
      stream.attach = (handler) =>
        attach({
          onData: (chunk) => handler.onData(chunk),
          onEnd: () => handler.onEnd(),
          onDrain: () => handler.onDrain(),
          onClose: (error) => {
            live.delete(stream);
            handler.onClose(error);
          },
        });
      return stream;
    },
    reject: (error) => {
      refusals.push(error.code);
      request.reject(error);
    },
  };
}

async function dial(
  transport: PongTransport,
  options: { port: number; signal: AbortSignal; keepaliveMs: number | undefined },
): Promise<Connection> {
  const { port, signal, keepaliveMs } = options;
  const base = { runtime, signal, keepaliveMs, to: { host: "127.0.0.1", port } };
  // The reference's certificate is made up for this run.
  const trust = { tls: { insecure: true } };
  switch (transport) {
    case "tcp":
      return await dialTcp(base);
    case "tls":
      return await dialTls({ ...base, ...trust });
    case "ws":
    case "wss":
      return await dialWs({ ...base, ...trust, secure: isSecure(transport), path: "/pong" });
  }
}

async function listen(
  transport: PongTransport,
  options: { pem: { cert: string; key: string }; keepaliveMs?: number },
  accept: OnConnection,
): Promise<Listener> {
  const { keepaliveMs } = options;
  const base = { runtime, keepaliveMs, at: { host: "127.0.0.1", port: 0 } };
  const tls = { cert: readFileSync(options.pem.cert), key: readFileSync(options.pem.key) };
  switch (transport) {
    case "tcp":
      return await listenTcp(base, accept);
    case "tls":
      return await listenTls({ ...base, tls }, accept);
    case "ws":
      return await listenWs({ ...base, path: "/pong" }, accept);
    case "wss":
      return await listenWs({ ...base, path: "/pong", tls }, accept);
  }
}

function exactly(socket: net.Socket, count: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (socket.read(count) === null) return;
      socket.off("readable", look).off("error", reject).off("close", onClose);
      resolve();
    };
    const onClose = (): void => reject(new Error("the local closed the SOCKS5 connection"));
    socket.on("readable", look).once("error", reject).once("close", onClose);
  });
}

function idBytes(uuid: string): Uint8Array {
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
}

const runtime = systemRuntime();
