import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { plainIp } from "../../address/ip.ts";
import { formatHostPort, parseHostPort } from "../../address/target.ts";
import type { Answer } from "./answer.ts";

/** A PAC file that tells browsers to use this proxy. */
export interface PacOptions {
  /** Where it is found: paths with their slash. */
  readonly paths: readonly string[];
  /** Whether the port speaks SOCKS5, too. */
  readonly hasSocks: boolean;
}

/** Where a PAC file is found when nothing else is said. */
export const PAC_PATHS: readonly string[] = ["/proxy.pac", "/pac"];

/**
 * The PAC file, when the request asks for it as from a web server.
 *
 * It names the proxy as the client does: by the host of its `Host` field, else by the address it
 * reached, and by the port it reached.
 *
 * @param local `host:port` of our end of the connection
 * Reference: vproxy `PACHandler.java`, whose text it has; for lack of SOCKS it names the HTTP proxy.
 */
export function pacAnswer(
  { method, url = "", headers }: IncomingMessage,
  { paths, hasSocks }: PacOptions,
  local: string,
): Answer | undefined {
  if (method !== "GET" && method !== "HEAD") return undefined;
  if (!paths.includes(url.replace(/\?.*$/, ""))) return undefined;
  const own = parseHostPort(local);
  if (own === undefined) return undefined;
  const place = formatHostPort(hostOf(headers.host) ?? plainIp(own.host), own.port);
  const proxy = `PROXY ${place}`;
  const first = hasSocks ? `SOCKS5 ${place}` : proxy;
  const others = hasSocks ? `${first};${proxy}` : proxy;
  return {
    status: 200,
    text: `function FindProxyForURL(url, host) {if (url && url.indexOf('http://') === 0) {return '${first};DIRECT';}return '${others}';}`,
    contentType: "application/x-ns-proxy-autoconfig",
  };
}

/** The host of a `Host` field. Anybody can write there, so only what cannot end a string passes. */
function hostOf(field: string | undefined): string | undefined {
  const [, bracketed, plain] = /^(?:\[([^\]]+)\]|([\w.-]+))(?::\d*)?$/.exec(field ?? "") ?? [];
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? bracketed : undefined;
  return plain;
}
