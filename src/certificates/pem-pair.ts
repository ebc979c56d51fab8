import { ConfigError } from "../errors.ts";

/** A certificate and its key, both PEM. */
export interface PemPair {
  readonly cert: string;
  readonly key: string;
}

/** Which half of a {@link PemPair} is wanted. */
export type PemPart = keyof PemPair;

/**
 * GoDoxy's text form: `base64(cert PEM);base64(key PEM)`, for environment variables.
 *
 * Spec: godoxy-stream, 2.3 "text form". Reference: godoxy `agent/pkg/agent/new_agent.go`, `PEMPair`.
 */
export function formatPemPair({ cert, key }: PemPair): string {
  return `${toBase64(cert)};${toBase64(key)}`;
}

/**
 * Reads GoDoxy's text form.
 *
 * @throws ConfigError saying which half is wrong, never what is in it
 */
export function parsePemPair(text: string): PemPair {
  const halves = text.trim().split(";");
  const [cert = "", key = ""] = halves;
  if (halves.length !== 2) {
    const found = halves.length - 1;
    throw new ConfigError(
      `pair text has ${found} semicolons, want one between certificate and key`,
    );
  }
  return { cert: decodePart(cert, "cert"), key: decodePart(key, "key") };
}

/** Whether text is GoDoxy's form, or one half of it, and not PEM itself. */
export function isPairText(text: string): boolean {
  return text.trimStart().startsWith(ENCODED_PEM_START);
}

/**
 * The certificate or the key that a text holds: PEM stays as it is, a pair gives its half, and a
 * certificate without its key may be encoded like the first half of a pair.
 *
 * @throws ConfigError when it is neither PEM nor a pair, or a pair that is broken
 */
export function pemPart(text: string, part: PemPart): string {
  if (text.startsWith(ZIP_START)) {
    throw new ConfigError("is a zip store, not PEM", {
      hint: "give a store with its own option: store=agent.zip",
    });
  }
  if (!isPairText(text)) return text;
  const isAlone = !text.includes(";");
  if (isAlone && part === "cert") return decodePart(text.trim(), part);
  if (isAlone) throw new ConfigError("pair text has a certificate and no key");
  return parsePemPair(text)[part];
}

function decodePart(encoded: string, part: PemPart): string {
  const { name, block } = PARTS[part];
  if (encoded === "") throw new ConfigError(`${name} of the pair is empty`);
  if (encoded.length > MAX_PART_LENGTH) {
    throw new ConfigError(
      `${name} of the pair has ${encoded.length} characters, at most ${MAX_PART_LENGTH}`,
    );
  }
  const isBase64 = encoded.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(encoded);
  if (!isBase64) throw new ConfigError(`${name} of the pair is no base64`);
  const pem = Buffer.from(encoded, "base64").toString();
  if (!block.test(pem)) throw new ConfigError(`${name} of the pair is no PEM of a ${name}`);
  return pem;
}

function toBase64(text: string): string {
  return Buffer.from(text).toString("base64");
}

/** Base64 of `-----BEGIN `, as far as whole characters go. */
const ENCODED_PEM_START = "LS0tLS1CRUdJTi";

const ZIP_START = "PK\u0003\u0004";

/** A chain of a dozen certificates; GoDoxy's have some 900 characters. */
const MAX_PART_LENGTH = 65_536;

const PARTS = {
  cert: { name: "certificate", block: /^-----BEGIN CERTIFICATE-----$/m },
  key: { name: "key", block: /^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----$/m },
} as const;
