import {
  createHash,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  type X509Certificate,
} from "node:crypto";
import { parseIp } from "../address/ip.ts";
import { ConfigError } from "../errors.ts";
import { parseCertificate, subjectDer } from "./certificate-facts.ts";
import {
  bitString,
  der,
  objectIdentifier,
  sequence,
  Tag,
  text,
  time,
  unsignedInteger,
} from "./der.ts";
import { about, parseKey } from "./material.ts";
import type { PemPair } from "./pem-pair.ts";

/** What a certificate is for: the agent that listens, or the side that dials it. */
export type CertificateRole = "server" | "client";

/** What a certificate is to say. */
export interface CertificateOptions {
  /** Its common name, and the first of its names. @default godoxy.agent */
  readonly name?: string | undefined;
  /** Further names, host names or IP addresses. A CA has none. @default none */
  readonly names?: readonly string[] | undefined;
  /** How long it is valid. @default 3650 for a CA, 825 for others */
  readonly days?: number | undefined;
  /** When it begins to be valid: the time it is made. */
  readonly now: Date;
  /** For its serial number. @default node:crypto's randomBytes */
  readonly random?: ((byteLength: number) => Uint8Array) | undefined;
}

/**
 * Makes a private CA of the profile GoDoxy uses: one per agent, ECDSA on P-256.
 *
 * Spec: godoxy-stream, 2.3. Reference: godoxy `agent/pkg/agent/new_agent.go`, `NewAgent`.
 *
 * @throws ConfigError when the name or the days cannot be in a certificate
 */
export function makeAuthority(options: CertificateOptions): PemPair {
  const { privateKey, spki, key } = newKey();
  const subject = nameOf(options.name ?? AGENT_NAME);
  const identifier = createHash("sha256").update(pointOf(spki)).digest().subarray(0, SKI_BYTES);
  const cert = certify({
    ...options,
    days: options.days ?? CA_DAYS,
    issuer: subject,
    subject,
    spki,
    extensions: [
      extension(OID.keyUsage, bitString(Uint8Array.of(0b0000_0110), 1), "critical"),
      extension(OID.basicConstraints, sequence(TRUE, unsignedInteger(NO_PATH)), "critical"),
      extension(OID.subjectKeyIdentifier, der(Tag.octetString, identifier)),
    ],
    signer: privateKey,
  });
  return { cert, key };
}

/**
 * Makes a key, and a certificate for it that the CA signs; it never outlives the CA.
 *
 * @throws ConfigError when the CA cannot sign, or a name or the days cannot be in a certificate
 */
export function issueCertificate(
  authority: PemPair,
  role: CertificateRole,
  options: CertificateOptions,
): PemPair {
  const { certificate, privateKey: signer } = openAuthority(authority, options.now);
  const { name = AGENT_NAME, names = [], days = LEAF_DAYS } = options;
  const { spki, key } = newKey();
  const cert = certify({
    ...options,
    days,
    notAfterLimit: certificate.validToDate,
    issuer: subjectDer(certificate),
    subject: nameOf(name, role === "server" ? "Server" : "Client"),
    spki,
    extensions: [
      extension(OID.keyUsage, bitString(Uint8Array.of(0b1000_0000), 7), "critical"),
      extension(OID.extendedKeyUsage, sequence(objectIdentifier(ROLE_OIDS[role]))),
      extension(OID.subjectAltName, sequence(...[...new Set([name, ...names])].map(altName))),
    ],
    signer,
  });
  return { cert, key };
}

/**
 * The CA's certificate and key, judged fit to sign.
 *
 * @throws ConfigError saying what is wrong with which of them
 */
function openAuthority(
  { cert, key }: PemPair,
  now: Date,
): { readonly certificate: X509Certificate; readonly privateKey: KeyObject } {
  const certificate = about("CA certificate file", () => parseCertificate(cert));
  const privateKey = about("CA key file", () => parseKey(key));
  if (!certificate.ca) {
    throw new ConfigError("CA certificate may not sign others: it is not that of a CA", {
      hint: "make one with `sluice cert ca`",
    });
  }
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new ConfigError("CA key does not belong to the CA certificate");
  }
  if (privateKey.asymmetricKeyDetails?.namedCurve !== CURVE) {
    throw new ConfigError("CA key is not on the curve P-256, the only one of GoDoxy's profile");
  }
  if (certificate.validToDate <= now) {
    throw new ConfigError(`CA certificate expired at ${certificate.validToDate.toISOString()}`, {
      hint: "make a new one with `sluice cert ca`, and new certificates from it",
    });
  }
  return { certificate, privateKey };
}

/**
 * Makes sure that a certificate can carry a common name.
 *
 * @throws ConfigError saying why not
 */
export function checkCommonName(name: string): void {
  checkName(name);
  if (name.length <= MAX_COMMON_NAME) return;
  throw new ConfigError(`name of ${name.length} characters exceeds ${MAX_COMMON_NAME}: "${name}"`);
}

/**
 * Makes sure that a certificate can carry a name: a host name or an IP address.
 *
 * @throws ConfigError saying why not
 */
export function checkName(name: string): void {
  if (parseIp(name) !== undefined) return;
  if (/^(?:\*\.)?[\w-]{1,63}(?:\.[\w-]{1,63})*$/.test(name) && name.length <= MAX_NAME) return;
  throw new ConfigError(`"${name}" is no host name and no IP address`);
}

interface Contents extends CertificateOptions {
  readonly days: number;
  readonly notAfterLimit?: Date | undefined;
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly spki: Uint8Array;
  readonly extensions: readonly Uint8Array[];
  readonly signer: KeyObject;
}

function certify(contents: Contents): string {
  const { days, now, notAfterLimit, random = randomBytes } = contents;
  if (!Number.isSafeInteger(days) || days < 1 || days > MAX_DAYS) {
    throw new ConfigError(`${days} is no whole number of days from 1 to ${MAX_DAYS}`);
  }
  const asked = new Date(now.getTime() + days * MS_PER_DAY);
  const notAfter = notAfterLimit !== undefined && notAfterLimit < asked ? notAfterLimit : asked;
  const algorithm = sequence(objectIdentifier(OID.ecdsaWithSha256));
  const tbs = sequence(
    der(Tag.version, unsignedInteger(VERSION_3)),
    unsignedInteger(random(SERIAL_BYTES)),
    algorithm,
    contents.issuer,
    sequence(time(now), time(notAfter)),
    contents.subject,
    contents.spki,
    der(Tag.extensions, sequence(...contents.extensions)),
  );
  const signature = sign("sha256", tbs, { key: contents.signer, dsaEncoding: "der" });
  return toPem("CERTIFICATE", sequence(tbs, algorithm, bitString(signature)));
}

interface NewKey {
  readonly privateKey: KeyObject;
  /** SEC 1, PEM. */
  readonly key: string;
  readonly spki: Uint8Array;
}

function newKey(): NewKey {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: CURVE });
  const key = privateKey.export({ type: "sec1", format: "pem" }).toString();
  return { privateKey, key, spki: publicKey.export({ type: "spki", format: "der" }) };
}

/** The point of a P-256 key: what is left of its SPKI behind the algorithm. */
function pointOf(spki: Uint8Array): Uint8Array {
  return spki.subarray(-POINT_BYTES);
}

function nameOf(commonName: string, unit?: string): Uint8Array {
  checkCommonName(commonName);
  const attribute = (id: string, value: string): Uint8Array =>
    der(Tag.set, sequence(objectIdentifier(id), text(value)));
  return sequence(
    attribute(OID.organization, ORGANIZATION),
    ...(unit === undefined ? [] : [attribute(OID.organizationalUnit, unit)]),
    attribute(OID.commonName, commonName),
  );
}

function altName(name: string): Uint8Array {
  checkName(name);
  const address = parseIp(name);
  return address === undefined ? der(ALT_DNS, Buffer.from(name)) : der(ALT_IP, address);
}

function extension(id: string, value: Uint8Array, weight?: "critical"): Uint8Array {
  const isCritical = weight === "critical" ? [TRUE] : [];
  return sequence(objectIdentifier(id), ...isCritical, der(Tag.octetString, value));
}

function toPem(label: string, bytes: Uint8Array): string {
  const lines = Buffer.from(bytes)
    .toString("base64")
    .replaceAll(/.{1,64}/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}-----END ${label}-----\n`;
}

/** The name every certificate of GoDoxy carries, and every client asks for. */
export const AGENT_NAME = "godoxy.agent";

/** Longest validity: what GoDoxy gives its own, a thousand years nearly. */
export const MAX_DAYS = 365_000;

/** How long a CA is valid unless told. */
export const CA_DAYS = 3_650;

/** How long other certificates are; some programs take none that is valid longer. */
export const LEAF_DAYS = 825;

const ORGANIZATION = "GoDoxy";
const CURVE = "prime256v1";
const MS_PER_DAY = 86_400_000;
const SERIAL_BYTES = 16;
const POINT_BYTES = 65;
/** RFC 7093, method 1: the first 160 bits of SHA-256. */
const SKI_BYTES = 20;
/** X.520, ub-common-name. */
const MAX_COMMON_NAME = 64;
const MAX_NAME = 253;
const VERSION_3 = Uint8Array.of(2);
const NO_PATH = Uint8Array.of(0);
const TRUE = der(Tag.boolean, Uint8Array.of(0xff));
const ALT_DNS = 0x82;
const ALT_IP = 0x87;

const ROLE_OIDS: Readonly<Record<CertificateRole, string>> = {
  server: "1.3.6.1.5.5.7.3.1",
  client: "1.3.6.1.5.5.7.3.2",
};

const OID = {
  commonName: "2.5.4.3",
  organization: "2.5.4.10",
  organizationalUnit: "2.5.4.11",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  extendedKeyUsage: "2.5.29.37",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
} as const;
