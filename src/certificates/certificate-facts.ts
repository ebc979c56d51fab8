import { createHash, X509Certificate } from "node:crypto";
import { ConfigError } from "../errors.ts";
import { readDer, Tag } from "./der.ts";

/** What people want to know of a certificate. */
export interface CertificateFacts {
  /** `O=GoDoxy, OU=Server, CN=godoxy.agent`. */
  readonly subject: string;
  readonly issuer: string;
  /** Subject alternative names: `DNS:godoxy.agent`. */
  readonly names: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Of the key, then of the certificate: `digitalSignature`, `serverAuth`. */
  readonly usages: readonly string[];
  readonly isCa: boolean;
  /** `EC prime256v1`, `RSA 2048`. */
  readonly keyType: string;
  /** SHA-256 of the public key (SPKI), base64: what `pin=` wants. */
  readonly pin: string;
}

/**
 * Reads the first certificate of a PEM text.
 *
 * @throws ConfigError when there is none, or it is broken
 */
export function parseCertificate(pem: string): X509Certificate {
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) throw new ConfigError("holds no certificate");
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new ConfigError("holds a certificate that cannot be read", { cause });
  }
}

/** What a certificate says of itself. */
export function factsOf(certificate: X509Certificate): CertificateFacts {
  const { publicKey, subjectAltName } = certificate;
  return {
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    names: subjectAltName === undefined ? [] : subjectAltName.split(", "),
    notBefore: certificate.validFromDate,
    notAfter: certificate.validToDate,
    usages: [...keyUsagesOf(certificate), ...extendedUsagesOf(certificate)],
    isCa: certificate.ca,
    keyType: describeKey(publicKey),
    pin: pinOf(certificate),
  };
}

/** SHA-256 of the public key (SPKI), base64: what `pin=` wants. */
export function pinOf({ publicKey }: Pick<X509Certificate, "publicKey">): string {
  const spki = publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(spki).digest("base64");
}

/** The subject as it stands in the certificate, for those it is the issuer of. */
export function subjectDer(certificate: X509Certificate): Uint8Array {
  // version, serial number, algorithm, issuer, validity, subject
  return tbsOf(certificate)[5]?.whole ?? new Uint8Array();
}

/** The value of an extension, without the octet string around it. */
function extensionOf(certificate: X509Certificate, id: string): Uint8Array | undefined {
  const wrapper = tbsOf(certificate).find(({ tag }) => tag === Tag.extensions);
  const [list] = readDer(wrapper?.content ?? new Uint8Array());
  for (const { content } of readDer(list?.content ?? new Uint8Array())) {
    const parts = readDer(content);
    if (Buffer.from(parts[0]?.content ?? []).toString("hex") === id) return parts.at(-1)?.content;
  }
  return undefined;
}

function tbsOf({ raw }: X509Certificate): ReturnType<typeof readDer> {
  const [certificate] = readDer(raw);
  const [tbs] = readDer(certificate?.content ?? new Uint8Array());
  const fields = readDer(tbs?.content ?? new Uint8Array());
  // Certificates of version 1 leave the version out.
  return fields[0]?.tag === Tag.version ? fields : [EMPTY_ELEMENT, ...fields];
}

function keyUsagesOf(certificate: X509Certificate): string[] {
  const [bits] = readDer(extensionOf(certificate, KEY_USAGE) ?? new Uint8Array());
  const [, first = 0, second = 0] = bits?.content ?? [];
  const word = first * 0x100 + second;
  return KEY_USAGES.filter((_, index) => (word & (0x8000 >> index)) !== 0);
}

function extendedUsagesOf({ keyUsage }: X509Certificate): string[] {
  // Node calls the extended usages keyUsage, and has none when the extension is absent.
  const ids: readonly string[] | undefined = keyUsage;
  return (ids ?? []).map((id) => EXTENDED_USAGES.get(id) ?? id);
}

/** The kind of a key: `EC prime256v1`, `RSA 2048`. */
export function describeKey({
  asymmetricKeyType,
  asymmetricKeyDetails,
}: X509Certificate["publicKey"]): string {
  const size = asymmetricKeyDetails?.namedCurve ?? asymmetricKeyDetails?.modulusLength;
  return [
    asymmetricKeyType?.toUpperCase() ?? "unknown",
    ...(size === undefined ? [] : [size]),
  ].join(" ");
}

function oneLine(name: string | undefined): string {
  return (name ?? "").split("\n").join(", ");
}

const EMPTY_ELEMENT = { tag: 0, content: new Uint8Array(), whole: new Uint8Array() };

/** 2.5.29.15 in DER. */
const KEY_USAGE = "551d0f";

/** By bit, from the first. */
const KEY_USAGES = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
];

const EXTENDED_USAGES: ReadonlyMap<string, string> = new Map([
  ["1.3.6.1.5.5.7.3.1", "serverAuth"],
  ["1.3.6.1.5.5.7.3.2", "clientAuth"],
]);
