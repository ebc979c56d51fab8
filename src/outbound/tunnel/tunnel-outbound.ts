import type { Outbound, StreamOpener } from "../../tunnel/request.ts";

/** A way out through a tunnel: each dial is a stream of it. Names travel unresolved. */
export function createTunnelOutbound(name: string, opener: StreamOpener): Outbound {
  const associate = opener.associate?.bind(opener);
  return {
    name,
    dial: async (target, options) => await opener.open(target, options),
    ...(associate && { associate }),
  };
}
