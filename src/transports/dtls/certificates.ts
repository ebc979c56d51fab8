import { X509Certificate } from "node:crypto";
import { ConfigError, TunnelError } from "../../errors.ts";
import type { PeerIdentity } from "../../tunnel/datagram-connection.ts";
import { spkiPin } from "../tls/tls-options.ts";
import { certificateFields, describeId } from "./certificate-fields.ts";

/** What the other end's certificate must be. */
export interface CertificateRules {
  /** What the other end is. */
  readonly role: "client" | "server";
  /** The one CA that signs it, PEM. */
  readonly ca?: string | Uint8Array | undefined;
  /** SHA-256 of public keys (SPKI), base64. Without a CA the key itself is the identity. */
  readonly pins?: readonly string[] | undefined;
  /** The DNS name it must carry. */
  readonly name?: string | undefined;
  /** Nothing but pins is checked. @default false */
  readonly insecure?: boolean | undefined;
}

/** A certificate that does not pass, and what the other end is told. */
export class CertificateRefused extends TunnelError {
  override readonly name = "CertificateRefused";
  /** The description of the fatal alert. */
  readonly alert: number;

  constructor(message: string, alert: number, options: { hint: string; cause?: unknown }) {
    super("ERR_TLS", message, options);
    this.alert = alert;
  }
}

/**
 * Judges the certificate an other end shows: signed by the one CA's key, valid now, for this role,
 * with this name, and pinned, where such is asked for. Certificates behind the first are not used:
 * the CA signs leaves itself.
 *
 * A certificate without a key usage, or without an extended one, is not restricted (RFC 5280).
 */
export class CertificateVerifier {
  readonly #rules: CertificateRules;
  readonly #ca: X509Certificate | undefined;

  /** @throws ConfigError when there is nothing to judge by, or the CA is no single CA certificate */
  constructor(rules: CertificateRules) {
    const { ca, pins, insecure } = rules;
    if (ca === undefined && pins === undefined && insecure !== true) {
      throw new ConfigError(`dtls: nothing says which ${rules.role} to trust`, {
        hint: "give the CA with ca=file:ca.pem, or the key with pin=",
      });
    }
    this.#rules = rules;
    this.#ca = ca === undefined ? undefined : readCa(ca);
  }

  /**
   * @param chain DER, leaf first
   * @param unixMs milliseconds since 1970
   * @throws CertificateRefused
   */
  verify(chain: readonly Uint8Array[], unixMs: number): X509Certificate {
    const { role, pins, insecure } = this.#rules;
    const leaf = this.#leafOf(chain);
    if (leaf.publicKey.asymmetricKeyType !== "ec") {
      const kind = leaf.publicKey.asymmetricKeyType ?? "unknown";
      throw refused(`has a key of the kind ${kind}`, role, Alert.unsupportedCertificate, {
        hint: "make one with an EC key on P-256",
      });
    }
    if (this.#ca !== undefined && insecure !== true) this.#verifyChain(leaf, this.#ca, unixMs);
    const pin = spkiPin(leaf);
    if (pins !== undefined && !pins.includes(pin)) {
      throw refused("does not have the pinned key", role, Alert.badCertificate, {
        hint: `if the change is expected, set pin=${encodeURIComponent(pin)}`,
      });
    }
    return leaf;
  }

  #leafOf(chain: readonly Uint8Array[]): X509Certificate {
    const { role } = this.#rules;
    const [first] = chain;
    if (first === undefined) {
      throw new CertificateRefused(`the ${role} shows no certificate`, Alert.handshakeFailure, {
        hint: `give the ${role} one that this CA signed with cert= and key=`,
      });
    }
    try {
      const leaf = new X509Certificate(first);
      // Node takes PEM as well, and bytes behind the certificate.
      if (!leaf.raw.equals(first)) throw new Error("not exactly one certificate in DER");
      void leaf.publicKey; // read only now, and it may be no key
      return leaf;
    } catch (cause) {
      const hint = `make a new certificate for the ${role}`;
      throw refused("cannot be read", role, Alert.badCertificate, { hint, cause });
    }
  }

  #verifyChain(leaf: X509Certificate, ca: X509Certificate, unixMs: number): void {
    const { role, name } = this.#rules;
    // The key decides: every agent's CA has the same name.
    if (!isSignedBy(leaf, ca)) {
      const sameName = leaf.issuer === ca.subject ? ", but by one of the same name" : "";
      throw refused(`is not signed by our CA${sameName}`, role, Alert.unknownCa, {
        hint: "give both ends certificates of the same CA, or this end the other one's ca=",
      });
    }
    if (leaf.issuer !== ca.subject) {
      throw refused("names another issuer than our CA", role, Alert.unknownCa, {
        hint: "make it again with this CA",
      });
    }
    this.#verifyTime(leaf, `the ${role}'s certificate`, unixMs);
    this.#verifyTime(ca, "our CA's certificate", unixMs);
    this.#verifyUse(leaf);
    if (name !== undefined && leaf.checkHost(name, { subject: "never" }) === undefined) {
      const names = leaf.subjectAltName ?? "no name at all";
      throw refused(`is for ${names}, not for ${name}`, role, Alert.badCertificate, {
        hint: "set sni= to a name in the certificate",
      });
    }
  }

  #verifyTime(certificate: X509Certificate, what: string, unixMs: number): void {
    if (unixMs < certificate.validFromDate.getTime()) {
      const text = `${what} is not valid before ${certificate.validFrom}`;
      const hint = "check the clocks of both machines";
      throw new CertificateRefused(text, Alert.certificateExpired, { hint });
    }
    if (unixMs > certificate.validToDate.getTime()) {
      const text = `${what} has expired on ${certificate.validTo}`;
      throw new CertificateRefused(text, Alert.certificateExpired, {
        hint: "renew it; check this machine's clock",
      });
    }
  }

  #verifyUse(leaf: X509Certificate): void {
    const { role } = this.#rules;
    const { mayDigitallySign, unknownCritical } = certificateFields(leaf);
    const [unknown] = unknownCritical;
    const hint = `make one for a ${role}`;
    const alert = Alert.unsupportedCertificate;
    if (unknown !== undefined) {
      const text = `has a critical extension nobody here knows, ${describeId(unknown)}`;
      throw refused(text, role, alert, { hint });
    }
    if (mayDigitallySign === false) {
      throw refused("may not sign (no digitalSignature)", role, alert, { hint });
    }
    // Node calls the extended ones so. Its types are wrong about certificates without any.
    const uses: readonly string[] | undefined = leaf.keyUsage;
    const [wanted, id] = USES[role];
    if (uses !== undefined && !uses.includes(id) && !uses.includes(ANY_USE)) {
      throw refused(`is not for ${role}s (no ${wanted})`, role, alert, { hint });
    }
  }
}

/** Who a verified certificate says the other end is. */
export function identityOf(certificate: X509Certificate): PeerIdentity {
  return { name: certificate.subject.replaceAll("\n", ", "), pin: spkiPin(certificate) };
}

/** The certificate of a CA, from PEM with nothing else in it. */
function readCa(pem: string | Uint8Array): X509Certificate {
  const text = Buffer.from(pem).toString();
  const count = text.split("-----BEGIN CERTIFICATE-----").length - 1;
  const hint = "give the certificate of one CA, PEM";
  if (count !== 1) throw new ConfigError(`dtls: ca: ${count} certificates instead of 1`, { hint });
  let ca: X509Certificate;
  try {
    ca = new X509Certificate(text);
  } catch (cause) {
    throw new ConfigError("dtls: ca: not a certificate", { hint, cause });
  }
  if (!ca.ca) throw new ConfigError("dtls: ca: the certificate is no CA's", { hint });
  return ca;
}

function isSignedBy(leaf: X509Certificate, ca: X509Certificate): boolean {
  try {
    return leaf.verify(ca.publicKey);
  } catch {
    return false; // signed with another kind of key
  }
}

function refused(
  what: string,
  role: string,
  alert: number,
  options: { hint: string; cause?: unknown },
): CertificateRefused {
  return new CertificateRefused(`the ${role}'s certificate ${what}`, alert, options);
}

/** What the other end is told. Spec: RFC 5246, 7.2.2. */
const Alert = {
  handshakeFailure: 40,
  badCertificate: 42,
  unsupportedCertificate: 43,
  certificateExpired: 45,
  unknownCa: 48,
} as const;

const USES = {
  server: ["serverAuth", "1.3.6.1.5.5.7.3.1"],
  client: ["clientAuth", "1.3.6.1.5.5.7.3.2"],
} as const;

const ANY_USE = "2.5.29.37.0";
