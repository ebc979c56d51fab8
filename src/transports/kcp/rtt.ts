/** Bounds of the retransmission timeout. */
export interface RttOptions {
  readonly initialRtoMs: number;
  readonly minRtoMs: number;
  readonly maxRtoMs: number;
  readonly rtoSlackMs: number;
}

/** Smoothed round trip, its variation, and the retransmission timeout that follows from both. */
export class RttEstimator {
  readonly #options: RttOptions;
  #smoothed: number | undefined;
  #variation = 0;
  #rtoMs: number;

  constructor(options: RttOptions) {
    this.#options = options;
    this.#rtoMs = options.initialRtoMs;
  }

  /** The retransmission timeout of a segment sent now. */
  get rtoMs(): number {
    return this.#rtoMs;
  }

  /** The smoothed round trip; `undefined` before the first sample. */
  get roundTripMs(): number | undefined {
    return this.#smoothed;
  }

  /** A segment and its acknowledgement took `roundTripMs`. What nobody can believe is ignored. */
  sample(roundTripMs: number): void {
    const { minRtoMs, maxRtoMs, rtoSlackMs } = this.#options;
    if (roundTripMs < 0 || roundTripMs > maxRtoMs) return;
    if (this.#smoothed === undefined) {
      this.#smoothed = roundTripMs;
      this.#variation = roundTripMs / 2;
    } else {
      const deviation = Math.abs(roundTripMs - this.#smoothed);
      this.#variation += (deviation - this.#variation) / 4;
      this.#smoothed += (roundTripMs - this.#smoothed) / 8;
    }
    const rto = this.#smoothed + Math.max(rtoSlackMs, 4 * this.#variation);
    this.#rtoMs = Math.min(Math.max(rto, minRtoMs), maxRtoMs);
  }
}
