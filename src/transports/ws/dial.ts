import net from "node:net";
import { WebSocket } from "ws";
import { formatHostPort } from "../../address/target.ts";
import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectSocket } from "../tcp/dial.ts";
import { connectTls, type TlsDialOptions } from "../tls/dial.ts";
import { maxMessageBytes, OWN_CLOSE, WsConnection, type WsFraming } from "./ws-connection.ts";

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
      const text =
        `${peer}: websocket upgrade answered ${response.statusCode ?? 0} ${response.statusMessage ?? ""}`.trimEnd();
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
