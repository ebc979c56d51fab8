/**
 * One end of the KCP measurements, in its own process: serves and loads bare UDP, kernel TCP and KCP
 * alike. The first byte of a connection chooses: `U` is counted, `D` is sent to until it leaves, `E`
 * is echoed. Bare datagrams are counted when they are long, echoed when they are short.
 */
import dgram from "node:dgram";
import { once } from "node:events";
import { NetworkError } from "../src/errors.ts";
import type { Connection } from "../src/tunnel/connection.ts";
import { silentLogger } from "../src/tunnel/logger.ts";
import { systemRuntime } from "../src/tunnel/runtime.ts";
import { kcpDialer } from "../src/transports/kcp/dial.ts";
import { KCP_PROFILES } from "../src/transports/kcp/kcp-options.ts";
import { listenKcp } from "../src/transports/kcp/listen.ts";
import { connectSocket } from "../src/transports/tcp/dial.ts";
import { listenSockets } from "../src/transports/tcp/listen.ts";
import {
  bulkReading,
  rewrapAccepted,
  tcpConnection,
} from "../src/transports/tcp/tcp-connection.ts";
import { bindUdp } from "../src/transports/udp/bind.ts";
import { useCubic } from "./use-cubic.ts";

/** What carries the bytes. */
export type Carrier = "udp" | "tcp" | "kcp";

interface Place {
  readonly carrier: Carrier;
  readonly host: string;
  readonly port: number;
}

/** What the measurement asks of an end. */
export type KcpOrder =
  | ({ readonly kind: "listen" } & Place)
  /** Sends (`U`) or has sent (`D`) without pause, until `stop`. */
  | ({ readonly kind: "stream"; readonly mode: "U" | "D" } & Place)
  | { readonly kind: "count" }
  | { readonly kind: "stop" }
  | ({ readonly kind: "echo"; readonly connections: number; readonly count: number } & Place);

/** What an end answers; only what was asked for is there. */
export interface KcpResult {
  readonly port?: number;
  /** Received so far, and when that was, in this process's milliseconds. */
  readonly bytes?: number;
  readonly at?: number;
  /** Milliseconds of each echo. */
  readonly times?: readonly number[];
  readonly error?: string;
}

const runtime = systemRuntime();
const options = KCP_PROFILES.vproxy;
const kcp = { runtime, options, bindUdp, logger: silentLogger };
const live = new Set<Connection | dgram.Socket>();
const served = new Set<Connection>();
let bytes = 0;

const CHUNK = new Uint8Array(64 * 1024);
const ECHO_BYTES = 64;
const ECHO_LIMIT = 256;

process.on("message", (order: KcpOrder) => {
  obey(order).then(
    (result) => process.send?.(result),
    (thrown: unknown) => process.send?.({ error: String(thrown) }),
  );
});

async function obey(order: KcpOrder): Promise<KcpResult> {
  if (order.kind === "count") return { bytes, at: performance.now() };
  if (order.kind === "listen") return { port: await listen(order) };
  if (order.kind === "echo") return { times: await echoes(order) };
  if (order.kind === "stream") await stream(order);
  else stop();
  return {};
}

function stop(): void {
  for (const member of live) member.close();
  live.clear();
  // KCP cannot say that it ended: whoever sends would go on.
  for (const connection of served) connection.reset(new NetworkError("ERR_SHUTDOWN", "measured"));
}

async function listen({ carrier, host, port }: Place): Promise<number> {
  if (carrier === "udp") {
    const socket = await bound(host, port);
    socket.on("message", (data, from) => {
      bytes += data.byteLength;
      if (data.byteLength < ECHO_LIMIT) socket.send(data, from.port, from.address);
    });
    return socket.address().port;
  }
  const listener = await (carrier === "kcp"
    ? listenKcp({ ...kcp, host, port, limits: { maxSessionsPerSource: 4096 }, onConnection: serve })
    : listenSockets({ runtime, at: { host, port } }, (accepted) => {
        const { socket, reader } = rewrapAccepted(accepted, runtime);
        useCubic(socket);
        serve(tcpConnection(socket, reader, { runtime }));
      }));
  return Number(/\d+$/.exec(listener.address)?.[0]);
}

function serve(connection: Connection): void {
  let mode = "";
  served.add(connection);
  connection.attach({
    onData: (chunk) => {
      if (mode === "") {
        mode = String.fromCharCode(chunk[0] ?? 0);
        if (mode === "D") pump(connection);
        if (mode === "E" && chunk.byteLength > 1) connection.write([chunk.subarray(1)]);
      } else if (mode === "E") connection.write([chunk]);
      else bytes += chunk.byteLength;
    },
    onDrain: () => pump(connection),
    onEnd: () => connection.close(),
    onClose: () => void served.delete(connection),
  });
  connection.resume();
}

function pump(connection: Connection): void {
  while (connection.write([CHUNK]));
}

async function dial({ carrier, host, port }: Place): Promise<Connection> {
  const signal = AbortSignal.timeout(60_000);
  if (carrier === "kcp") return await kcpDialer({ ...kcp, host, port }).dial({ signal });
  const { reader, options: reading } = bulkReading(runtime);
  const socket = await connectSocket({ runtime, to: { host, port }, signal }, reading);
  useCubic(socket);
  return tcpConnection(socket, reader, { runtime });
}

async function stream(order: Place & { readonly mode: "U" | "D" }): Promise<void> {
  if (order.carrier === "udp") {
    await flood(order);
    return;
  }
  const connection = await dial(order);
  live.add(connection);
  connection.attach({
    onData: (chunk) => {
      bytes += chunk.byteLength;
    },
    onDrain: () => pump(connection),
    onEnd: () => {},
    onClose: () => void live.delete(connection),
  });
  connection.resume();
  connection.write([Buffer.from(order.mode)]);
  if (order.mode === "U") pump(connection);
}

/** As many datagrams as the loop sends: what Node's sockets can do. */
async function flood({ host, port }: Place): Promise<void> {
  const socket = await bound("", 0);
  socket.connect(port, host);
  await once(socket, "connect");
  live.add(socket);
  const datagram = Buffer.alloc(options.mtuBytes);
  const turn = (): void => {
    if (!live.has(socket)) return;
    for (let at = 0; at < 32; at++) socket.send(datagram);
    setImmediate(turn);
  };
  turn();
}

async function bound(host: string, port: number): Promise<dgram.Socket> {
  const size = 4 * 1024 * 1024;
  const socket = dgram.createSocket({ type: "udp4", recvBufferSize: size, sendBufferSize: size });
  socket.bind(port, host === "" ? undefined : host);
  await once(socket, "listening");
  return socket;
}

async function echoes(
  order: Place & { readonly connections: number; readonly count: number },
): Promise<readonly number[]> {
  const all = await Promise.all(
    Array.from({ length: order.connections }, async (_, index) => {
      // Not all at once: each has a phase of its own.
      await new Promise((resolve) => setTimeout(resolve, index * 7));
      const { send, close } = await echoPath(order);
      const times: number[] = [];
      await send();
      for (let at = 0; at < order.count; at++) {
        const before = performance.now();
        await send();
        times.push(performance.now() - before);
      }
      close();
      return times;
    }),
  );
  return all.flat();
}

interface EchoPath {
  /** Resolves when the echo is there. */
  readonly send: () => Promise<void>;
  readonly close: () => void;
}

async function echoPath(place: Place): Promise<EchoPath> {
  let missing = 0;
  let done = (): void => {};
  const took = (byteLength: number): void => {
    missing -= byteLength;
    if (missing <= 0) done();
  };
  const expect = async (): Promise<void> => {
    missing += ECHO_BYTES;
    await new Promise<void>((resolve) => {
      done = resolve;
    });
  };
  if (place.carrier === "udp") {
    const socket = await bound("", 0);
    socket.on("message", (data) => took(data.byteLength));
    const send = async (): Promise<void> => {
      socket.send(new Uint8Array(ECHO_BYTES), place.port, place.host);
      await expect();
    };
    return { send, close: () => socket.close() };
  }
  const connection = await dial(place);
  connection.attach({
    onData: (chunk) => took(chunk.byteLength),
    onEnd: () => {},
    onDrain: () => {},
    onClose: () => {},
  });
  connection.resume();
  connection.write([Buffer.from("E")]);
  const send = async (): Promise<void> => {
    connection.write([new Uint8Array(ECHO_BYTES)]);
    await expect();
  };
  return { send, close: () => connection.close() };
}

process.on("disconnect", () => process.exit());
process.send?.({ port: 0 });
