import { isIP } from "node:net";

/** What a client asks for: where to connect, and over what. */
export interface Target {
  readonly network: "tcp" | "udp";
  /** A name, an IPv4 literal, or an IPv6 literal without brackets. Never empty. */
  readonly host: string;
  /** 1..65535 (0 is kept when the client asked for it; dialling it fails). */
  readonly port: number;
}

/** `host:port`, IPv6 in brackets. */
export function formatHostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `host:port` of a target, with `/udp` when it is not TCP. */
export function formatTarget(target: Target): string {
  const text = formatHostPort(target.host, target.port);
  return target.network === "udp" ? `${text}/udp` : text;
}

/**
 * Reads `host:port` or `[ipv6]:port`.
 *
 * @returns `undefined` when the text is neither, or the port is not 0..65535
 */
export function parseHostPort(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain, digits] = match;
  const host = bracketed ?? plain;
  if (host === undefined || host === "") return undefined;
  if (bracketed !== undefined && isIP(bracketed) !== 6) return undefined;
  const port = Number(digits);
  return port <= 65_535 ? { host, port } : undefined;
}
