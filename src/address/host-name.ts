import { domainToASCII } from "node:url";
import { formatIp, parseIp, unmapIpv4 } from "./ip.ts";

/**
 * The one form in which names are compared and sent: ASCII (punycode), lower case, no final dot.
 *
 * @returns `undefined` for what must never reach a resolver or a proxy: an empty name, one over
 *   253 bytes, or one with spaces or control characters
 */
export function normalizeHostName(name: string): string | undefined {
  // oxlint-disable-next-line no-control-regex -- control bytes in a name are what we look for
  if (/[\u0000-\u0020\u007f]/.test(name)) return undefined;
  // oxlint-disable-next-line no-control-regex -- ASCII is a range of control and other characters
  const ascii = /^[\u0000-\u007f]*$/.test(name) ? name.toLowerCase() : domainToASCII(name);
  const bare = ascii.endsWith(".") ? ascii.slice(0, -1) : ascii;
  return bare === "" || bare.length > MAX_NAME_BYTES ? undefined : bare;
}

/** One form for both kinds of hosts: a name as {@link normalizeHostName}, an address as its usual text. */
export function plainHost(host: string): string | undefined {
  const address = parseIp(host);
  return address === undefined ? normalizeHostName(host) : formatIp(unmapIpv4(address));
}

/** RFC 1035: 255 on the wire, which is 253 characters. */
const MAX_NAME_BYTES = 253;
