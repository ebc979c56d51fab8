import net from "node:net";
import { WebSocket } from "ws";
import { formatHostPort } from "../../address/target.ts";
import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectSocket } from "../tcp/dial.ts";
import { connectTls, type TlsDialOptions } from "../tls/dial.ts";
import {
  maxMessageBytes,
  OWN_CLOSE,
  PINGS,
  WsConnection,
  type WsFraming,
} from "./ws-connection.ts";

/** Where and how to dial. */
export interface WsDialOptions extends TlsDialOptions {
  /** Whether the WebSocket runs inside TLS (`wss`). */
  readonly secure: boolean;
  /** The path and query of the request. @default "/" */
  readonly path?: string | undefined;
  /** Headers of the request, on top of the WebSocket's own. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** The Host header. @default the host and port dialled */
  readonly authority?: string | undefined;
  /** @default "stream" */
  readonly framing?: WsFraming | undefined;
  /** See {@link WsConnectionOptions.pongMs}. */
  readonly pongMs?: number | undefined;
  /** How many redirects in a row are followed, never from TLS to plain. @default 0 */
  readonly maxRedirects?: number | undefined;
}

/**
 * Connects a WebSocket.
 *
 * @throws NetworkError while connecting, TunnelError `ERR_TLS` in the TLS handshake or
 *   `ERR_PROTOCOL` when the server answers anything but 101; `signal.reason` when aborted
 */
export async function dialWs(options: WsDialOptions): Promise<Connection> {
  const { to, runtime, secure, path = "/", signal, handshakeTimeoutMs = 10_000 } = options;
  const socket = secure
    ? await connectTls(options)
    : await (options.connect?.(signal) ?? connectSocket(options));
  const peer = "path" in to ? to.path : formatHostPort(to.host, to.port);
  using deadline = timeoutAfter(runtime.clock, handshakeTimeoutMs, () => {
    const text = `${peer}: websocket upgrade not answered within ${handshakeTimeoutMs} ms`;
    return new NetworkError("ERR_HANDSHAKE_TIMEOUT", text, {
      hint: "check that this port speaks WebSocket",
    });
  });
  const aborted = AbortSignal.any([deadline.signal, ...(signal ? [signal] : [])]);
  const authority =
    options.authority ?? ("path" in to ? "localhost" : formatHostPort(to.host, to.port));
  return await new Promise((resolve, reject) => {
    const ws = new WebSocket(`${secure ? "wss" : "ws"}://${authority}${path}`, {
      createConnection: () => socket,
      perMessageDeflate: false,
      followRedirects: false,
      maxPayload: maxMessageBytes(options.framing),
      ...OWN_CLOSE,
      ...(options.framing === "messages" ? PINGS : {}),
      headers: { "User-Agent": "Go-http-client/1.1", ...options.headers },
    });
    const fail = (error: Error): void => {
      aborted.removeEventListener("abort", onAbort);
      ws.on("error", () => {}); // whatever still fails, nobody waits for it
      ws.terminate();
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => fail(toTunnelError(aborted.reason, "ERR_ABORTED", peer));
    const onError = (cause: Error): void => {
      const text = `${peer}: websocket upgrade: ${cause.message}`;
      const hint = "check that this port speaks WebSocket";
      fail(new NetworkError("ERR_TUNNEL_DOWN", text, { cause, hint }));
    };
    if (aborted.aborted) return onAbort();
    aborted.addEventListener("abort", onAbort, { once: true });
    ws.once("error", onError);
    ws.once("unexpected-response", (_, response) => {
      const { statusCode = 0, headers } = response;
      if ((options.maxRedirects ?? 0) > 0 && statusCode > 300 && statusCode < 309) {
        aborted.removeEventListener("abort", onAbort);
        ws.on("error", () => {});
        ws.terminate();
        resolve(followRedirect(options, headers.location));
        return;
      }
      const text =
        `${peer}: websocket upgrade answered ${statusCode} ${response.statusMessage ?? ""}`.trimEnd();
      fail(
        new TunnelError("ERR_PROTOCOL", text, {
          hint: "check the path in the URL, and that the server offers a WebSocket there",
        }),
      );
    });
    ws.once("open", () => {
      aborted.removeEventListener("abort", onAbort);
      ws.off("error", onError);
      if (socket instanceof net.Socket) socket.setNoDelay(true);
      resolve(
        new WsConnection(ws, {
          socket,
          runtime,
          framing: options.framing,
          pongMs: options.pongMs,
          keepaliveMs: options.keepaliveMs,
          info: {
            transport: secure ? "wss" : "ws",
            local: "-",
            peer,
          },
        }),
      );
    });
  });
}

/** Dials where a server sent us. The query is the new one's; our headers go to the first place only. */
async function followRedirect(options: WsDialOptions, location = ""): Promise<Connection> {
  const { to, secure, path = "/", maxRedirects = 0 } = options;
  const authority = "path" in to ? "localhost" : formatHostPort(to.host, to.port);
  const fail = (why: string): TunnelError => {
    const text = `${authority}: websocket upgrade redirected to "${location}": ${why}`;
    return new TunnelError("ERR_PROTOCOL", text, { hint: "put the right address into the URL" });
  };
  const from = `${secure ? "https" : "http"}://${authority}${path}`;
  if (location === "" || !URL.canParse(location, from)) throw fail("that is no address");
  const url = new URL(location, from);
  const isSecure = /^(https|wss):$/.test(url.protocol);
  if (!isSecure && !/^(http|ws):$/.test(url.protocol)) throw fail("that is no WebSocket");
  if (secure && !isSecure) throw fail("that would leave TLS");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port === "" ? (isSecure ? 443 : 80) : Number(url.port);
  const isElsewhere = "path" in to || to.host !== host || to.port !== port;
  if (isElsewhere && options.connect !== undefined)
    throw fail("a proxy leads to the first one only");
  return await dialWs({
    ...options,
    to: { host, port },
    headers: isElsewhere ? undefined : options.headers,
    secure: isSecure,
    path: `${url.pathname}${url.search}`,
    authority: url.host,
    maxRedirects: maxRedirects - 1,
  });
}
