import type { Duplex } from "node:stream";
import type { ProxyUrl } from "../config/proxy-url.ts";
import { describeTunnelUrl, type TunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError } from "../errors.ts";
import { dialThroughProxy, type DialProxy } from "../outbound/upstream/dial-through-proxy.ts";
import type { Proxy } from "../outbound/upstream/proxy.ts";
import { dialTcp } from "../transports/tcp/dial.ts";
import { DEFAULT_KEEPALIVE_MS, type TcpSocketOptions } from "../transports/tcp/tcp-connection.ts";
import { dialTls } from "../transports/tls/dial.ts";
import { dialWs, type WsDialOptions } from "../transports/ws/dial.ts";
import type { Connection, Dialer } from "../tunnel/connection.ts";
import { toDuplex } from "../tunnel/duplex.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import { type Secrets, whose } from "./secrets.ts";
import { readClientTls } from "./tls-settings.ts";

/** How a system uses its WebSockets. */
export type WebSocketSettings = Partial<
  Pick<WsDialOptions, "framing" | "path" | "maxRedirects" | "pongMs">
>;

/**
 * A dialer for the byte channel of a tunnel URL, through its proxy if it has one.
 *
 * @throws ConfigError when a secret cannot be had, or no dialer knows the transport
 */
export async function createDialer(
  url: TunnelUrl,
  runtime: Runtime,
  secrets: Secrets,
  websocket: WebSocketSettings = {},
): Promise<Dialer> {
  const { transport, host, port, path, options } = url;
  const settings = await readClientTls(url, secrets);
  const headers = await readHeaders(url, secrets);
  const { keepalive: keepaliveMs = DEFAULT_KEEPALIVE_MS } = options;
  const socket = { runtime, keepaliveMs, ackTimeoutMs: keepaliveMs };
  const via = await dialerVia(url, socket, secrets);
  const connect =
    via &&
    (async (signal: AbortSignal | undefined): Promise<Duplex> => toDuplex(await via(signal)));
  const to = { host, port };
  const base = { ...socket, to, tls: settings, connect };
  const ws = { ...base, path: path === "" ? "/" : path, headers, ...websocket };
  const dial = async (signal: AbortSignal): Promise<Connection> => {
    switch (transport) {
      case "tcp":
        return await (via?.(signal) ?? dialTcp({ ...base, signal }));
      case "tls":
        return await dialTls({ ...base, signal });
      case "ws":
        return await dialWs({ ...ws, secure: false, signal });
      case "wss":
        return await dialWs({ ...ws, secure: true, signal });
      default:
        throw new ConfigError(`transport ${transport} cannot be dialled in this version`);
    }
  };
  return {
    description: describeTunnelUrl(url),
    dial: async ({ signal }) => await dial(signal),
  };
}

/** Connects to proxies: plainly, or over TLS for `https`. */
export function proxyDialer(socket: TcpSocketOptions): DialProxy {
  return async ({ host, port, isTls }, { signal }) =>
    await (isTls ? dialTls : dialTcp)({ ...socket, to: { host, port }, signal });
}

/** The proxy a URL names, with its password. */
export async function readProxy(url: ProxyUrl, secrets: Secrets): Promise<Proxy> {
  const { scheme, host, port, user } = url;
  if (user === undefined) return { scheme, host, port };
  const what = `password of ${scheme}://${host}:${port}`;
  const password = user.password === undefined ? "" : await secrets.line(user.password, what);
  return { scheme, host, port, credential: { user: user.name, password } };
}

/**
 * Connects to the host of a tunnel URL through the proxy it names.
 *
 * @returns `undefined` when it names none
 * @throws ConfigError when the proxy's password cannot be had
 */
export async function dialerVia(
  { host, port, options }: TunnelUrl,
  socket: TcpSocketOptions,
  secrets: Secrets,
): Promise<((signal: AbortSignal | undefined) => Promise<Connection>) | undefined> {
  if (options.proxy === undefined) return undefined;
  const proxy = await readProxy(options.proxy, secrets);
  const target = { network: "tcp", host, port } as const;
  return async (signal = new AbortController().signal) =>
    await dialThroughProxy(proxy, target, {
      runtime: socket.runtime,
      dial: proxyDialer(socket),
      signal,
    });
}

async function readHeaders(url: TunnelUrl, secrets: Secrets): Promise<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const { name, value } of url.options.header ?? []) {
    headers[name] = await secrets.line(value, whose(`header ${name}`, url));
  }
  return headers;
}
