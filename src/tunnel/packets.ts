import type { TunnelError } from "../errors.ts";
import type { ConnectionInfo } from "./connection.ts";

/** One datagram with the far address: where it goes, or where it came from. */
export interface Packet {
  /** A name, or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  /** The payload alone, maybe empty. It is given: whoever receives it owns it. */
  readonly data: Uint8Array;
}

/** What a packet channel tells its owner. */
export interface PacketHandler {
  onPacket(packet: Packet): void;
  /** Exactly once, last; `error` is `undefined` after `close()` and after a graceful end. */
  onClose(error: TunnelError | undefined): void;
}

/**
 * One UDP association: datagrams to and from many targets. Boundaries are kept; order and arrival
 * are not promised, and what the way has no room for is dropped.
 */
export interface PacketChannel {
  readonly info: ConnectionInfo;
  /** Makes `handler` the owner. Packets that come while there is none are dropped. */
  attach(handler: PacketHandler): void;
  send(packet: Packet): void;
  /** Ends the association, in order or with the reason why not. Idempotent. */
  close(error?: TunnelError): void;
}
