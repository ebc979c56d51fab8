import http from "node:http";
import type { Socket } from "node:net";
import { WebSocketServer } from "ws";
import { formatHostPort } from "../../address/target.ts";
import type { Listener, OnConnection } from "../../tunnel/connection.ts";
import { listenSockets, type TcpListenOptions } from "../tcp/listen.ts";
import { listenTlsSockets, type TlsListenOptions } from "../tls/listen.ts";
import { WsConnection } from "./ws-connection.ts";

/** Where to listen. */
export interface WsListenOptions extends TcpListenOptions {
  /** With it the WebSocket runs inside TLS (`wss`). */
  readonly tls?: TlsListenOptions["tls"] | undefined;
  /** The only path served; `undefined` or `/` serves every path. */
  readonly path?: string | undefined;
  /** How long a peer may take over TLS and upgrade, each, ms. @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  readonly onHandshakeError?: TlsListenOptions["onHandshakeError"];
}

/**
 * Listens for WebSockets. Everything that is not an upgrade on the right path gets a short answer.
 *
 * @throws ConfigError when the address is not to be had, or certificate and key do not fit
 */
export async function listenWs(
  options: WsListenOptions,
  onConnection: OnConnection,
): Promise<Listener> {
  const { runtime, keepaliveMs, handshakeTimeoutMs = 10_000, tls } = options;
  const server = http.createServer({
    requestTimeout: handshakeTimeoutMs,
    headersTimeout: handshakeTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, handshakeTimeoutMs),
    maxHeaderSize: MAX_HEADER_BYTES,
  });
  const upgrades = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    // RFC 6455 4.2.2: a foreign Origin is a browser somebody else steers. Reference: gorilla's CheckOrigin.
    verifyClient: (
      { origin, req }: { origin: string | undefined; req: http.IncomingMessage },
      answer: (isWelcome: boolean, status?: number) => void,
    ) => {
      if (origin === undefined || sameHost(origin, req.headers.host)) answer(true);
      else answer(false, 403);
    },
  });
  server.on("request", (request, response) => {
    const isHere = matchesPath(options.path, request.url);
    response.writeHead(isHere ? 426 : 404, { connection: "close", "content-type": "text/plain" });
    response.end(isHere ? "this path speaks WebSocket\n" : "not found\n");
  });
  server.on("upgrade", (request, socket: Socket, head) => {
    if (!matchesPath(options.path, request.url)) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    upgrades.handleUpgrade(request, socket, head, (ws) => {
      socket.setNoDelay(true);
      onConnection(
        new WsConnection(ws, {
          socket,
          runtime,
          keepaliveMs,
          info: {
            transport: tls === undefined ? "ws" : "wss",
            local: formatHostPort(socket.localAddress ?? "-", socket.localPort ?? 0),
            peer: formatHostPort(socket.remoteAddress ?? "-", socket.remotePort ?? 0),
          },
        }),
      );
    });
  });
  server.on("clientError", (error, socket) => {
    options.onHandshakeError?.(
      error,
      "remoteAddress" in socket ? String(socket.remoteAddress) : "-",
    );
    socket.destroy();
  });
  const feed = (socket: Socket): void => {
    socket.on("error", () => {}); // the HTTP server reports it
    server.emit("connection", socket);
    socket.resume();
  };
  return tls === undefined
    ? await listenSockets(options, feed)
    : await listenTlsSockets({ ...options, tls: { ...tls, alpn: ["http/1.1"] } }, feed);
}

function matchesPath(path: string | undefined, url: string | undefined): boolean {
  if (path === undefined || path === "" || path === "/") return true;
  return (url ?? "/").split("?", 1)[0] === path;
}

function sameHost(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host;
}

/** A peer may fill one message with many frames; more than this it has no reason to. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** An upgrade has few headers. */
const MAX_HEADER_BYTES = 16 * 1024;
