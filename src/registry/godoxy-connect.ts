import { isDeepStrictEqual } from "node:util";
import { formatHostPort } from "../address/target.ts";
import type { ConnectConfig } from "../config/config.ts";
import { describeTunnelUrl } from "../config/tunnel-url.ts";
import { TunnelError } from "../errors.ts";
import { GodoxyClient } from "../protocols/godoxy/client.ts";
import type { OpenDtls, OpenTls } from "../protocols/godoxy/probe.ts";
import { dialDtls } from "../transports/dtls/dial.ts";
import { DEFAULT_KEEPALIVE_MS } from "../transports/tcp/tcp-connection.ts";
import { connectTls, tlsConnection } from "../transports/tls/dial.ts";
import type { TlsResumption } from "../transports/tls/tls-options.ts";
import { bindUdp } from "../transports/udp/bind.ts";
import { toDuplex } from "../tunnel/duplex.ts";
import { dialerVia } from "./dialers.ts";
import { type GodoxyIdentity, type LiveIdentity, openClientIdentity } from "./godoxy-identity.ts";
import { STREAM_ALPN } from "./godoxy-listener.ts";
import type { ConnectedTunnel, SystemContext, TunnelSystem } from "./system.ts";

/** Dials an agent: streams over TLS, datagrams over DTLS. */
export const connectGodoxy: NonNullable<TunnelSystem["connect"]> = async (
  config,
  context,
  hooks,
) => {
  const { url } = config;
  const { name, runtime, logger } = context;
  const { options } = url;
  const identity = await openClientIdentity(url, context);
  const hasTls = url.transport === "tls";
  const client = new GodoxyClient({
    name,
    description: describeTunnelUrl(url),
    runtime,
    logger,
    openTls: hasTls ? await tlsOpener(config, context, identity) : undefined,
    openDtls: hasTls && options.udp === false ? undefined : dtlsOpener(config, context, identity),
    pool: options.pool === undefined ? undefined : { size: options.pool },
    proxyProtocol: options.proxyprotocol,
    onStatus: (status) => hooks.onStatus(status),
  });
  const tunnel: ConnectedTunnel = {
    start: () => client.start(),
    status: () => client.status(),
    open: async (target, how) => await client.open(target, how),
    ...(client.associate === undefined ? {} : { associate: client.associate }),
    probe: async (how) => await client.probe(how),
    close: async (graceMs) => {
      identity.close();
      await client.close(graceMs);
    },
  };
  return tunnel;
};

async function tlsOpener(
  { url }: ConnectConfig,
  { runtime, secrets }: SystemContext,
  identity: LiveIdentity,
): Promise<OpenTls> {
  const { host, port, options } = url;
  const { keepalive: keepaliveMs = DEFAULT_KEEPALIVE_MS } = options;
  const socket = { runtime, keepaliveMs, ackTimeoutMs: keepaliveMs };
  const via = await dialerVia(url, socket, secrets);
  const connect = via && (async (signal: AbortSignal | undefined) => toDuplex(await via(signal)));
  const trust = trustOf(url.options);
  let known: { readonly identity: GodoxyIdentity; readonly resumption: TlsResumption } | undefined;
  return async (signal) => {
    // A session belongs to the certificate it began with.
    const current = identity.current();
    if (!isDeepStrictEqual(known?.identity, current)) {
      known = { identity: current, resumption: {} };
    }
    const secured = await connectTls({
      ...socket,
      to: { host, port },
      connect,
      signal,
      tls: { ...current, ...trust, alpn: [STREAM_ALPN], resumption: known?.resumption },
    });
    if (secured.alpnProtocol === STREAM_ALPN) return tlsConnection(secured, socket);
    secured.destroy();
    throw new TunnelError(
      "ERR_TLS",
      `${formatHostPort(host, port)}: the server knows no GoDoxy streams`,
      {
        hint: "check that this is the port of a GoDoxy agent, v0.24.0 or newer",
      },
    );
  };
}

function dtlsOpener(
  { url }: ConnectConfig,
  { runtime }: SystemContext,
  identity: LiveIdentity,
): OpenDtls {
  const { host, port, options } = url;
  const trust = trustOf(options);
  return async (greeting, signal) =>
    await dialDtls({
      to: { host, port },
      runtime,
      bindUdp,
      signal,
      // With a pin the key itself is the identity, as over TLS.
      dtls: {
        ...identity.current(),
        ...trust,
        greeting,
        ...(trust.pins === undefined ? {} : { ca: undefined }),
      },
    });
}

/** How the agent is judged. */
function trustOf({ sni, pin, insecure }: ConnectConfig["url"]["options"]): {
  readonly serverName: string;
  readonly pins: readonly string[] | undefined;
  readonly insecure: boolean | undefined;
} {
  return { serverName: sni ?? AGENT_NAME, pins: pin, insecure };
}

/** The name in every agent's certificate, whatever its address. */
const AGENT_NAME = "godoxy.agent";
