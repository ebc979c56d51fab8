import { createPrivateKey, type KeyObject } from "node:crypto";
import { ConfigError } from "../errors.ts";
import { parseCertificate } from "./certificate-facts.ts";

/** What one end of a tunnel shows and trusts, all PEM. */
export interface CertificateMaterial {
  /** Who may have signed the other side's certificate. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/**
 * Makes sure that certificates and key can be read and belong together.
 *
 * @throws ConfigError saying what is wrong, never what is in the key
 */
export function checkMaterial({ ca, cert, key }: CertificateMaterial): void {
  if (ca !== undefined) {
    for (const one of splitCertificates(ca)) about("ca", () => parseCertificate(one));
  }
  const certificate = cert === undefined ? undefined : about("cert", () => parseCertificate(cert));
  const privateKey = key === undefined ? undefined : about("key", () => parseKey(key));
  if (certificate === undefined || privateKey === undefined) return;
  if (certificate.checkPrivateKey(privateKey)) return;
  throw new ConfigError("key does not belong to the certificate");
}

/** Each certificate of a PEM text by itself; the text as it is when there is none. */
export function splitCertificates(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [pem];
}

/**
 * Reads a private key.
 *
 * @throws ConfigError that says nothing of the key itself
 */
export function parseKey(pem: string): KeyObject {
  if (!KEY_START.test(pem)) throw new ConfigError("holds no private key");
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    if (!pem.includes("ENCRYPTED"))
      throw new ConfigError("holds a key that cannot be read", { cause });
    throw new ConfigError("holds a key that is locked by a passphrase", {
      cause,
      hint: "unlock it: openssl pkey -in LOCKED -out KEY",
    });
  }
}

/** Whether a text holds a private key. */
export function holdsKey(pem: string): boolean {
  return KEY_START.test(pem);
}

/** Runs a parser; what it finds wrong begins with `what`. */
export function about<Value>(what: string, parse: () => Value): Value {
  try {
    return parse();
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
    throw new ConfigError(`${what} ${thrown.message}`, { cause: thrown, hint: thrown.hint });
  }
}

const KEY_START = /-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----/;
