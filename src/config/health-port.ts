import type { SystemName } from "./systems.ts";
import type { TunnelOptions } from "./option-values.ts";

/**
 * Whether a server on KCP opens the TCP port of the same number too: agents of vproxy ask there
 * whether it is alive, and use no server that does not answer.
 */
export function hasHealthPort(system: SystemName, { health }: TunnelOptions): boolean {
  return system === "vproxy" && health !== false;
}
