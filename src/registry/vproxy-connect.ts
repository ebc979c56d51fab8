import type { TunnelUrl } from "../config/tunnel-url.ts";
import { describeTunnelUrl } from "../config/tunnel-url.ts";
import { KcpCarrier } from "../protocols/vproxy/kcp-carrier.ts";
import { VproxyClient } from "../protocols/vproxy/websocks/client.ts";
import { dialTlsInside } from "../transports/tls/dial.ts";
import type { Connection } from "../tunnel/connection.ts";
import { createDialer } from "./dialers.ts";
import { createKcpDialer, tunnelTuning } from "./kcp.ts";
import type { ConnectedTunnel, SystemContext, TunnelSystem } from "./system.ts";
import { readClientTls } from "./tls-settings.ts";
import { readLogin } from "./vproxy-login.ts";

/** Dials as an agent. */
export const connectVproxy: NonNullable<TunnelSystem["connect"]> = async (
  { url, retry, wait },
  context,
  hooks,
) => {
  const { name, runtime, logger, secrets } = context;
  const { host, port, options } = url;
  const { user, password } = await readLogin(url, secrets);
  const carrier = await createCarrier(url, context);
  const client = new VproxyClient({
    name,
    description: describeTunnelUrl(url),
    host,
    port,
    user,
    password,
    openCarrier: (signal) => carrier.open(signal),
    runtime,
    logger,
    unixMs: () => new Date().getTime(),
    isStrict: options.strict,
    pool: {
      waitMs: wait,
      backoff: { minMs: retry.min, maxMs: retry.max },
      ...(options.pool === undefined ? {} : { size: options.pool }),
      ...(options.keepalive ? { keepaliveMs: options.keepalive } : {}),
    },
    onStatus: (status) => hooks.onStatus(status),
    onRefused: (error) => hooks.onRefused(error),
  });
  const tunnel: ConnectedTunnel = {
    start: () => client.start(),
    open: async (target, how) => await client.open(target, how),
    status: () => client.status(),
    close: async (graceMs) => {
      await client.close(graceMs);
      carrier.close();
    },
  };
  return tunnel;
};

/** Where the client's byte channels come from. */
interface Carrier {
  open(signal: AbortSignal): Promise<Connection>;
  close(): void;
}

/** TCP and TLS are dialled for each; KCP carries all in streams, each with a TLS of its own. */
async function createCarrier(
  url: TunnelUrl,
  { name, runtime, logger, secrets }: SystemContext,
): Promise<Carrier> {
  const { transport, host, port, options } = url;
  if (transport === "tcp" || transport === "tls") {
    const dialer = await createDialer(url, runtime, secrets);
    return { open: async (signal) => await dialer.dial({ signal }), close: () => {} };
  }
  const carrier = new KcpCarrier({
    name,
    server: { host, port },
    dialer: createKcpDialer(url, { runtime, logger }),
    runtime,
    logger,
    tunnel: tunnelTuning(options),
    slowReaders: { mode: options.slow ?? "reset" },
  });
  if (transport === "kcp") return carrier;
  const tls = await readClientTls(url, secrets);
  return {
    open: async (signal) =>
      await dialTlsInside(await carrier.open(signal), { runtime, to: { host, port }, tls, signal }),
    close: () => carrier.close(),
  };
}
