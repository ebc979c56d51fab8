import { ConfigError } from "../errors.ts";
import { wrongFixedTarget } from "../config/fixed-targets.ts";
import { KcptunClient } from "../protocols/vproxy/kcptun-client.ts";
import { KcptunServer } from "../protocols/vproxy/kcptun-server.ts";
import { createKcpDialer, tunnelTuning } from "./kcp.ts";
import type { TunnelSystem } from "./system.ts";

/** KcpTun: one port carried to one target over KCP, without a login. */
export const kcptun: TunnelSystem = {
  connect({ url, retry, wait }, { name, runtime, logger }, hooks) {
    const { options } = url;
    return Promise.resolve(
      new KcptunClient({
        name,
        runtime,
        logger,
        dialer: createKcpDialer(url, { runtime, logger }),
        tunnel: tunnelTuning(options),
        slowReaders: { mode: options.slow ?? "reset" },
        waitMs: wait,
        backoff: { minMs: retry.min, maxMs: retry.max },
        onStatus: (status) => hooks.onStatus(status),
      }),
    );
  },

  serve({ url }, { name, runtime, logger }, { onRequest }) {
    const { options } = url;
    const { target } = options;
    if (target === undefined) throw new ConfigError(`${name}: ${wrongFixedTarget(url)}`);
    logger.warn("kcptun knows no logins: whoever reaches the port reaches the target", {
      listener: name,
    });
    return Promise.resolve(
      new KcptunServer({
        name,
        runtime,
        logger,
        target: { network: "tcp", ...target },
        tunnel: tunnelTuning(options),
        slowReaders: { mode: options.slow ?? "reset" },
        onRequest,
      }),
    );
  },
};
