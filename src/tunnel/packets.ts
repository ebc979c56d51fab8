import type { TunnelError } from "../errors.ts";
import type { ConnectionInfo } from "./connection.ts";
import type { Metadata } from "./request.ts";

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

/** One client's wish for an association. Exactly one of `accept` and `reject` is called, once. */
export interface PacketRequest {
  readonly metadata: Metadata;
  /** Aborts when the client gave up before an answer. */
  readonly signal: AbortSignal;
  /** Says yes and hands over the client's end. */
  accept(): PacketChannel;
  reject(error: TunnelError): void;
}

/** Where inbounds put wishes for associations. It never throws and never rejects. */
export type OnPacketRequest = (request: PacketRequest) => void;

/** Opens associations: a way out that carries datagrams. */
export interface PacketOpener {
  /**
   * @throws TunnelError whose code says what went wrong; `signal.reason` when aborted
   */
  associate(options: {
    readonly signal: AbortSignal;
    readonly metadata: Metadata;
  }): Promise<PacketChannel>;
}
