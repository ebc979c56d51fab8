import { isIP } from "node:net";
import { normalizeHostName } from "../../address/host-name.ts";
import { formatHostPort } from "../../address/target.ts";
import { ConfigError } from "../../errors.ts";

/** An upstream proxy. Never log it whole: see {@link formatProxy}. */
export interface Proxy {
  readonly scheme: "socks5" | "socks4a" | "http" | "https";
  /** A name, or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  /** Both or neither; SOCKS4a uses the user only. */
  readonly credential: { readonly user: string; readonly password: string } | undefined;
}

/**
 * Reads `socks5://[user:password@]host[:port]`, `socks4a://`, `http://` or `https://`.
 * `socks5h` is the same as `socks5`: names are always resolved by the proxy.
 *
 * @throws ConfigError that says what is wrong and never quotes the credential
 */
export function parseProxyUrl(text: string): Proxy {
  if (!URL.canParse(text)) throw new ConfigError("proxy: is no URL like socks5://host:1080");
  const url = new URL(text);
  const scheme = SCHEMES[url.protocol];
  if (scheme === undefined) {
    const hint = "use socks5, socks4a, http or https";
    throw new ConfigError(`proxy: ${url.protocol}// is no kind of proxy known here`, { hint });
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (host === "") throw new ConfigError(`proxy: ${url.protocol}// needs a host`);
  if (isIP(host) === 0 && normalizeHostName(host) === undefined) {
    throw new ConfigError(`proxy: "${host}" is no host name`);
  }
  if (!["", "/"].includes(url.pathname) || url.search !== "" || url.hash !== "") {
    throw new ConfigError(
      `proxy: ${url.protocol}//${url.host} has a path or options, and takes none`,
    );
  }
  const credential = credentialOf(url);
  if (credential !== undefined && scheme === "http" && credential.user.includes(":")) {
    throw new ConfigError("proxy: an HTTP proxy's user name cannot hold a colon");
  }
  const port = url.port === "" ? DEFAULT_PORTS[scheme] : Number(url.port);
  if (port === 0) throw new ConfigError("proxy: port 0 is not 1..65535");
  return { scheme, host, port, credential };
}

/** `socks5://host:1080`, without the credential. */
export function formatProxy({ scheme, host, port }: Proxy): string {
  return `${scheme}://${formatHostPort(host, port)}`;
}

function credentialOf({ username, password }: URL): Proxy["credential"] {
  if (username === "" && password === "") return undefined;
  const parts = { user: decoded(username), password: decoded(password) };
  for (const part of [parts.user, parts.password]) {
    // oxlint-disable-next-line no-control-regex -- a control byte would end or split a field
    if (Buffer.byteLength(part) > MAX_FIELD_BYTES || /[\u0000-\u001f\u007f]/.test(part)) {
      const text = `proxy: user and password hold at most ${MAX_FIELD_BYTES} bytes and no control characters`;
      throw new ConfigError(text);
    }
  }
  return parts;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new ConfigError("proxy: user or password has a stray %; write it as %25");
  }
}

const SCHEMES: Readonly<Record<string, Proxy["scheme"] | undefined>> = {
  "socks5:": "socks5",
  "socks5h:": "socks5",
  "socks4a:": "socks4a",
  "http:": "http",
  "https:": "https",
};

const DEFAULT_PORTS = { socks5: 1080, socks4a: 1080, http: 80, https: 443 } as const;

/** RFC 1929: one length byte. */
const MAX_FIELD_BYTES = 255;
