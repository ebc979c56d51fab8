import http from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { formatHostPort } from "../../address/target.ts";
import type { Timer } from "../../clock/clock.ts";
import { type ErrorCode, NetworkError } from "../../errors.ts";
import type { Connection, Listener } from "../../tunnel/connection.ts";
import { listenSockets, type TcpListenOptions } from "../tcp/listen.ts";
import { listenTlsSockets, type TlsListenOptions } from "../tls/listen.ts";
import { maxMessageBytes, OWN_CLOSE, WsConnection, type WsFraming } from "./ws-connection.ts";

/** Where to listen. */
export interface WsListenOptions extends TcpListenOptions {
  /** With it the WebSocket runs inside TLS (`wss`). */
  readonly tls?: TlsListenOptions["tls"] | undefined;
  /** The only path served, or what decides; `undefined` or `/` serves every path. */
  readonly path?: string | ((path: string) => boolean) | undefined;
  /** @default "stream" */
  readonly framing?: WsFraming | undefined;
  /**
   * Answers what asks for no upgrade, asks for it elsewhere, or asks wrongly.
   *
   * @default 426 on the path, 404 elsewhere
   */
  readonly onHttp?: http.RequestListener | undefined;
  /** Lets in what a foreign page asks for: its login is no cookie that a browser adds. @default false */
  readonly anyOrigin?: boolean | undefined;
  /** How long a peer may take over TLS and upgrade, each, ms. @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  readonly onHandshakeError?: TlsListenOptions["onHandshakeError"];
}

/** The request a WebSocket began with. */
export interface UpgradeRequest {
  /** Path and query. */
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
}

/**
 * Listens for WebSockets. Everything that is not an upgrade on the right path gets a short answer.
 *
 * @throws ConfigError when the address is not to be had, or certificate and key do not fit
 */
export async function listenWs(
  options: WsListenOptions,
  onConnection: (connection: Connection, request: UpgradeRequest) => void,
): Promise<Listener> {
  const { runtime, framing, keepaliveMs, handshakeTimeoutMs = 10_000, tls } = options;
  // Its own timeouts work only on ports it listens on itself; ours are in `feed`.
  const server = http.createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    shouldUpgradeCallback: (request) =>
      options.onHttp === undefined || (matchesPath(options.path, request.url) && isSound(request)),
  });
  const deadlines = new WeakMap<Socket, Timer>();
  const upgrades = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes(framing),
    // Reference: gorilla chooses none unless told which; `ws` takes the first.
    handleProtocols: () => false,
    ...OWN_CLOSE,
    // RFC 6455 4.2.2: a foreign Origin is a browser somebody else steers. Reference: gorilla's CheckOrigin.
    verifyClient: (
      { origin, req }: { origin: string | undefined; req: http.IncomingMessage },
      answer: (isWelcome: boolean, status?: number) => void,
    ) => {
      const isForeign = origin !== undefined && !sameHost(origin, req.headers.host);
      if (isForeign && options.anyOrigin !== true) answer(false, 403);
      else answer(true);
    },
  });
  const answer: http.RequestListener = (request, response) => {
    const isHere = matchesPath(options.path, request.url);
    response.writeHead(isHere ? 426 : 404, { connection: "close", "content-type": "text/plain" });
    response.end(isHere ? "this path speaks WebSocket\n" : "not found\n");
  };
  server.on("request", options.onHttp ?? answer);
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
          framing,
          keepaliveMs,
          info: {
            transport: tls === undefined ? "ws" : "wss",
            local: formatHostPort(socket.localAddress ?? "-", socket.localPort ?? 0),
            peer: formatHostPort(socket.remoteAddress ?? "-", socket.remotePort ?? 0),
          },
        }),
        { path: request.url ?? "/", headers: request.headers },
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

function matchesPath(served: WsListenOptions["path"], url = "/"): boolean {
  const [path = "/"] = url.split("?", 1);
  if (typeof served === "function") return served(path);
  return served === undefined || served === "" || served === "/" || path === served;
}

/** Whether the request is one that becomes a WebSocket. Spec: RFC 6455 4.2.1. */
function isSound({ method, headers }: http.IncomingMessage): boolean {
  const key = headers["sec-websocket-key"] ?? "";
  return (
    method === "GET" &&
    headers.upgrade?.toLowerCase() === "websocket" &&
    headers["sec-websocket-version"] === "13" &&
    /^[A-Za-z0-9+/]{22}==$/.test(key)
  );
}

function sameHost(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}

/** An upgrade has few headers. */
const MAX_HEADER_BYTES = 16 * 1024;
