import { formatIp, parseIp, unmapIpv4 } from "../../address/ip.ts";
import type { Target } from "../../address/target.ts";
import type { Packet } from "../../tunnel/packets.ts";

/**
 * Whether a datagram comes from the one target of a session. An address must be the very one; what
 * a name resolved to is known to whoever sent there, so of a name only the port is compared.
 */
export function comesFrom({ host, port }: Packet, target: Target): boolean {
  if (port !== target.port) return false;
  const wanted = canonical(target.host);
  return wanted === undefined || wanted === canonical(host);
}

function canonical(host: string): string | undefined {
  // A zone means something on one machine alone, and ways out leave it away.
  const bytes = parseIp(host.replace(/%.*$/, ""));
  return bytes === undefined ? undefined : formatIp(unmapIpv4(bytes));
}
