import { parseHostPort, type Target } from "../address/target.ts";
import { ConfigError } from "../errors.ts";

/**
 * Reads where a forward leads: `host:port`, or `host:port/udp` for datagrams.
 *
 * @throws ConfigError saying what is wrong
 */
export function parseForwardTarget(text: string): Target {
  const network = text.endsWith("/udp") ? "udp" : "tcp";
  const place = network === "udp" ? text.slice(0, -"/udp".length) : text;
  if (place.includes("/")) {
    throw new ConfigError(`"${text}" is a path: a forward leads to host:port or host:port/udp`);
  }
  const target = parseHostPort(place);
  if (target === undefined || target.port === 0) throw new ConfigError(`"${text}" is no host:port`);
  return { network, ...target };
}
