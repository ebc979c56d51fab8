/**
 * The congestion window of the profile `normal`, in segments: slow start, then one more per round
 * trip; half after a fast retransmission, one after a timeout.
 */
export class CongestionWindow {
  #size = FIRST_WINDOW;
  #threshold = Number.POSITIVE_INFINITY;

  get segments(): number {
    return Math.floor(this.#size);
  }

  /** `count` segments were acknowledged while the window was what limited us, `limit` the cap. */
  grow(count: number, limit: number): void {
    const step = this.#size < this.#threshold ? count : count / this.#size;
    this.#size = Math.min(limit, this.#size + step);
  }

  /** Segments were passed by later ones: some loss. */
  shrink(inFlight: number): void {
    this.#threshold = Math.max(MINIMUM_THRESHOLD, inFlight / 2);
    this.#size = this.#threshold;
  }

  /** A timeout passed without a word about a segment: heavy loss. */
  collapse(): void {
    this.#threshold = Math.max(MINIMUM_THRESHOLD, this.#size / 2);
    this.#size = 1;
  }
}

const FIRST_WINDOW = 10;
const MINIMUM_THRESHOLD = 2;
