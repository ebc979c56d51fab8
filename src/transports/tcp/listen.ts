import { lstat, unlink } from "node:fs/promises";
import net from "node:net";
import { formatHostPort } from "../../address/target.ts";
import { ConfigError, systemCode } from "../../errors.ts";
import type { Listener, OnConnection } from "../../tunnel/connection.ts";
import { rewrapAccepted, tcpConnection, type TcpSocketOptions } from "./tcp-connection.ts";

/** Where to listen. */
export interface TcpListenOptions extends TcpSocketOptions {
  /** A host and port (0: the system chooses), or the path of a Unix socket. */
  readonly at: { readonly host: string; readonly port: number } | { readonly path: string };
  /** Connections open at one time; more are closed at once. @default 65536 */
  readonly maxConnections?: number | undefined;
}

/**
 * Listens on TCP or a Unix socket. A socket file nobody listens on any more is replaced.
 *
 * @throws ConfigError (`ERR_LISTEN`) when the address is taken, not ours, or not permitted
 */
export async function listenTcp(
  options: TcpListenOptions,
  onConnection: OnConnection,
): Promise<Listener> {
  return await listenSockets(options, (accepted) => {
    const { socket, reader } = rewrapAccepted(accepted, options.runtime);
    onConnection(tcpConnection(socket, reader, options));
  });
}

/** Listens and hands over the accepted sockets, paused, for layers that wrap them: TLS. */
export async function listenSockets(
  { at, maxConnections = DEFAULT_MAX_CONNECTIONS }: TcpListenOptions,
  onSocket: (socket: net.Socket) => void,
): Promise<Listener> {
  if ("path" in at) await removeStaleSocket(at.path);
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.maxConnections = maxConnections;
  server.on("connection", onSocket);
  const name = "path" in at ? at.path : formatHostPort(at.host, at.port);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(listenError(cause, name)));
    server.listen({ ...at, backlog: BACKLOG }, resolve);
  });
  server.on("error", () => {}); // EMFILE and the like: one accept failed, the listener lives
  const address = server.address();
  const close = (): Promise<void> => {
    // Resolves when the port is free; accepted connections live on by themselves.
    if (server.listening) server.close();
    return Promise.resolve();
  };
  return {
    address:
      typeof address === "object" && address !== null
        ? formatHostPort(address.address, address.port)
        : name,
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function removeStaleSocket(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => undefined);
  if (!stats?.isSocket()) return;
  const isStale = await new Promise<boolean>((resolve) => {
    const probe = net.connect({ path });
    probe.once("connect", () => probe.destroy()).once("close", () => resolve(false));
    // Any other failure (not ours to open, say) is for `listen` to report.
    probe.once("error", (cause) => resolve(systemCode(cause) === "ECONNREFUSED"));
  });
  if (isStale) await unlink(path).catch(() => {}); // then `listen` says that it is taken
}

function listenError(cause: unknown, name: string): ConfigError {
  const code = systemCode(cause) ?? "";
  const [text, hint] = LISTEN_ERRORS[code] ?? [
    cause instanceof Error ? cause.message : String(cause),
    undefined,
  ];
  return new ConfigError(`cannot listen on ${name}: ${text}`, { code: "ERR_LISTEN", cause, hint });
}

const LISTEN_ERRORS: Readonly<Record<string, readonly [string, string] | undefined>> = {
  EADDRINUSE: ["the address is already in use", "choose another port, or stop the other program"],
  EADDRNOTAVAIL: ["the address is not one of this machine's", "listen on 127.0.0.1 or 0.0.0.0"],
  EACCES: ["not permitted", "use a port from 1024 up, or a directory you may write to"],
  ENOTFOUND: ["the name does not resolve", "listen on an IP address"],
};

/** More pending connections than any burst we serve. */
const BACKLOG = 4096;

const DEFAULT_MAX_CONNECTIONS = 65_536;
