import type { Outbound } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { type DialProxy, dialThroughProxy } from "./dial-through-proxy.ts";
import { checkProxy, type Proxy } from "./proxy.ts";

/** Options of a way out through a proxy. */
export interface UpstreamOutboundOptions {
  readonly name: string;
  readonly runtime: Runtime;
  readonly proxy: Proxy;
  readonly dial: DialProxy;
  /** @default 15000 */
  readonly timeoutMs?: number | undefined;
}

/**
 * A way out through an upstream SOCKS5, SOCKS4a or HTTP proxy.
 *
 * @throws ConfigError when the credential cannot be carried
 */
export function createUpstreamOutbound(options: UpstreamOutboundOptions): Outbound {
  const { name, runtime, proxy, dial, timeoutMs } = options;
  checkProxy(proxy);
  return {
    name,
    dial: async (target, { signal }) =>
      await dialThroughProxy(proxy, target, { runtime, dial, signal, timeoutMs }),
  };
}
