/** Knows which of the latest 64 record numbers came already: RFC 6347, 4.1.2.6. */
export class ReplayWindow {
  readonly #seen = new Float64Array(WINDOW).fill(-1);
  #latest = -1;

  /** Whether `seq` is new, and not too old to tell. */
  isFresh(seq: number): boolean {
    return seq > this.#latest - WINDOW && this.#seen[seq % WINDOW] !== seq;
  }

  /** To be called for records that proved authentic, and for no others. */
  mark(seq: number): void {
    this.#seen[seq % WINDOW] = seq;
    this.#latest = Math.max(this.#latest, seq);
  }
}

const WINDOW = 64;
