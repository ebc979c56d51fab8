/** The fastest a {@link Pacer} goes. */
export interface PacerOptions {
  readonly burstSegments: number;
  readonly segmentsPerMs: number;
}

/**
 * Spreads segments over time, so that a full window overruns neither the socket of the peer nor a
 * queue on the way: a bucket that fills with so many segments per millisecond.
 */
export class Pacer {
  readonly #options: PacerOptions;
  #burst: number;
  #perMs: number;
  #tokens: number;
  #at: number;

  constructor(options: PacerOptions, now: number) {
    this.#options = options;
    this.#burst = options.burstSegments;
    this.#perMs = options.segmentsPerMs;
    this.#tokens = options.burstSegments;
    this.#at = now;
  }

  /** Segments that may leave now. */
  available(now: number): number {
    const elapsed = Math.max(0, now - this.#at);
    this.#tokens = Math.min(this.#burst, this.#tokens + elapsed * this.#perMs);
    this.#at = Math.max(now, this.#at);
    return Math.floor(this.#tokens);
  }

  take(segments: number): void {
    this.#tokens -= segments;
  }

  /** Goes at `segmentsPerMs` from now on, if the options allow that much. */
  pace(segmentsPerMs: number): void {
    const { burstSegments, segmentsPerMs: most } = this.#options;
    this.#perMs = Math.min(most, segmentsPerMs);
    this.#burst = Math.min(burstSegments, Math.max(LEAST_BURST, BURST_MS * segmentsPerMs));
  }

  /** When there is something to take again. */
  get readyAt(): number {
    if (this.#tokens >= 1) return this.#at;
    return this.#at + Math.max(1, (1 - this.#tokens) / this.#perMs);
  }
}

/** A request and most answers to one fit. */
const LEAST_BURST = 8;
/** Timers are late now and then; what could have left meanwhile may leave at once. */
const BURST_MS = 5;
