import type { X509Certificate } from "node:crypto";
import type { TunnelError } from "../../errors.ts";

/** What one input to a session causes. */
export interface DtlsStep {
  /** To be sent, in order. */
  readonly datagrams: readonly Uint8Array[];
  /** Application records that arrived, each a datagram of its own. */
  readonly data: readonly Uint8Array[];
  /** The handshake has just finished. */
  readonly isEstablished: boolean;
  /** How it ended: `undefined` while it goes on; `"closed"` in order; else why not. */
  readonly end: "closed" | TunnelError | undefined;
}

/**
 * One DTLS 1.2 session without I/O: datagrams and the time go in, datagrams come out. After `end`
 * everything is ignored.
 */
export interface DtlsSession {
  /** Whether application records can be sent. */
  readonly isEstablished: boolean;
  /** The other end's certificate, verified; absent before, and where none was asked for. */
  readonly peerCertificate: X509Certificate | undefined;
  /** When `tick` is to be called, ms of the same clock; absent: not at all. */
  readonly deadline: number | undefined;
  receive(datagram: Uint8Array, now: number): DtlsStep;
  /** One application record of at most 16384 bytes. @throws Error before the handshake is done */
  send(data: Uint8Array, now: number): DtlsStep;
  tick(now: number): DtlsStep;
  /** Says close_notify, once. */
  close(now: number): DtlsStep;
  /** Datagrams and records that were thrown away: forged, replayed, malformed. */
  readonly dropped: number;
}
