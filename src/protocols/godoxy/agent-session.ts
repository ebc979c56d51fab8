import { formatTarget, type Target } from "../../address/target.ts";
import type { Timer } from "../../clock/clock.ts";
import { IdleTimer } from "../../clock/idle-timer.ts";
import {
  NetworkError,
  PolicyError,
  ProtocolError,
  toTunnelError,
  TunnelError,
} from "../../errors.ts";
import type { ConnectionInfo } from "../../tunnel/connection.ts";
import type { DatagramConnection } from "../../tunnel/datagram-connection.ts";
import type { LogFields } from "../../tunnel/logger.ts";
import type { Packet, PacketChannel, PacketHandler } from "../../tunnel/packets.ts";
import type { OnPacketRequest } from "../../tunnel/request.ts";
import type { AgentContext, ClientIdentity } from "./agent-context.ts";
import { decodeHeader, HEADER_BYTES, isProbe } from "./header.ts";
import { targetOf } from "./header-target.ts";
import { ORIGINAL_DATAGRAM_BYTES } from "./limits.ts";
import { comesFrom } from "./packet-source.ts";

/** What one session needs. */
export interface AgentSessionOptions extends AgentContext {
  readonly client: ClientIdentity;
  /** Without it every session is refused once its header is there. */
  readonly onPacketRequest: OnPacketRequest | undefined;
  /** Exactly once, when it is over. */
  onClosed(): void;
}

/**
 * One UDP session: a header, then datagrams to and from the one target it names. The wire knows no
 * answer, so every way it can end looks the same to the client: an orderly close.
 */
export class AgentSession implements PacketChannel {
  readonly info: ConnectionInfo;
  readonly #connection: DatagramConnection;
  readonly #options: AgentSessionOptions;
  readonly #abort = new AbortController();
  readonly #startedAt: number;
  #state: "header" | "asked" | "open" | "closed" = "header";
  /** Pieces of the header, then what came while nobody owned the channel. */
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #target: Target = { network: "udp", host: "localhost", port: 0 };
  #handler: PacketHandler | undefined;
  #deadline: Timer | undefined;
  #idle: IdleTimer | undefined;
  #error: TunnelError | undefined;
  #isDraining = false;
  /** Datagrams of the target longer than what the client's end can be sent, or may receive. */
  #tooLong = 0;
  #risky = 0;
  #overflowed = 0;

  constructor(connection: DatagramConnection, options: AgentSessionOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#startedAt = options.runtime.clock.now();
    this.info = { ...connection.info, transport: "godoxy" };
  }

  /** Waits for the header. */
  start(): void {
    const { runtime, limits } = this.#options;
    this.#deadline = runtime.clock.schedule(limits.headerTimeoutMs, () => {
      const text = `header not complete within ${limits.headerTimeoutMs} ms`;
      this.#refuse(new NetworkError("ERR_HANDSHAKE_TIMEOUT", text));
    });
    this.#connection.attach({
      onDatagram: (data) => this.#receive(data),
      onClose: (error) => this.#gone(error),
    });
  }

  /** Takes a moment of silence for the end; a session without a target has none to wait for. */
  drain(): void {
    this.#isDraining = true;
    if (this.#state === "open") this.#idle?.changeTo(DRAIN_SILENCE_MS);
    else this.close(new TunnelError("ERR_SHUTDOWN", "shutting down"));
  }

  // ---- the channel of its one target ----

  attach(handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#state === "closed") {
      queueMicrotask(() => this.#report());
      return;
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const data of waiting) this.#toTarget(data);
  }

  send(packet: Packet): void {
    if (this.#state !== "open" || !comesFrom(packet, this.#target)) return;
    const { byteLength } = packet.data;
    this.#idle?.touch();
    if (byteLength > this.#connection.maxDatagramBytes) {
      if (this.#tooLong++ === 0) this.#sayLength("datagram dropped, too long for DTLS", byteLength);
      return;
    }
    if (byteLength > ORIGINAL_DATAGRAM_BYTES && this.#risky++ === 0) {
      this.#sayLength("datagram longer than the original's clients receive", byteLength);
    }
    this.#connection.send(packet.data);
  }

  close(error?: TunnelError): void {
    this.#end(error);
    this.#connection.close();
  }

  // ---- what the client says ----

  #receive(data: Uint8Array): void {
    if (this.#state === "closed") return;
    if (this.#state === "header") {
      this.#readHeader(data);
      return;
    }
    this.#idle?.touch();
    if (this.#handler === undefined) this.#keep(data);
    else this.#toTarget(data);
  }

  #toTarget(data: Uint8Array): void {
    const { host, port } = this.#target;
    this.#handler?.onPacket({ host, port, data });
  }

  #keep(data: Uint8Array): void {
    const isFull =
      this.#waiting.length >= MAX_WAITING ||
      this.#waitingBytes + data.byteLength > MAX_WAITING_BYTES;
    if (isFull) {
      this.#overflowed++;
      return;
    }
    this.#waiting.push(data);
    this.#waitingBytes += data.byteLength;
  }

  // QUIRK(godoxy): the header may come in pieces, but no record may hold more than its rest.
  #readHeader(data: Uint8Array): void {
    this.#waiting.push(data);
    this.#waitingBytes += data.byteLength;
    if (this.#waitingBytes < HEADER_BYTES && this.#waiting.length <= HEADER_BYTES) return;
    try {
      if (this.#waitingBytes !== HEADER_BYTES) {
        throw new ProtocolError(`header records of ${this.#waitingBytes} bytes are not 275`, {
          hint: "the header was lost or overtaken on its way, or shares a record with payload",
        });
      }
      const header = decodeHeader(Buffer.concat(this.#waiting));
      this.#waiting = [];
      this.#waitingBytes = 0;
      if (isProbe(header)) {
        this.#options.logger.debug("health probe", this.#who());
        this.close();
        return;
      }
      this.#target = targetOf(header, "udp");
    } catch (thrown) {
      this.#refuse(toTunnelError(thrown, "ERR_PROTOCOL", "godoxy header"));
      return;
    }
    this.#deadline?.cancel();
    this.#ask();
  }

  #ask(): void {
    const { name, runtime, limits, client, onPacketRequest } = this.#options;
    const target = this.#target;
    this.#state = "asked";
    if (onPacketRequest === undefined) {
      this.#refuse(new PolicyError("ERR_COMMAND_UNSUPPORTED", "this agent carries no datagrams"));
      return;
    }
    this.#deadline = runtime.clock.schedule(limits.dialTimeoutMs, () => {
      const text = `${formatTarget(target)} not reached within ${limits.dialTimeoutMs} ms`;
      this.#refuse(new NetworkError("ERR_DIAL_TIMEOUT", text));
    });
    onPacketRequest({
      target,
      metadata: { inbound: name, source: this.#connection.info.peer, user: client.name },
      signal: this.#abort.signal,
      accept: () => this.#accepted(),
      reject: (error) => this.#refuse(error),
    });
  }

  #accepted(): PacketChannel {
    if (this.#state !== "asked") return this;
    const { runtime, limits } = this.#options;
    this.#state = "open";
    this.#deadline?.cancel();
    const idleMs = this.#isDraining ? DRAIN_SILENCE_MS : limits.sessionIdleMs;
    this.#idle = new IdleTimer(runtime.clock, idleMs, () => {
      const text = `no datagram came or went for ${idleMs} ms`;
      this.close(this.#isDraining ? undefined : new PolicyError("ERR_IDLE_TIMEOUT", text));
    });
    return this;
  }

  // ---- ends ----

  #refuse(error: TunnelError): void {
    if (this.#state === "closed") return;
    const fields = {
      ...this.#who(),
      to: this.#target.port === 0 ? undefined : formatTarget(this.#target),
      reason: error.message,
      code: error.code,
      hint: error.hint,
    };
    const { logger } = this.#options;
    // Whoever judged the target has said so already.
    if (this.#state === "asked") logger.debug("udp session refused", fields);
    else logger.warn("godoxy header refused", { phase: "header", ...fields });
    this.close(error);
  }

  #gone(error: TunnelError | undefined): void {
    if (this.#state === "header") {
      this.#options.logger.debug("godoxy client left", { ...this.#who(), reason: error?.message });
    }
    this.#end(error);
  }

  #end(error: TunnelError | undefined): void {
    if (this.#state === "closed") return;
    const wasAsked = this.#state === "asked";
    this.#state = "closed";
    this.#error = error;
    this.#waiting = [];
    this.#deadline?.cancel();
    this.#idle?.cancel();
    this.#logLosses();
    this.#options.onClosed();
    if (wasAsked) this.#abort.abort(error ?? new TunnelError("ERR_ABORTED", "client closed"));
    this.#report();
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#error);
  }

  // ---- logs ----

  #who(): LogFields {
    const { name: inbound, client } = this.#options;
    return { inbound, peer: this.#connection.info.peer, user: client.name };
  }

  #sayLength(message: string, bytes: number): void {
    const from = formatTarget(this.#target);
    this.#options.logger.info(message, { ...this.#who(), from, bytes });
  }

  #logLosses(): void {
    const [tooLong, risky, overflowed] = [this.#tooLong, this.#risky, this.#overflowed];
    const { dropped } = this.#connection;
    if (tooLong + risky + overflowed + dropped === 0) return;
    const { logger, runtime } = this.#options;
    const durationMs = Math.round(runtime.clock.now() - this.#startedAt);
    const to = formatTarget(this.#target);
    const counts = { tooLong, risky, overflowed, dropped };
    logger.info("udp session lost datagrams", { ...this.#who(), to, ...counts, durationMs });
  }
}

/** What may come between the header and the answer of whoever opens the target. */
const MAX_WAITING = 32;
const MAX_WAITING_BYTES = 64 * 1024;

/** Silence that counts as the end while shutting down. */
const DRAIN_SILENCE_MS = 1_000;
