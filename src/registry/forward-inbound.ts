import type { ForwardInboundConfig } from "../config/config.ts";
import { ConfigError } from "../errors.ts";
import { createForwardInbound } from "../inbound/forward/inbound.ts";
import { listenUdpForward } from "../inbound/forward/udp-inbound.ts";
import { listenTcp } from "../transports/tcp/listen.ts";
import { bindUdp } from "../transports/udp/bind.ts";
import type { Listener } from "../tunnel/connection.ts";
import type { InboundOptions } from "../tunnel/inbound.ts";

/**
 * Opens the port of a forward: TCP or a Unix socket, or UDP where its target takes datagrams.
 *
 * @throws ConfigError when it cannot be listened on
 */
export async function listenForward(
  { listen, to: target, via }: ForwardInboundConfig,
  options: InboundOptions,
): Promise<Listener> {
  if (listen === "stdio") throw new ConfigError("standard input and output are no port");
  if (target.network === "tcp") {
    const accept = createForwardInbound({ ...options, target, via });
    return await listenTcp({ runtime: options.runtime, at: listen }, accept);
  }
  const { onPacketRequest } = options;
  if ("path" in listen || onPacketRequest === undefined) {
    throw new ConfigError("datagrams come in through a port, and leave through a relay");
  }
  return await listenUdpForward({ ...options, at: listen, target, via, bindUdp, onPacketRequest });
}
