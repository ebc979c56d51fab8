/**
 * Spreads segments over time, so that a full window does not overrun the socket of the peer: a
 * bucket of `burstSegments` that fills with `segmentsPerMs`.
 */
export class Pacer {
  readonly #burst: number;
  readonly #perMs: number;
  #tokens: number;
  #at: number;

  constructor(
    options: { readonly burstSegments: number; readonly segmentsPerMs: number },
    now: number,
  ) {
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

  /** When there is something to take again. */
  get readyAt(): number {
    return this.#tokens >= 1 ? this.#at : this.#at + Math.max(1, (1 - this.#tokens) / this.#perMs);
  }
}
