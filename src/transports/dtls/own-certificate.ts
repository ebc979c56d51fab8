import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { ConfigError } from "../../errors.ts";

/** What one end shows, and proves to be its own. */
export interface OwnCertificate {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
  readonly key: KeyObject;
}

/**
 * Our certificate and its key, from PEM.
 *
 * @throws ConfigError when they cannot be read, do not belong together, or are not for P-256
 */
export function readOwnCertificate(
  cert: string | Uint8Array,
  key: string | Uint8Array,
): OwnCertificate {
  const [leaf, ...others] = certificatesOf(cert);
  if (leaf === undefined) {
    throw unusable("cert: no certificate in it", { hint: "give PEM, the leaf first" });
  }
  const privateKey = readKey(key);
  if (!leaf.checkPrivateKey(privateKey)) {
    throw unusable("cert and key do not belong together", {
      hint: "give the key that the certificate was made for",
    });
  }
  if (privateKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw unusable("key: not an EC key on P-256", { hint: "DTLS here knows ECDSA on P-256 alone" });
  }
  return { chain: [leaf, ...others].map(({ raw }) => raw), key: privateKey };
}

/**
 * The DER of a certificate's subject, as requests for certificates name an authority.
 *
 * Spec: RFC 5280, 4.1: `[version] serial algorithm issuer validity subject`, all in one sequence.
 */
export function subjectOf(pem: string | Uint8Array): Uint8Array {
  const { raw } = new X509Certificate(pem);
  const toBeSigned = contentOf(contentOf(raw));
  let rest = toBeSigned;
  if (rest[0] === VERSION_TAG) rest = rest.subarray(lengthOf(rest));
  for (let skipped = 0; skipped < FIELDS_BEFORE_SUBJECT; skipped += 1) {
    rest = rest.subarray(lengthOf(rest));
  }
  return rest.subarray(0, lengthOf(rest));
}

function certificatesOf(pem: string | Uint8Array): X509Certificate[] {
  const blocks = Buffer.from(pem).toString().match(PEM_BLOCKS) ?? [];
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw unusable("cert: cannot be read", { hint: "give PEM, the leaf first", cause });
  }
}

function readKey(pem: string | Uint8Array): KeyObject {
  try {
    return createPrivateKey(Buffer.from(pem));
  } catch (cause) {
    const hint = "give an unencrypted PEM key";
    throw unusable("key: cannot be read", { hint, cause });
  }
}

/** Inside of the DER element that `bytes` begins with. OpenSSL has parsed it already. */
function contentOf(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(headerOf(bytes).headerBytes, lengthOf(bytes));
}

/** Bytes of the DER element that `bytes` begins with, header included. */
function lengthOf(bytes: Uint8Array): number {
  const { headerBytes, contentBytes } = headerOf(bytes);
  return headerBytes + contentBytes;
}

function headerOf(bytes: Uint8Array): { headerBytes: number; contentBytes: number } {
  const first = bytes[1] ?? 0;
  if (first < 0x80) return { headerBytes: 2, contentBytes: first };
  const headerBytes = 2 + (first & 0x7f);
  let contentBytes = 0;
  for (const byte of bytes.subarray(2, headerBytes)) contentBytes = contentBytes * 256 + byte;
  return { headerBytes, contentBytes };
}

function unusable(text: string, options: { hint: string; cause?: unknown }): ConfigError {
  return new ConfigError(`dtls: ${text}`, { ...options, code: "ERR_CREDENTIAL" });
}

const PEM_BLOCKS = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const VERSION_TAG = 0xa0;
const FIELDS_BEFORE_SUBJECT = 4;
