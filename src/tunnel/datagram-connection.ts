import type { TunnelError } from "../errors.ts";
import type { ConnectionInfo } from "./connection.ts";

/** What a datagram connection tells its owner. */
export interface DatagramHandler {
  /** One datagram, maybe empty. It is given: whoever receives it owns it. */
  onDatagram(data: Uint8Array): void;
  /** Exactly once, last; `error` is `undefined` after `close()` and after the peer's orderly end. */
  onClose(error: TunnelError | undefined): void;
}

/**
 * An established way to one peer that keeps the borders of datagrams. Order and arrival are not
 * promised, and what the way has no room for is dropped.
 */
export interface DatagramConnection {
  readonly info: ConnectionInfo;
  /** The peer, where it proved who it is. */
  readonly identity: PeerIdentity | undefined;
  /** Bytes of the longest datagram `send` takes; longer ones are dropped and counted. */
  readonly maxDatagramBytes: number;
  /** Datagrams that did not leave, or were longer than can be. */
  readonly dropped: number;
  /** Makes `handler` the owner. A few datagrams that came before wait for it. */
  attach(handler: DatagramHandler): void;
  /** The bytes are given. */
  send(data: Uint8Array): void;
  /** Ends it, in order or with the reason why not. Idempotent. */
  close(error?: TunnelError): void;
}

/** Who a certificate says the peer is. */
export interface PeerIdentity {
  /** The subject's names in one line, for logs. */
  readonly name: string;
  /** SHA-256 of the public key (SPKI), base64. */
  readonly pin: string;
}
