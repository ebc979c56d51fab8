import { formatHostPort } from "../../src/address/target.ts";
import type { TunnelError } from "../../src/errors.ts";
import type { Packet, PacketChannel, PacketHandler } from "../../src/tunnel/packets.ts";

/** Owns a packet channel and writes down what it hears. */
export class PacketRecorder implements PacketHandler {
  readonly channel: PacketChannel;
  /** `text < host:port`, then `close` or `close ERR_…`. */
  readonly events: string[] = [];
  error: TunnelError | undefined;

  /** Becomes the owner. */
  constructor(channel: PacketChannel) {
    this.channel = channel;
    channel.attach(this);
  }

  onPacket({ host, port, data }: Packet): void {
    this.events.push(`${Buffer.from(data).toString("latin1")} < ${formatHostPort(host, port)}`);
  }

  onClose(error: TunnelError | undefined): void {
    this.error = error;
    this.events.push(error === undefined ? "close" : `close ${error.code}`);
  }

  /** Sends text. */
  send(text: string, host: string, port: number): void {
    this.channel.send({ host, port, data: Buffer.from(text, "latin1") });
  }
}
