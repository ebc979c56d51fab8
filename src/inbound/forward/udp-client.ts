import type { Clock, Timer } from "../../clock/clock.ts";
import { IdleTimer } from "../../clock/idle-timer.ts";
import { MisuseError, TunnelError } from "../../errors.ts";
import type { ConnectionInfo } from "../../tunnel/connection.ts";
import type { Packet, PacketChannel, PacketHandler } from "../../tunnel/packets.ts";
import type { Metadata, PacketRequest } from "../../tunnel/request.ts";

/** What a client of a forward is made of. */
export interface UdpClientOptions {
  readonly metadata: Metadata;
  readonly info: ConnectionInfo;
  readonly clock: Clock;
  readonly idleTimeoutMs: number;
  /** Takes what comes back for the client. */
  send(packet: Packet): void;
  /** Exactly once: the next datagram from there is another client's. */
  onGone(): void;
}

/** One client address of a static forward: its wish, and its end of the association. */
export class UdpClient implements PacketRequest, PacketChannel {
  readonly metadata: Metadata;
  readonly info: ConnectionInfo;
  readonly #options: UdpClientOptions;
  readonly #abort = new AbortController();
  readonly #idle: IdleTimer;
  #refused: Timer | undefined;
  #state: "waiting" | "open" | "refused" | "gone" = "waiting";
  #handler: PacketHandler | undefined;
  #error: TunnelError | undefined;
  /** What came before there was a handler. */
  #early: Packet[] = [];
  #earlyBytes = 0;

  constructor(options: UdpClientOptions) {
    this.metadata = options.metadata;
    this.info = options.info;
    this.#options = options;
    this.#idle = new IdleTimer(options.clock, options.idleTimeoutMs, () => this.forget());
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  accept(): PacketChannel {
    if (this.#state === "open") throw new MisuseError("a request is answered once");
    if (this.#state === "waiting") this.#state = "open";
    return this;
  }

  /** There is no way to tell the client; what it sends is lost for a moment, then asked for anew. */
  reject(): void {
    if (this.#state === "gone") return;
    if (this.#state !== "waiting") throw new MisuseError("a request is answered once");
    this.#state = "refused";
    this.#early = [];
    this.#idle.cancel();
    this.#refused = this.#options.clock.schedule(REFUSED_MS, () => this.forget());
  }

  attach(handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#state === "gone") queueMicrotask(() => this.#report());
    for (const packet of this.#early.splice(0)) this.#handler?.onPacket(packet);
  }

  send(packet: Packet): void {
    if (this.#state !== "open") return;
    this.#idle.touch();
    this.#options.send(packet);
  }

  close(error?: TunnelError): void {
    this.forget(error);
  }

  /** A datagram of the client. */
  received(packet: Packet): void {
    if (this.#state === "refused" || this.#state === "gone") return;
    this.#idle.touch();
    if (this.#handler !== undefined) {
      this.#handler.onPacket(packet);
      return;
    }
    const byteLength = packet.data.byteLength + PACKET_OVERHEAD_BYTES;
    if (this.#earlyBytes + byteLength > MAX_EARLY_BYTES) return; // no room: lost, as on any way
    this.#early.push(packet);
    this.#earlyBytes += byteLength;
  }

  /** Ends whatever there is. Idempotent. */
  forget(error?: TunnelError): void {
    if (this.#state === "gone") return;
    const wasWaiting = this.#state === "waiting";
    this.#state = "gone";
    this.#error = error;
    this.#early = [];
    this.#idle.cancel();
    this.#refused?.cancel();
    this.#options.onGone();
    this.#report();
    if (!wasWaiting) return;
    const text = `client ${this.metadata.source} was forgotten before its association was open`;
    this.#abort.abort(new TunnelError("ERR_ABORTED", text, { cause: error }));
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#error);
  }
}

/** A refused client asks again with its next datagram, but not with every one. */
const REFUSED_MS = 1_000;

/** More than any first flight, while the way to the target is being opened. */
const MAX_EARLY_BYTES = 64 * 1024;

/** What a waiting datagram costs beside its payload, so that empty ones are bounded too. */
const PACKET_OVERHEAD_BYTES = 256;
