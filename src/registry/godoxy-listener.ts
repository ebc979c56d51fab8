import type { X509Certificate } from "node:crypto";
import type tls from "node:tls";
import { formatHostPort } from "../address/target.ts";
import { DEFAULT_KEEPALIVE_MS } from "../transports/tcp/tcp-connection.ts";
import { tlsConnection } from "../transports/tls/dial.ts";
import {
  listenTlsSockets,
  type TlsListener,
  type TlsListenOptions,
} from "../transports/tls/listen.ts";
import { spkiPin } from "../transports/tls/tls-options.ts";
import type { Connection } from "../tunnel/connection.ts";
import type { PeerIdentity } from "../tunnel/datagram-connection.ts";
import type { Logger } from "../tunnel/logger.ts";

/** Where an agent listens, as whom, and what it does with its clients. */
export interface GodoxyListenOptions
  extends Pick<
    TlsListenOptions,
    | "runtime"
    | "at"
    | "keepaliveMs"
    | "ackTimeoutMs"
    | "handshakeTimeoutMs"
    | "maxConnections"
    | "maxHandshakes"
  > {
  readonly logger: Logger;
  /** PEM; clients must show a certificate of this CA. */
  readonly tls: {
    readonly cert: string | Uint8Array;
    readonly key: string | Uint8Array;
    readonly ca: string | Uint8Array;
  };
  /** SHA-256 of clients' public keys (SPKI), base64: only these may enter. @default all of the CA */
  readonly pins?: readonly string[] | undefined;
  /** Takes a stream, paused and without a handler. */
  onStream(connection: Connection, identity: PeerIdentity): void;
  /** Takes what speaks HTTP. */
  onHttp(socket: tls.TLSSocket, identity: PeerIdentity): void;
}

/**
 * Listens on an agent's one TCP port: TLS with certificates of both sides, and in it, as ALPN says,
 * streams or HTTP/1.1. Who offers neither is told so in the handshake (alert 120).
 *
 * Reference: godoxy `agent/cmd/main.go`, the listener and `TLSNextProto`.
 *
 * @throws ConfigError when the address is not to be had, or certificate and key do not fit
 */
export async function listenGodoxy(options: GodoxyListenOptions): Promise<TlsListener> {
  const { logger, tls, pins } = options;
  const { keepaliveMs = DEFAULT_KEEPALIVE_MS } = options;
  const refuse = (peer: string, reason: string): void =>
    logger.warn("connection refused", { peer, phase: "tls handshake", reason });
  const onSocket = (socket: tls.TLSSocket): void => {
    const certificate = socket.getPeerX509Certificate();
    const identity = certificate === undefined ? undefined : identityOf(certificate);
    const isWelcome = identity !== undefined && (pins === undefined || pins.includes(identity.pin));
    if (!isWelcome) {
      const peer = formatHostPort(socket.remoteAddress ?? "-", socket.remotePort ?? 0);
      refuse(peer, `the client's key ${identity?.pin ?? "(none)"} is not a pinned one`);
      socket.on("error", () => {}); // nobody waits for it
      socket.destroy();
    } else if (socket.alpnProtocol === STREAM_ALPN) {
      options.onStream(tlsConnection(socket, { ...options, keepaliveMs }), identity);
    } else {
      socket.setNoDelay(true);
      socket.setKeepAlive(keepaliveMs > 0, keepaliveMs);
      options.onHttp(socket, identity);
    }
  };
  return await listenTlsSockets(
    {
      ...options,
      keepaliveMs,
      maxConnections: options.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
      maxHandshakes: options.maxHandshakes ?? DEFAULT_MAX_HANDSHAKES,
      // The order is the agent's preference: who offers both gets HTTP.
      tls: { ...tls, alpn: [HTTP_ALPN, STREAM_ALPN] },
      plaintextAnswer: PLAINTEXT_ANSWER,
      onHandshakeError: (error, peer) => refuse(peer, error.message),
    },
    onSocket,
  );
}

/** Who a certificate names: its subject in one line, and its key. */
export function identityOf(certificate: X509Certificate): PeerIdentity {
  return { name: certificate.subject.replaceAll("\n", ", "), pin: spkiPin(certificate) };
}

/** What a client of streams offers, and nothing else beside it. */
export const STREAM_ALPN = "godoxy-agent-stream/1";

const HTTP_ALPN = "http/1.1";

/** Reference: Go's `net/http`, which answers in these words. */
const PLAINTEXT_ANSWER =
  "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/** Each stream is a connection of its own; a GoDoxy server keeps one per user connection. */
const DEFAULT_MAX_CONNECTIONS = 16_384;

/** Clients that mean it need milliseconds, so a flood pushes out itself. */
const DEFAULT_MAX_HANDSHAKES = 1_024;
