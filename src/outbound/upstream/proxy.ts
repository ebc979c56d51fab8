import { formatHostPort } from "../../address/target.ts";
import { ConfigError } from "../../errors.ts";

/** An upstream proxy. Never log it whole: see {@link formatProxy}. */
export interface Proxy {
  readonly scheme: "socks5" | "socks4a" | "http" | "https";
  /** A name, or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  /** SOCKS4a uses the user only. */
  readonly credential?: { readonly user: string; readonly password: string } | undefined;
}

/** `socks5://host:1080`, without the credential. */
export function formatProxy({ scheme, host, port }: Proxy): string {
  return `${scheme}://${formatHostPort(host, port)}`;
}

/**
 * Finds what no handshake could carry; for when the proxy is configured, not when it is used.
 *
 * @throws ConfigError that never quotes the credential
 */
export function checkProxy(proxy: Proxy): void {
  const { scheme, credential } = proxy;
  const fail = (why: string): ConfigError => new ConfigError(`proxy ${formatProxy(proxy)}: ${why}`);
  if (credential === undefined) return;
  for (const field of [credential.user, credential.password]) {
    const { byteLength } = Buffer.from(field);
    if (byteLength > MAX_FIELD_BYTES) {
      throw fail(`user or password of ${byteLength} bytes exceeds ${MAX_FIELD_BYTES}`);
    }
    // oxlint-disable-next-line no-control-regex -- a control byte would end or split a field
    if (/[\u0000-\u001f\u007f]/.test(field))
      throw fail("user or password holds a control character");
  }
  if (scheme.startsWith("http") && credential.user.includes(":")) {
    throw fail("the user name of an HTTP proxy cannot hold a colon");
  }
  if (scheme === "socks5" && credential.user === "") throw fail("a SOCKS5 login needs a user name");
  if (scheme === "socks4a" && credential.password !== "") throw fail("SOCKS4a knows no password");
}

/** RFC 1929: one length byte. */
const MAX_FIELD_BYTES = 255;
