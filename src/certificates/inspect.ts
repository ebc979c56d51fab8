import { createPublicKey, type KeyObject, type X509Certificate } from "node:crypto";
import { ConfigError } from "../errors.ts";
import {
  type CertificateFacts,
  describeKey,
  factsOf,
  parseCertificate,
  pinOf,
} from "./certificate-facts.ts";
import { isZip, readStore } from "./certificate-store.ts";
import { holdsKey, parseKey, splitCertificates } from "./material.ts";
import { isPairText, parsePemPair, pemPart } from "./pem-pair.ts";

/** One thing found in a file. */
export type Inspected = InspectedCertificate | InspectedKey;

/** A certificate that was found. */
export interface InspectedCertificate extends CertificateFacts {
  readonly kind: "certificate";
  /** Where in a pair or a store: `ca.pem`; undefined in PEM. */
  readonly entry: string | undefined;
}

/** A private key that was found; nothing of it is told but its public half's digest. */
export interface InspectedKey {
  readonly kind: "key";
  readonly entry: string | undefined;
  readonly keyType: string;
  readonly pin: string;
  /** Whether a certificate of the same file is its; undefined when there is none. */
  readonly belongsToCertificate: boolean | undefined;
}

/**
 * What is in a PEM file, a pair text or a zip store, in the order it stands there.
 *
 * @throws ConfigError when there is nothing, or something is broken
 */
export function inspect(bytes: Uint8Array): readonly Inspected[] {
  const found = partsOf(bytes).map(({ entry, pem }) => ({
    entry,
    certificates: pem.includes(CERTIFICATE_START)
      ? splitCertificates(pem).map(parseCertificate)
      : [],
    keys: holdsKey(pem) ? [parseKey(pem)] : [],
  }));
  const certificates = found.flatMap((part) => part.certificates);
  const inspected = found.flatMap((part): Inspected[] => [
    ...part.certificates.map((certificate) => ({
      kind: "certificate" as const,
      entry: part.entry,
      ...factsOf(certificate),
    })),
    ...part.keys.map((key) => inspectKey(key, part.entry, certificates)),
  ]);
  if (inspected.length > 0) return inspected;
  throw new ConfigError("holds no certificate and no key", {
    hint: "it may be PEM, GoDoxy's pair text, or a zip of its certs folder",
  });
}

interface Part {
  readonly entry: string | undefined;
  readonly pem: string;
}

function partsOf(bytes: Uint8Array): readonly Part[] {
  if (isZip(bytes)) {
    const { ca, cert, key } = readStore(bytes);
    return [
      { entry: "ca.pem", pem: ca },
      { entry: "cert.pem", pem: cert },
      { entry: "key.pem", pem: key },
    ];
  }
  const text = Buffer.from(bytes).toString();
  if (!isPairText(text)) return [{ entry: undefined, pem: text }];
  if (!text.includes(";")) return [{ entry: undefined, pem: pemPart(text, "cert") }];
  const { cert, key } = parsePemPair(text);
  return [
    { entry: "first half", pem: cert },
    { entry: "second half", pem: key },
  ];
}

function inspectKey(
  key: KeyObject,
  entry: string | undefined,
  certificates: readonly X509Certificate[],
): InspectedKey {
  const publicKey = createPublicKey(key);
  return {
    kind: "key",
    entry,
    keyType: describeKey(publicKey),
    pin: pinOf({ publicKey }),
    belongsToCertificate:
      certificates.length === 0
        ? undefined
        : certificates.some((certificate) => certificate.checkPrivateKey(key)),
  };
}

const CERTIFICATE_START = "-----BEGIN CERTIFICATE-----";
