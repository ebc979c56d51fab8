import type { TunnelError } from "../../src/errors.ts";
import type { Packet, PacketChannel, PacketHandler } from "../../src/tunnel/packets.ts";

/** Two ends of an association in memory: what one sends the other hears at once. */
export function packetPair(): [PacketChannel, PacketChannel] {
  const [one, other] = [new PacketEnd(), new PacketEnd()];
  one.peer = other;
  other.peer = one;
  return [one, other];
}

class PacketEnd implements PacketChannel {
  readonly info = { transport: "memory", local: "here", peer: "there" };
  peer: PacketEnd = this;
  #handler: PacketHandler | undefined;
  #end: { readonly error: TunnelError | undefined } | undefined;

  attach(handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#end !== undefined) queueMicrotask(() => this.#report());
  }

  send(packet: Packet): void {
    if (this.#end === undefined) this.peer.#handler?.onPacket(packet);
  }

  close(error?: TunnelError): void {
    for (const end of [this, this.peer]) {
      if (end.#end !== undefined) continue;
      end.#end = { error };
      end.#report();
    }
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#end?.error);
  }
}
