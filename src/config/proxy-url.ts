import { formatHostPort } from "../address/target.ts";
import { ConfigError } from "../errors.ts";
import { type Credential, formatCredential, parseCredential } from "./credential.ts";
import { parsePort } from "./listen-address.ts";
import { didYouMean } from "./nearest.ts";

/** An upstream proxy of somebody else's. */
export interface ProxyUrl {
  readonly scheme: "http" | "https" | "socks5" | "socks4a";
  readonly host: string;
  readonly port: number;
  /** SOCKS4a knows no password. */
  readonly user?: { readonly name: string; readonly password?: Credential } | undefined;
}

/**
 * Reads `http://[user:password@]host[:port]`, the same with `https`, `socks5` or `socks4a`; the
 * password may be a reference (`env:NAME`).
 *
 * @throws ConfigError saying what is wrong
 */
export function parseProxyUrl(text: string): ProxyUrl {
  const [prefix, word = ""] = /^([^:/@]*):\/\//.exec(text) ?? [];
  if (prefix === undefined) {
    throw new ConfigError("a proxy is written http://host:port or socks5://host:port");
  }
  const scheme = SCHEMES.get(word.toLowerCase());
  if (scheme === undefined) {
    const words = [...SCHEMES.keys()];
    throw new ConfigError(
      `proxy kind "${word}" is not one of ${words.join(", ")}${didYouMean(word, words)}`,
    );
  }
  const rest = text.slice(prefix.length).replace(/\/$/, "");
  const at = rest.lastIndexOf("@");
  const user = at < 0 ? undefined : parseUser(rest.slice(0, at));
  const place = parsePlace(rest.slice(at + 1), DEFAULT_PORTS[scheme]);
  return { scheme, ...place, ...(user && { user }) };
}

/** The URL again; a literal password is hidden unless it is to be revealed. */
export function formatProxyUrl(
  { scheme, host, port, user }: ProxyUrl,
  options: { readonly reveal: boolean } = { reveal: false },
): string {
  const place = formatHostPort(host, port);
  if (user === undefined) return `${scheme}://${place}`;
  const name = encodeUserinfo(user.name).replaceAll(/[:/]/g, encodeURIComponent);
  if (user.password === undefined) return `${scheme}://${name}@${place}`;
  const password = encodeUserinfo(formatCredential(user.password, options));
  return `${scheme}://${name}:${password}@${place}`;
}

/**
 * Splits `host[:port]` or `[ipv6][:port]`.
 *
 * @throws ConfigError when the host is empty or odd, or the port is none
 */
export function parsePlace(
  text: string,
  defaultPort: number,
): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text);
  if (match === null) throw new ConfigError(`"${text}" is no host:port`);
  const [, ipv6, plain = "", digits] = match;
  const host = ipv6 ?? plain;
  if (host !== "" && !/^[\p{L}\p{N}._:*-]+$/u.test(host)) {
    throw new ConfigError(`host "${host}" holds a character that no host name has`);
  }
  return { host, port: digits === undefined ? defaultPort : parsePort(digits) };
}

/** Encodes what would end the part before the `@`, and nothing else, so that it stays readable. */
export function encodeUserinfo(text: string): string {
  return text.toWellFormed().replaceAll(/[^\w!$&'()*+,;=:.~/-]/gu, encodeURIComponent);
}

/**
 * Undoes percent-encoding.
 *
 * @throws ConfigError when a `%` is not followed by two hexadecimal digits of UTF-8
 */
export function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new ConfigError("a % that is meant as such is written %25", { cause });
  }
}

function parseUser(text: string): NonNullable<ProxyUrl["user"]> {
  const colon = text.indexOf(":");
  if (colon < 0) return { name: decodePercent(text) };
  const name = decodePercent(text.slice(0, colon));
  return { name, password: parseCredential(decodePercent(text.slice(colon + 1))) };
}

const DEFAULT_PORTS = { http: 80, https: 443, socks5: 1080, socks4a: 1080 } as const;

/** `socks5h` is curl's word for "the proxy resolves names", which it always does here. */
const SCHEMES: ReadonlyMap<string, ProxyUrl["scheme"]> = new Map([
  ["http", "http"],
  ["https", "https"],
  ["socks5", "socks5"],
  ["socks5h", "socks5"],
  ["socks4a", "socks4a"],
]);
