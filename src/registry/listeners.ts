import { X509Certificate } from "node:crypto";
import { formatHostPort } from "../address/target.ts";
import type { ServeConfig } from "../config/config.ts";
import { ConfigError } from "../errors.ts";
import { listenTcp } from "../transports/tcp/listen.ts";
import { DEFAULT_KEEPALIVE_MS } from "../transports/tcp/tcp-connection.ts";
import { listenTls, type TlsServerOptions } from "../transports/tls/listen.ts";
import { listenWs, type WsListenOptions } from "../transports/ws/listen.ts";
import type { Listener, OnConnection } from "../tunnel/connection.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import { bundleListeners } from "./bundled-listeners.ts";
import { listenKcpTunnel } from "./kcp-listener.ts";
import { listenForRedirects } from "./redirect-listener.ts";
import { type Secrets, whose } from "./secrets.ts";
import type { FedTunnel, ServedTunnel } from "./system.ts";
import { readServerTls } from "./tls-settings.ts";
import { answerWeb } from "./web-answers.ts";

/** A listener, and what the start-up table says of it. */
export interface TunnelListener {
  readonly listener: Listener;
  /** What comes in goes there. */
  readonly leadsTo: string;
  /** When the certificate it shows ends; absent without TLS. */
  readonly certificateExpires: Date | undefined;
}

/**
 * Listens as the URL of a `serve` entry says.
 *
 * @throws ConfigError when a certificate is missing, a secret cannot be had, or the address
 */
export async function listenForTunnel(
  config: ServeConfig,
  { runtime, logger, secrets }: { runtime: Runtime; logger: Logger; secrets: Secrets },
  served: ServedTunnel,
): Promise<TunnelListener> {
  const { url, cert } = config;
  const { transport, host, port, path, options } = url;
  const { keepalive: keepaliveMs = DEFAULT_KEEPALIVE_MS } = options;
  const at = { runtime, at: { host, port }, keepaliveMs, ackTimeoutMs: keepaliveMs };
  const onHandshakeError = (error: Error, peer: string): void => {
    logger.warn("connection refused", {
      peer,
      phase: "tls or http handshake",
      reason: error.message,
    });
  };
  const tls = async (): Promise<TlsServerOptions> => await readServerTls(config, secrets);
  const web = ({ web: surface }: FedTunnel): Partial<WsListenOptions> => {
    if (surface === undefined) return { path };
    return {
      framing: "messages",
      path: (asked) => surface.isSocket(asked),
      onHttp: answerWeb(surface, { runtime, logger }),
      // Its logins are in the request or behind it: no browser adds them by itself.
      anyOrigin: true,
    };
  };
  const listen = async (): Promise<Listener> => {
    if ("listen" in served) return await served.listen();
    const onConnection: OnConnection = (connection) => served.accept(connection, "");
    const onUpgrade: Parameters<typeof listenWs>[1] = (connection, request) =>
      served.accept(connection, request.path);
    switch (transport) {
      case "tcp":
        return await listenTcp(at, onConnection);
      case "tls":
        return await listenTls({ ...at, tls: await tls(), onHandshakeError }, onConnection);
      case "ws":
        return await listenWs({ ...at, ...web(served), onHandshakeError }, onUpgrade);
      case "wss":
        return await listenWs(
          { ...at, ...web(served), tls: await tls(), onHandshakeError },
          onUpgrade,
        );
      case "kcp":
      case "kcp+tls":
        return await listenKcpTunnel(url, { runtime, logger, onConnection });
      default:
        throw new ConfigError(`transport ${transport} cannot be listened on in this version`);
    }
  };
  const certificate = await secrets.pem(options.cert ?? cert, whose("cert", url), "cert");
  const certificateExpires = certificate === undefined ? undefined : expiry(certificate);
  const listener = await listen();
  const chosen = Number(/\d+$/.exec(listener.address)?.[0]);
  const redirects = await listenForRedirects(config, { runtime, logger, port: chosen }).catch(
    async (thrown: unknown) => {
      await listener.close();
      throw thrown;
    },
  );
  return {
    listener: redirects === undefined ? listener : bundleListeners(listener, redirects),
    leadsTo: waysOf(config),
    certificateExpires,
  };
}

/** Where what peers of a server ask for may lead. */
function waysOf({ url, clients, anonymous, providers = {}, api }: ServeConfig): string {
  const { target } = url.options;
  if (target !== undefined) return `${formatHostPort(target.host, target.port)} via direct`;
  const isExit =
    anonymous ||
    url.credential !== undefined ||
    api !== undefined ||
    Object.keys(clients).length > 0;
  const names = Object.keys(providers);
  return (isExit || names.length === 0 ? ["direct", ...names] : names).join(", ");
}

function expiry(pem: string): Date | undefined {
  try {
    return new Date(new X509Certificate(pem).validTo);
  } catch {
    return undefined; // the listener took it, so it works; only its date stays unknown
  }
}
