import type { Clock } from "../clock/clock.ts";

/**
 * When a connection's writes leave. Usually with the event that caused them: waiting would cost
 * latency. While they come thick and fast, those of all events of a turn of the event loop leave
 * together at its end: each write to the kernel costs as much as opening a stream.
 */
export class TurnFlush {
  readonly #clock: Clock;
  readonly #flush: () => void;
  #isDue = false;
  #flushedAt = Number.NEGATIVE_INFINITY;

  /** @param flush writes out what is there; called when there may be something */
  constructor(clock: Clock, flush: () => void) {
    this.#clock = clock;
    this.#flush = flush;
  }

  /** Something was written. */
  soon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    const isBusy = this.#clock.now() - this.#flushedAt < BUSY_MS;
    if (isBusy) setImmediate(this.#run);
    else queueMicrotask(this.#run);
  }

  readonly #run = (): void => {
    this.#isDue = false;
    this.#flushedAt = this.#clock.now();
    this.#flush();
  };
}

/** Shorter than any round trip between two programs, longer than most events take. */
const BUSY_MS = 0.05;
