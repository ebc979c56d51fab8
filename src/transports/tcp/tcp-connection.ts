import net from "node:net";
import { formatHostPort } from "../../address/target.ts";
import { NetworkError } from "../../errors.ts";
import type { Connection, ConnectionInfo } from "../../tunnel/connection.ts";
import { DuplexConnection } from "../../tunnel/duplex-connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { BulkReader } from "./bulk-reader.ts";
import { watchPeer } from "./peer-watch.ts";
import { resetSocket } from "./reset-socket.ts";

/** Options of every TCP socket of ours. */
export interface TcpSocketOptions {
  readonly runtime: Runtime;
  /** When the kernel starts probing an idle connection, ms; 0 turns it off. @default 15000 */
  readonly keepaliveMs?: number | undefined;
  /** How long data may stay unacknowledged before the peer counts as dead, ms. @default the kernel's */
  readonly ackTimeoutMs?: number | undefined;
}

/** A reader and the `net` options that make a socket use it. */
export function bulkReading(runtime: Runtime): {
  readonly reader: BulkReader;
  readonly options: { readonly onread: net.OnReadOpts; readonly allowHalfOpen: true };
} {
  const reader = new BulkReader(runtime.slabs);
  return { reader, options: { onread: reader.onread, allowHalfOpen: true } };
}

/** Wraps a connected socket that was made with {@link bulkReading}. */
export function tcpConnection(
  socket: net.Socket,
  reader: BulkReader | undefined,
  options: TcpSocketOptions,
): Connection {
  const { runtime } = options;
  const info = new SocketInfo(socket);
  if (reader !== undefined) socket.once("close", () => reader.release());
  const connection = new DuplexConnection(socket, {
    runtime,
    info,
    destroy: () => resetSocket(socket),
    source:
      reader === undefined
        ? undefined
        : (inbox) => {
            reader.bind(inbox);
            return () => void socket.resume();
          },
  });
  if (info.transport === "tcp") tuneSocket(socket, options, (error) => connection.reset(error));
  return connection;
}

/** The ends of a socket: the peer's while the socket is open, ours only when somebody asks. */
class SocketInfo implements ConnectionInfo {
  readonly transport: string;
  readonly peer: string;
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    this.transport = socket.remoteAddress === undefined ? "unix" : "tcp";
    this.peer = endpoint(socket.remoteAddress, socket.remotePort);
  }

  get local(): string {
    return endpoint(this.#socket.localAddress, this.#socket.localPort);
  }
}

/** What every TCP socket of ours has, whatever runs inside: no delay, and a watch on the peer. */
export function tuneSocket(
  socket: net.Socket,
  { runtime, keepaliveMs = DEFAULT_KEEPALIVE_MS, ackTimeoutMs }: TcpSocketOptions,
  onDead: (error: NetworkError) => void,
): void {
  socket.setNoDelay(true);
  watchPeer(socket, { clock: runtime.clock, keepaliveMs, ackTimeoutMs }, onDead);
}

/**
 * Gives an accepted socket the reader that `net.createServer` has no option for.
 *
 * Node has no documented way, so the handle moves into a fresh socket, with the server's count of
 * open connections. When the internals look different, the socket is used as it is: slower reads,
 * same behaviour.
 */
export function rewrapAccepted(
  accepted: net.Socket,
  runtime: Runtime,
): { readonly socket: net.Socket; readonly reader: BulkReader | undefined } {
  const handle: unknown = Reflect.get(accepted, "_handle");
  if (!isSocketHandle(handle)) return { socket: accepted, reader: undefined };
  const { reader, options } = bulkReading(runtime);
  const socket = new net.Socket({ ...options, handle });
  const server: unknown = Reflect.get(accepted, "_server");
  Object.assign(socket, { _server: server, server });
  Object.assign(accepted, { _handle: null, _server: null });
  return { socket, reader };
}

/** Whether a socket's inner handle can be read from: what Node's own constructor asks for. */
function isSocketHandle(handle: unknown): handle is net.BoundSocket {
  return typeof handle === "object" && handle !== null && "readStart" in handle;
}

/** Turns a socket's failure to connect into our words. */
export function dialError(cause: unknown, what: string): NetworkError {
  const failure = firstFailure(cause);
  const known = DIAL_ERRORS[failure.code];
  return new NetworkError(
    known?.code ?? "ERR_DIAL_FAILED",
    `${what}: ${known?.text ?? failure.message}`,
    { cause, hint: known?.hint },
  );
}

/** Happy eyeballs reports one failure per address: the first one names the reason best. */
function firstFailure(cause: unknown): { code: string; message: string } {
  const first = cause instanceof AggregateError ? cause.errors[0] : cause;
  if (!(first instanceof Error)) return { code: "", message: String(first) };
  const code = "code" in first && typeof first.code === "string" ? first.code : "";
  return { code, message: first.message };
}

function endpoint(address: string | undefined, port: number | undefined): string {
  return address === undefined || port === undefined ? "-" : formatHostPort(address, port);
}

const DIAL_ERRORS: Readonly<
  Record<string, { code: NetworkError["code"]; text: string; hint?: string } | undefined>
> = {
  ECONNREFUSED: {
    code: "ERR_DIAL_REFUSED",
    text: "connection refused",
    hint: "check that something listens on that port",
  },
  ETIMEDOUT: { code: "ERR_DIAL_TIMEOUT", text: "no answer in time" },
  EHOSTUNREACH: { code: "ERR_DIAL_HOST_UNREACHABLE", text: "host unreachable" },
  EHOSTDOWN: { code: "ERR_DIAL_HOST_UNREACHABLE", text: "host is down" },
  ENETUNREACH: { code: "ERR_DIAL_NETWORK_UNREACHABLE", text: "network unreachable" },
  ENETDOWN: { code: "ERR_DIAL_NETWORK_UNREACHABLE", text: "network is down" },
  EADDRNOTAVAIL: { code: "ERR_DIAL_HOST_UNREACHABLE", text: "address not available" },
  EACCES: { code: "ERR_DIAL_FAILED", text: "not permitted" },
  ENOENT: { code: "ERR_DIAL_REFUSED", text: "no such socket file" },
  ENOTFOUND: { code: "ERR_DNS", text: "name does not resolve", hint: "check the spelling" },
  EAI_AGAIN: { code: "ERR_DNS", text: "name server gave no answer" },
};

/** Silence before the kernel asks, ms. */
export const DEFAULT_KEEPALIVE_MS = 15_000;
