import type { KeyObject } from "node:crypto";

/** What both ends are told. */
export interface DtlsEndOptions {
  /** Our certificate, leaf first, PEM. ECDSA on P-256. */
  readonly cert?: string | Uint8Array | undefined;
  readonly key?: string | Uint8Array | undefined;
  /** The one CA that signs the other end's certificate, PEM. */
  readonly ca?: string | Uint8Array | undefined;
  /** SHA-256 of public keys (SPKI), base64: only these are accepted, whoever signed them. */
  readonly pins?: readonly string[] | undefined;
  /** Longest datagram of a handshake, bytes. @default 1200 */
  readonly mtuBytes?: number | undefined;
  /** How long a handshake may take, ms. @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Milliseconds since 1970, for the validity of certificates. @default the machine's clock */
  readonly unixMs?: (() => number) | undefined;
  /** Groups that are offered, or taken. @default all, in their order */
  readonly groups?: readonly DtlsGroup[] | undefined;
  /** @default node:crypto's randomBytes */
  readonly random?: ((byteLength: number) => Uint8Array) | undefined;
  /** Makes the key pair of one handshake. @default node:crypto's */
  readonly ephemeral?: ((group: DtlsGroup) => EphemeralKeys) | undefined;
  /** Signs ServerKeyExchange or CertificateVerify: ECDSA with SHA-256, DER. @default node:crypto's */
  readonly sign?: ((content: Uint8Array, key: KeyObject) => Uint8Array) | undefined;
}

/** How the dialling end judges its peer. */
export interface DtlsClientOptions extends DtlsEndOptions {
  /** The name asked for (SNI) and looked for in the certificate. */
  readonly serverName: string;
  /** Accepts any certificate; pins hold all the same. @default false */
  readonly insecure?: boolean | undefined;
  /**
   * The first application record. It leaves with the last flight of the handshake and is repeated,
   * byte for byte, until the peer speaks or four datagrams went out: replay protection drops the copies.
   */
  readonly greeting?: Uint8Array | undefined;
}

/** How the listening end judges its peers. */
export interface DtlsServerOptions extends DtlsEndOptions {
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
  /** With it clients must show a certificate of this CA; without it none is asked for. */
  readonly ca?: string | Uint8Array | undefined;
}

/** Groups for the key exchange, in the order we like them. */
export type DtlsGroup = "x25519" | "P-256" | "P-384";

/** One end's share of a key exchange. */
export interface EphemeralKeys {
  /** As it goes over the wire: 32 bytes, or an uncompressed point. */
  readonly publicKey: Uint8Array;
  /** @throws Error when the other share is no point of the group */
  agree(theirs: Uint8Array): Uint8Array;
}
