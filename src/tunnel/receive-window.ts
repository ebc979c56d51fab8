/** What all windows of one link may add up to beyond their initial size. */
export interface WindowBudget {
  /** Bytes by which windows may still grow. */
  remaining: number;
}

/** Bounds of one window, bytes. */
export interface WindowLimits {
  readonly initial: number;
  readonly max: number;
}

/**
 * How much one stream may still send us. It moves on consumption, never on arrival, and doubles
 * while the reader keeps up and the link's budget allows: a fast reader far away needs more.
 */
export class ReceiveWindow {
  readonly #limits: WindowLimits;
  readonly #budget: WindowBudget;
  #size: number;
  #granted: number;
  #received = 0;
  #consumed = 0;
  #lastGrantAt: number;

  constructor(limits: WindowLimits, budget: WindowBudget, now: number) {
    this.#limits = limits;
    this.#budget = budget;
    this.#size = limits.initial;
    this.#granted = limits.initial;
    this.#lastGrantAt = now;
  }

  /** @returns false when the peer sent more than it was granted */
  receive(byteLength: number): boolean {
    this.#received += byteLength;
    return this.#received <= this.#granted;
  }

  /** @returns the increment to tell the peer now; 0 while it is too small to be worth a frame */
  consume(byteLength: number, now: number): number {
    this.#consumed += byteLength;
    if (this.#consumed + this.#size - this.#granted < this.#size / 2) return 0;
    this.#grow(now);
    const increment = this.#consumed + this.#size - this.#granted;
    this.#granted += increment;
    this.#lastGrantAt = now;
    return increment;
  }

  /** Gives what it grew back to the link. */
  release(): void {
    this.#budget.remaining += this.#size - this.#limits.initial;
    this.#size = this.#limits.initial;
  }

  #grow(now: number): void {
    if (now - this.#lastGrantAt > GROW_WITHIN_MS) return;
    const more = Math.min(this.#size, this.#limits.max - this.#size, this.#budget.remaining);
    if (more <= 0) return;
    this.#size += more;
    this.#budget.remaining -= more;
  }
}

/** Half a window taken within this time: the window, not the reader, may be what limits. */
const GROW_WITHIN_MS = 500;
