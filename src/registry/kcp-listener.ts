import { hasHealthPort } from "../config/health-port.ts";
import type { TunnelUrl } from "../config/tunnel-url.ts";
import { TunnelError } from "../errors.ts";
import { listenTcp } from "../transports/tcp/listen.ts";
import type { Listener, OnConnection } from "../tunnel/connection.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import { bundleListeners } from "./bundled-listeners.ts";
import { listenOnKcp } from "./kcp.ts";

/**
 * Listens on KCP, and where agents look whether the server lives, on the TCP port of the same
 * number: what comes there is closed.
 *
 * @throws ConfigError when one of the ports is not to be had
 */
export async function listenKcpTunnel(
  url: TunnelUrl,
  options: {
    readonly runtime: Runtime;
    readonly logger: Logger;
    readonly onConnection: OnConnection;
  },
): Promise<Listener> {
  const { runtime, onConnection } = options;
  const { system, host, port } = url;
  if (!hasHealthPort(system, url.options)) {
    return await listenOnKcp(url, options, { port, onConnection });
  }
  for (let attempt = 1; ; attempt++) {
    const health = await listenTcp({ runtime, at: { host, port } }, (connection) => {
      connection.close();
    });
    try {
      const chosen = Number(/\d+$/.exec(health.address)?.[0]);
      const kcp = await listenOnKcp(url, options, { port: chosen, onConnection });
      return bundleListeners(kcp, health);
    } catch (thrown) {
      await health.close();
      // The number the system chose for TCP may be taken on UDP.
      const isTaken = thrown instanceof TunnelError && thrown.code === "ERR_LISTEN";
      if (port !== 0 || !isTaken || attempt >= ATTEMPTS) throw thrown;
    }
  }
}

const ATTEMPTS = 8;
