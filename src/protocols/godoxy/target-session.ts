import { formatTarget, type Target } from "../../address/target.ts";
import { timeoutAfter, type Clock } from "../../clock/clock.ts";
import { IdleTimer } from "../../clock/idle-timer.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { DatagramConnection } from "../../tunnel/datagram-connection.ts";
import { encodeHeader } from "./header.ts";
import type { GodoxyClientLimits } from "./limits.ts";
import type { OpenDtls } from "./probe.ts";

/** What one session needs, and whom it tells. */
export interface TargetSessionOptions {
  readonly target: Target;
  readonly clock: Clock;
  readonly limits: GodoxyClientLimits;
  readonly openDtls: OpenDtls;
  onDatagram(data: Uint8Array): void;
  /** A datagram is longer than the session carries; for the first one only. */
  onTooLong(byteLength: number, limit: number): void;
  /** Exactly once, last. */
  onClosed(end: SessionEnd): void;
}

/** How a session ended. */
export interface SessionEnd {
  readonly error: TunnelError | undefined;
  /** It fell silent, or its owner ended it. */
  readonly isWanted: boolean;
  /** Datagrams that never left. */
  readonly dropped: number;
}

/** One DTLS session to one target; datagrams wait, bounded, while it is being opened. */
export class TargetSession {
  /** When a datagram came or went last. */
  usedAt: number;
  readonly #options: TargetSessionOptions;
  readonly #abort = new AbortController();
  readonly #idle: IdleTimer;
  #connection: DatagramConnection | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #dropped = 0;
  #hasHeard = false;
  /** When the first datagram left that nothing came after. */
  #unansweredSince: number | undefined;
  #saidTooLong = false;
  #isClosed = false;

  constructor(options: TargetSessionOptions) {
    this.#options = options;
    const { clock, limits } = options;
    this.usedAt = clock.now();
    this.#idle = new IdleTimer(clock, limits.sessionIdleMs, () => this.close());
  }

  /**
   * Whether datagrams have gone unanswered for so long that the agent may have forgotten the session:
   * one that was started again, or sees us at another address, drops them in silence.
   */
  get isUnanswered(): boolean {
    const { clock, limits } = this.#options;
    if (this.#unansweredSince === undefined || limits.sessionAnswerMs === 0) return false;
    return clock.now() - this.#unansweredSince >= limits.sessionAnswerMs;
  }

  /** Dials, with the header as greeting. @throws TunnelError when no header can name the target */
  start(): void {
    const { host, port } = this.#options.target;
    void this.#open(encodeHeader({ host, port: String(port) }));
  }

  send(data: Uint8Array): void {
    if (this.#isClosed) return;
    this.#touch();
    if (this.#connection !== undefined) this.#sendOn(this.#connection, data);
    else this.#keep(data);
  }

  /** Ends it, in order. Idempotent. */
  close(): void {
    this.#end(undefined, true);
  }

  async #open(greeting: Uint8Array): Promise<void> {
    const { clock, limits, openDtls, target } = this.#options;
    const { dialTimeoutMs } = limits;
    using deadline = timeoutAfter(clock, dialTimeoutMs, () => {
      const text = `no dtls session for ${formatTarget(target)} within ${dialTimeoutMs} ms`;
      return new NetworkError("ERR_DIAL_TIMEOUT", text);
    });
    const signal = AbortSignal.any([deadline.signal, this.#abort.signal]);
    try {
      const connection = await openDtls(greeting, signal);
      if (this.#isClosed) connection.close();
      else this.#opened(connection);
    } catch (thrown) {
      this.#end(toTunnelError(thrown, "ERR_TUNNEL_DOWN", "dtls"), false);
    }
  }

  #opened(connection: DatagramConnection): void {
    this.#connection = connection;
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const data of queue) this.#sendOn(connection, data);
    connection.attach({
      onDatagram: (data) => {
        this.#hasHeard = true;
        this.#unansweredSince = undefined;
        this.#touch();
        this.#options.onDatagram(data);
      },
      onClose: (error) => this.#end(error ?? this.#endedByAgent(), false),
    });
  }

  #sendOn(connection: DatagramConnection, data: Uint8Array): void {
    const { byteLength } = data;
    if (byteLength <= connection.maxDatagramBytes) {
      this.#unansweredSince ??= this.#options.clock.now();
      connection.send(data);
      return;
    }
    this.#dropped++;
    if (!this.#saidTooLong) this.#options.onTooLong(byteLength, connection.maxDatagramBytes);
    this.#saidTooLong = true;
  }

  #keep(data: Uint8Array): void {
    const { maxQueuedDatagrams, maxQueuedBytes } = this.#options.limits;
    const bytes = this.#queuedBytes + data.byteLength;
    if (this.#queue.length >= maxQueuedDatagrams || bytes > maxQueuedBytes) {
      this.#dropped++;
      return;
    }
    this.#queue.push(data);
    this.#queuedBytes = bytes;
  }

  #touch(): void {
    this.usedAt = this.#options.clock.now();
    this.#idle.touch();
  }

  /** An orderly end is the only thing an agent can say. */
  #endedByAgent(): TunnelError {
    const to = formatTarget(this.#options.target);
    const text = this.#hasHeard
      ? `the agent ended the session of ${to}`
      : `the agent ended the session of ${to}, which never answered`;
    const hint = "the agent's log says whether it refused the target or could not reach it";
    return new TunnelError("ERR_STREAM_RESET", text, { hint });
  }

  #end(error: TunnelError | undefined, isWanted: boolean): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#idle.cancel();
    this.#abort.abort(error ?? new TunnelError("ERR_CLOSED", "session closed"));
    this.#connection?.close();
    const dropped = this.#dropped + this.#queue.length + (this.#connection?.dropped ?? 0);
    this.#queue = [];
    this.#options.onClosed({ error, isWanted, dropped });
  }
}
