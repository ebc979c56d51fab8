import type { Clock, Timer } from "../clock/clock.ts";
import { PolicyError, type TunnelError } from "../errors.ts";
import type { Connection, ConnectionHandler } from "../tunnel/connection.ts";

/** What a finished splice can tell. */
export interface SpliceResult {
  /** Bytes from the client to the target. */
  readonly bytesUp: number;
  /** Bytes from the target to the client. */
  readonly bytesDown: number;
  /** Why it ended, if not in order. */
  readonly error: TunnelError | undefined;
  /** Which leg said so; `undefined` in order, and when we ended it ourselves. */
  readonly side: "client" | "target" | undefined;
}

/** How a splice ends when nobody else ends it, and who hears of it. */
export interface SpliceOptions {
  readonly clock: Clock;
  /** Ends a stream on which no byte moved for this long; 0: never. @default 0 */
  readonly idleTimeoutMs?: number | undefined;
  /**
   * The same once one side has finished: a peer that never finishes would keep the stream for
   * ever; 0: never. @default 120000
   */
  readonly halfClosedTimeoutMs?: number | undefined;
  /** Called once, when both legs are gone. */
  onClose(result: SpliceResult): void;
}

/** A running splice. */
export interface Splice {
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Ends both legs hard, and reports at once. */
  abort(error: TunnelError): void;
}

/**
 * Joins two connections: bytes, half-close each way, and hard ends, which stay hard.
 *
 * The slower leg paces the faster one. Bytes are counted as they are read. Timeouts are looked at
 * in quarters, so a stream ends up to a quarter late.
 */
export function splice(client: Connection, target: Connection, options: SpliceOptions): Splice {
  return new RunningSplice(client, target, options);
}

class RunningSplice implements Splice {
  readonly #options: SpliceOptions;
  readonly #up: Leg;
  readonly #down: Leg;
  #error: TunnelError | undefined;
  #side: SpliceResult["side"];
  #isReported = false;
  #timer: Timer | undefined;
  /** Quarters of the timeout since something last moved, and what had moved by then. */
  #quietQuarters = 0;
  #seenBytes = 0;
  /** The timeout the running timer is for. */
  #watchedMs = 0;
  #seenPending = 0;

  constructor(client: Connection, target: Connection, options: SpliceOptions) {
    this.#options = options;
    this.#up = new Leg(client, target, {
      onEnded: () => this.#restartWatch(),
      onClosed: (error) => this.#legClosed("client", error),
    });
    this.#down = new Leg(target, client, {
      onEnded: () => this.#restartWatch(),
      onClosed: (error) => this.#legClosed("target", error),
    });
    this.#up.counterpart = this.#down;
    this.#down.counterpart = this.#up;
    this.#watch();
    client.attach(this.#up);
    target.attach(this.#down);
    client.resume();
    target.resume();
  }

  get bytesUp(): number {
    return this.#up.bytes;
  }

  get bytesDown(): number {
    return this.#down.bytes;
  }

  abort(error: TunnelError): void {
    if (this.#isReported) return;
    this.#error ??= error;
    this.#report();
    this.#up.from.reset(error);
    this.#down.from.reset(error);
  }

  #legClosed(side: "client" | "target", error: TunnelError | undefined): void {
    if (error !== undefined && this.#error === undefined) {
      this.#error = error;
      this.#side = side;
    }
    if (this.#up.isClosed && this.#down.isClosed) this.#report();
    else this.#restartWatch();
  }

  #report(): void {
    if (this.#isReported) return;
    this.#isReported = true;
    this.#timer?.cancel();
    this.#options.onClose({
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
      error: this.#error,
      side: this.#side,
    });
  }

  get #isHalfClosed(): boolean {
    return this.#up.isEnded || this.#down.isEnded || this.#up.isClosed || this.#down.isClosed;
  }

  /** Milliseconds of silence to allow now; 0: for ever. */
  get #timeoutMs(): number {
    const { idleTimeoutMs = 0, halfClosedTimeoutMs = DEFAULT_HALF_CLOSED_TIMEOUT_MS } =
      this.#options;
    if (!this.#isHalfClosed || halfClosedTimeoutMs === 0) return idleTimeoutMs;
    return idleTimeoutMs === 0 ? halfClosedTimeoutMs : Math.min(idleTimeoutMs, halfClosedTimeoutMs);
  }

  /** Something happened: silence begins anew. A timer that runs already is kept, it costs. */
  #restartWatch(): void {
    const isKept = this.#timer !== undefined && this.#timeoutMs === this.#watchedMs;
    this.#quietQuarters = isKept ? -1 : 0; // its first look comes early
    if (!isKept) this.#watch();
  }

  /** Looks now and then instead of noting the time of every chunk. */
  #watch(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const timeoutMs = this.#timeoutMs;
    this.#watchedMs = timeoutMs;
    if (timeoutMs === 0 || this.#isReported) return;
    this.#timer = this.#options.clock.schedule(timeoutMs / 4, () => {
      const bytes = this.bytesUp + this.bytesDown;
      const pending = this.#up.from.pendingBytes + this.#down.from.pendingBytes;
      const hasMoved = bytes !== this.#seenBytes || pending !== this.#seenPending;
      this.#seenBytes = bytes;
      this.#seenPending = pending;
      this.#quietQuarters = hasMoved ? 0 : this.#quietQuarters + 1;
      if (this.#quietQuarters < 4) this.#watch();
      else this.abort(idleError(timeoutMs, this.#isHalfClosed));
    });
  }
}

/** Hears `from`, speaks to `to`. */
class Leg implements ConnectionHandler {
  bytes = 0;
  isEnded = false;
  isClosed = false;
  /** The leg the other way round. */
  counterpart: Leg | undefined;
  readonly from: Connection;
  readonly #to: Connection;
  readonly #events: LegEvents;

  constructor(from: Connection, to: Connection, events: LegEvents) {
    this.from = from;
    this.#to = to;
    this.#events = events;
  }

  onData(chunk: Uint8Array): void {
    this.bytes += chunk.byteLength;
    if (!this.#to.write([chunk])) this.from.pause();
  }

  onEnd(): void {
    this.isEnded = true;
    this.#to.finish();
    this.#events.onEnded();
  }

  /** `from` has room again, so its counterpart may be read on. */
  onDrain(): void {
    this.#to.resume();
  }

  onClose(error: TunnelError | undefined): void {
    this.isClosed = true;
    // A hard end must look hard on the other side. A graceful one flushes the other leg; when that
    // one has nothing more to say it ends by itself, however slowly its reader takes the rest.
    if (error !== undefined) this.#to.reset(error);
    else if (this.counterpart?.isEnded) this.#to.finish();
    else this.#to.close();
    this.#events.onClosed(error);
  }
}

interface LegEvents {
  onEnded(): void;
  onClosed(error: TunnelError | undefined): void;
}

function idleError(timeoutMs: number, isHalfClosed: boolean): PolicyError {
  const when = isHalfClosed ? " after one side had finished" : "";
  return new PolicyError("ERR_IDLE_TIMEOUT", `no byte moved for ${timeoutMs} ms${when}`);
}

/** Longer than any answer a half-closed request waits for, shorter than leaking matters. */
const DEFAULT_HALF_CLOSED_TIMEOUT_MS = 120_000;
