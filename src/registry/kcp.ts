import type { TunnelOptions } from "../config/option-values.ts";
import { describeTunnelUrl, type TunnelUrl } from "../config/tunnel-url.ts";
import type { TunnelTuning } from "../protocols/vproxy/tunnel/options.ts";
import { kcpDialer } from "../transports/kcp/dial.ts";
import { KCP_PROFILES, type KcpOptions } from "../transports/kcp/kcp-options.ts";
import { listenKcp } from "../transports/kcp/listen.ts";
import { bindUdp } from "../transports/udp/bind.ts";
import type { Dialer, Listener, OnConnection } from "../tunnel/connection.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";

/** What KCP runs in. */
interface KcpContext {
  readonly runtime: Runtime;
  readonly logger: Logger;
}

/** Dials the host and port of a URL over KCP. */
export function createKcpDialer(url: TunnelUrl, { runtime, logger }: KcpContext): Dialer {
  const { host, port } = url;
  const options = parameters(url.options);
  const dialer = kcpDialer({ host, port, runtime, logger, bindUdp, options });
  return { description: describeTunnelUrl(url), dial: (how) => dialer.dial(how) };
}

/**
 * Listens for KCP where a URL says.
 *
 * @param port in place of the URL's
 * @throws ConfigError when the address is not to be had
 */
export async function listenOnKcp(
  url: TunnelUrl,
  { runtime, logger }: KcpContext,
  { port, onConnection }: { readonly port: number; readonly onConnection: OnConnection },
): Promise<Listener> {
  const options = parameters(url.options);
  const at = { host: url.host, port };
  return await listenKcp({ ...at, runtime, logger, bindUdp, options, onConnection });
}

/** What a URL says of the tunnel inside KCP. */
export function tunnelTuning({ gzip, keepalive }: TunnelOptions): TunnelTuning {
  return {
    ...(gzip === undefined ? {} : { compress: gzip }),
    ...(keepalive === undefined ? {} : { keepaliveMs: keepalive }),
  };
}

function parameters({ profile = "vproxy", keepalive }: TunnelOptions): KcpOptions {
  return { ...KCP_PROFILES[profile], silentMs: keepalive ?? DEFAULT_SILENT_MS };
}

/** A peer that owes acknowledgements for so long is given up, half as long again later at most. */
const DEFAULT_SILENT_MS = 10_000;
