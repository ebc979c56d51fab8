import type { TunnelError } from "../errors.ts";
import type { ConnectionInfo } from "./connection.ts";
import type { Packet, PacketChannel, PacketHandler } from "./packets.ts";

/** What an association asks of the link it lives on. */
export interface PacketLink {
  send(streamId: number, packet: Packet): void;
  close(streamId: number): void;
  reset(streamId: number, cause: TunnelError): void;
}

/** One association of a multiplexed link as a {@link PacketChannel}. Made and fed by its `MuxDriver` only. */
export class MuxPackets implements PacketChannel {
  readonly id: number;
  readonly info: ConnectionInfo;
  readonly #link: PacketLink;
  #handler: PacketHandler | undefined;
  #isClosed = false;
  #error: TunnelError | undefined;

  constructor(id: number, info: ConnectionInfo, link: PacketLink) {
    this.id = id;
    this.info = info;
    this.#link = link;
  }

  attach(handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#isClosed) queueMicrotask(() => this.#report());
  }

  send(packet: Packet): void {
    if (!this.#isClosed) this.#link.send(this.id, packet);
  }

  close(error?: TunnelError): void {
    if (this.#isClosed) return;
    if (error === undefined) this.#link.close(this.id);
    else this.#link.reset(this.id, error);
    this.closed(error);
  }

  /** A datagram of the peer. */
  received(packet: Packet): void {
    this.#handler?.onPacket(packet);
  }

  /** The association is gone. */
  closed(error: TunnelError | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#error = error;
    this.#report();
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#error);
  }
}
