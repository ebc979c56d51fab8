import { createHash, type X509Certificate } from "node:crypto";
import type { SecureContext } from "node:tls";
import { TunnelError } from "../../errors.ts";

/** What either end may be told. */
export interface TlsEndOptions {
  /**
   * Ends our side below TLS alone, without an alert, for peers that take the alert for the end of
   * both sides. Then nobody can tell a cut stream from a whole one but the protocol above.
   *
   * @default false
   */
  readonly endsQuietly?: boolean | undefined;
}

/** How a dialling end judges the server, and what it shows of itself. */
export interface TlsClientOptions extends TlsEndOptions {
  /** The name asked for and verified. @default the host dialled; no SNI for an IP address */
  readonly serverName?: string | undefined;
  /** PEM certificates to trust instead of the system's. */
  readonly ca?: string | Uint8Array | undefined;
  /** PEM certificate and key shown to the server. */
  readonly cert?: string | Uint8Array | undefined;
  readonly key?: string | Uint8Array | undefined;
  /** SHA-256 of public keys (SPKI), base64: only these are accepted, whoever signed them. */
  readonly pins?: readonly string[] | undefined;
  /** Accepts any certificate; pins hold all the same. Loud. */
  readonly insecure?: boolean | undefined;
  readonly alpn?: readonly string[] | undefined;
  /** What dials share, so that the next one costs less. @default none */
  readonly resumption?: TlsResumption | undefined;
}

/** What dials to one server share. Only for those with the same identity and the same trust. */
export interface TlsResumption {
  /** Certificates and key, read once. */
  context?: SecureContext | undefined;
  /** What the server gave us to come back with; secret. */
  ticket?: Buffer | undefined;
  /** The key (SPKI) the server proved when the session began: it shows no certificate again. */
  pin?: string | undefined;
}

/** PEM as Node takes it. */
export function toPem(value: string | Uint8Array): string | Buffer {
  return typeof value === "string" ? value : Buffer.from(value);
}

/** The base64 SHA-256 of a certificate's public key (SPKI), as {@link TlsClientOptions.pins} has it. */
export function spkiPin(certificate: X509Certificate): string {
  const key = certificate.publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(key).digest("base64");
}

/** Turns a failed TLS handshake into our words, with the fix where one is known. */
export function tlsError(cause: unknown, peer: string): TunnelError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const message = cause instanceof Error ? cause.message : String(cause);
  const known = TLS_ERRORS[code];
  const text =
    known?.[0] ??
    (code.startsWith("ERR_SSL_") ? code.slice(8).toLowerCase().replaceAll("_", " ") : message);
  return new TunnelError("ERR_TLS", `${peer}: tls handshake: ${text}`, { cause, hint: known?.[1] });
}

/** A client's certificate that did not pass. */
export function clientRefused(cause: Error, verdict: string, peer: string): TunnelError {
  const why = verdict.toLowerCase().replaceAll("_", " ");
  const text = `${peer}: tls handshake: the client's certificate is refused: ${why}`;
  const hint = "give the client a certificate of this CA with cert= and key=";
  return new TunnelError("ERR_TLS", text, { cause, hint });
}

/** Whether a failure is TLS's own, or only that of the connection below. */
export function isTlsFailure(cause: Error): boolean {
  return "code" in cause && String(cause.code).startsWith("ERR_SSL_");
}

const SHOW = "show one that the server's CA signed with cert=file:… and key=file:…";

const TRUST = "give its CA with ca=file:ca.pem, or its key with pin=";

const NO_TLS = ["the peer does not speak TLS", "check the port and the transport"] as const;

const TLS_ERRORS: Readonly<Record<string, readonly [string, string] | undefined>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: ["the certificate is self-signed", TRUST],
  SELF_SIGNED_CERT_IN_CHAIN: ["the certificate's CA is not trusted", TRUST],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ["the certificate's CA is not trusted", TRUST],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ["the certificate's CA is not trusted", TRUST],
  CERT_HAS_EXPIRED: ["the certificate has expired", "renew it on the server; check this clock"],
  CERT_NOT_YET_VALID: ["the certificate is not valid yet", "check the clocks of both machines"],
  ERR_TLS_CERT_ALTNAME_INVALID: [
    "the certificate is for another name",
    "dial the name in the certificate, or set sni= to it",
  ],
  ECONNRESET: ["the peer closed the connection", "check that this port speaks TLS"],
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_HTTP_REQUEST: NO_TLS,
  ERR_SSL_HTTPS_PROXY_REQUEST: NO_TLS,
  ERR_SSL_UNEXPECTED_MESSAGE: NO_TLS,
  ERR_SSL_BAD_RECORD_TYPE: NO_TLS,
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: ["the client's certificate is missing", SHOW],
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: ["the server wants a client certificate", SHOW],
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: ["the peer does not trust our certificate's CA", SHOW],
};
