import tls from "node:tls";
import { ConfigError } from "../../errors.ts";
import type { Listener, OnConnection } from "../../tunnel/connection.ts";
import { listenSockets, type TcpListenOptions } from "../tcp/listen.ts";
import { tlsConnection } from "./dial.ts";
import { tlsError, toPem } from "./tls-options.ts";

/** Certificate and key of a listening end, PEM. */
export interface TlsServerOptions {
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
  /** With it, clients must show a certificate that one of these PEM CAs signed. */
  readonly ca?: string | Uint8Array | undefined;
  readonly alpn?: readonly string[] | undefined;
}

/** Where to listen, and as whom. */
export interface TlsListenOptions extends TcpListenOptions {
  readonly tls: TlsServerOptions;
  /** How long a peer may take over its handshake, ms. @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Hears of every failed handshake. */
  readonly onHandshakeError?: ((error: Error, peer: string) => void) | undefined;
}

/**
 * Listens for TLS 1.2 or newer.
 *
 * @throws ConfigError when the address is not to be had, or certificate and key do not fit
 */
export async function listenTls(
  options: TlsListenOptions,
  onConnection: OnConnection,
): Promise<Listener> {
  return await listenTlsSockets(options, (socket) => onConnection(tlsConnection(socket, options)));
}

/** Hands over the TLS sockets whose handshake is done, for layers that wrap them. */
export async function listenTlsSockets(
  options: TlsListenOptions,
  onSocket: (socket: tls.TLSSocket) => void,
): Promise<Listener> {
  const { tls: settings, handshakeTimeoutMs = 10_000, onHandshakeError } = options;
  const server = createTlsServer(settings, handshakeTimeoutMs);
  server.on("secureConnection", onSocket);
  server.on("tlsClientError", (error, socket) => {
    const peer = `${socket.remoteAddress ?? "-"}:${socket.remotePort ?? 0}`;
    onHandshakeError?.(tlsError(error, peer), peer);
  });
  return await listenSockets(options, (socket) => {
    socket.on("error", () => {}); // the TLS server reports it
    server.emit("connection", socket);
  });
}

function createTlsServer(settings: TlsServerOptions, handshakeTimeoutMs: number): tls.Server {
  try {
    return tls.createServer({
      cert: toPem(settings.cert),
      key: toPem(settings.key),
      minVersion: "TLSv1.2",
      handshakeTimeout: handshakeTimeoutMs,
      allowHalfOpen: true,
      ...(settings.ca === undefined ? {} : { ca: toPem(settings.ca), requestCert: true }),
      ...(settings.alpn === undefined ? {} : { ALPNProtocols: [...settings.alpn] }),
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`certificate or key cannot be used: ${why}`, {
      cause,
      hint: "give PEM files that belong together with --cert and --key",
    });
  }
}
