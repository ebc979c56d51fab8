import type { Timer } from "../clock/clock.ts";
import type { Target } from "../address/target.ts";
import { NetworkError, toTunnelError, TunnelError } from "../errors.ts";
import type { Packet, PacketChannel } from "../tunnel/packets.ts";
import type { Metadata, Outbound } from "../tunnel/request.ts";
import type { Runtime } from "../tunnel/runtime.ts";

/** What a leg needs and whom it tells. */
export interface PacketLegOptions {
  readonly runtime: Runtime;
  readonly metadata: Metadata;
  /** The only target, where there is one. */
  readonly target?: Target | undefined;
  /** How long opening may take, whatever the outbound does. */
  readonly openTimeoutMs: number;
  onPacket(packet: Packet): void;
  onOpened?(): void;
  /** Exactly once, last; whether it had been open or not. */
  onClosed(error: TunnelError | undefined): void;
}

/** One way out of an association. It opens by itself; what comes meanwhile waits, within bounds. */
export class PacketLeg {
  readonly #outbound: Outbound;
  readonly #options: PacketLegOptions;
  readonly #abort = new AbortController();
  readonly #timer: Timer;
  #state: "opening" | "open" | "closed" = "opening";
  #waiting: Packet[] = [];
  #waitingBytes = 0;
  #channel: PacketChannel | undefined;

  constructor(outbound: Outbound, options: PacketLegOptions) {
    this.#outbound = outbound;
    this.#options = options;
    const { runtime, metadata, target, openTimeoutMs } = options;
    const { name } = outbound;
    this.#timer = runtime.clock.schedule(openTimeoutMs, () => {
      const text = `datagrams via ${name}: not open within ${openTimeoutMs} ms`;
      this.close(new NetworkError("ERR_DIAL_TIMEOUT", text));
    });
    const { signal } = this.#abort;
    Promise.try(async () => {
      if (outbound.associate === undefined) throw carriesNone([name]);
      return await outbound.associate({ signal, metadata, target });
    }).then(
      (channel) => this.#opened(channel),
      (thrown: unknown) => this.#end(toTunnelError(thrown, "ERR_DIAL_FAILED", `via ${name}`)),
    );
  }

  send(packet: Packet): void {
    if (this.#state === "open") this.#channel?.send(packet);
    if (this.#state !== "opening") return;
    const byteLength = packet.data.byteLength + PACKET_OVERHEAD_BYTES;
    if (this.#waitingBytes + byteLength > MAX_WAITING_BYTES) return; // no room: lost, as on any way
    this.#waiting.push(packet);
    this.#waitingBytes += byteLength;
  }

  /** Ends it, open or not. Idempotent. */
  close(error?: TunnelError): void {
    const channel = this.#channel;
    this.#end(error);
    channel?.close(error);
  }

  #opened(channel: PacketChannel): void {
    if (this.#state === "closed") {
      channel.close(new TunnelError("ERR_ABORTED", `${this.#outbound.name} opened too late`));
      return;
    }
    this.#timer.cancel();
    this.#state = "open";
    this.#channel = channel;
    channel.attach({
      onPacket: (packet) => this.#options.onPacket(packet),
      onClose: (error) => this.#end(error),
    });
    this.#options.onOpened?.();
    for (const packet of this.#waiting.splice(0)) this.send(packet);
  }

  #end(error: TunnelError | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#channel = undefined;
    this.#waiting = [];
    this.#timer.cancel();
    this.#abort.abort(error ?? new TunnelError("ERR_ABORTED", "the association ended"));
    this.#options.onClosed(error);
  }
}

/** Why datagrams cannot go: none of these ways out carries them. */
export function carriesNone(names: readonly string[]): TunnelError {
  const text = `${names.join(" and ")} ${names.length === 1 ? "carries" : "carry"} no datagrams`;
  return new TunnelError("ERR_COMMAND_UNSUPPORTED", text, {
    hint: "use TCP, or a route to a way out that carries UDP",
  });
}

/** A first flight of QUIC, or all the questions of a page; what exceeds it is sent again anyway. */
const MAX_WAITING_BYTES = 64 * 1024;

/** What a waiting datagram costs beside its payload, so that empty ones are bounded too. */
const PACKET_OVERHEAD_BYTES = 256;
