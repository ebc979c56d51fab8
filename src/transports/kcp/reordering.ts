/**
 * How long after a segment another one must have left, for the arrival of the other to mean that
 * the first is lost: 0 on lines that keep the order, up to a quarter of the round trip on others.
 */
export class Reordering {
  #ms = 0;

  get ms(): number {
    return Math.floor(this.#ms);
  }

  /** A segment was sent again although it was only late. */
  wasLate(roundTripMs: number): void {
    this.#ms = Math.min(roundTripMs / 4, this.#ms * GROWTH + 1);
  }

  /** A datagram of acknowledgements passed without such a mistake. */
  wasRight(): void {
    this.#ms *= DECAY;
  }
}

const GROWTH = 1.5;
const DECAY = 0.98;
