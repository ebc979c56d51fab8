import http from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { formatHostPort } from "../../address/target.ts";
import type { Timer } from "../../clock/clock.ts";
import { type ErrorCode, NetworkError } from "../../errors.ts";
import type { Listener, OnConnection } from "../../tunnel/connection.ts";
import { listenSockets, type TcpListenOptions } from "../tcp/listen.ts";
import { listenTlsSockets, type TlsListenOptions } from "../tls/listen.ts";
import { OWN_CLOSE, WsConnection } from "./ws-connection.ts";

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
  // Its own timeouts work only on ports it listens on itself; ours are in `feed`.
  const server = http.createServer({ maxHeaderSize: MAX_HEADER_BYTES });
  const deadlines = new WeakMap<Socket, Timer>();
  const upgrades = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    ...OWN_CLOSE,
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
      socket.write("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      socket.destroySoon();
      return;
    }
    upgrades.handleUpgrade(request, socket, head, (ws) => {
      deadlines.get(socket)?.cancel();
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
  const peers = new WeakMap<Duplex, string>();
  const failed = (peer: string, code: ErrorCode, why: string): void => {
    const error = new NetworkError(code, `${peer}: websocket upgrade${why}`);
    options.onHandshakeError?.(error, peer);
  };
  server.on("clientError", (error, socket) => {
    failed(peers.get(socket) ?? "-", "ERR_PROTOCOL", `: ${error.message}`);
    socket.destroy();
  });
  const feed = (socket: Socket): void => {
    const peer = formatHostPort(socket.remoteAddress ?? "-", socket.remotePort ?? 0);
    peers.set(socket, peer);
    // All of the request, not one read: dripping bytes does not stretch it.
    const deadline = runtime.clock.schedule(handshakeTimeoutMs, () => {
      failed(peer, "ERR_HANDSHAKE_TIMEOUT", ` not complete within ${handshakeTimeoutMs} ms`);
      socket.destroy();
    });
    deadlines.set(socket, deadline);
    socket.once("close", () => deadline.cancel());
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
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}

/** A peer may fill one message with many frames; more than this it has no reason to. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** An upgrade has few headers. */
const MAX_HEADER_BYTES = 16 * 1024;
