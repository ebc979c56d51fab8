/** What all windows of one link may add up to beyond their initial size. */
export interface WindowBudget {
  /** Bytes by which windows may still grow. */
  remaining: number;
}

/** Bounds of one window, bytes. */
export interface WindowLimits {
  readonly initialWindowBytes: number;
  /** Up to here it grows while it is taken at once, whether or not the sender waits. @default 0 */
  readonly eagerWindowBytes?: number;
  readonly maxWindowBytes: number;
}

/**
 * How much one stream may still send us. It moves on consumption, never on arrival, and doubles
 * while it is what limits the sender: a fast reader far away needs more. When something else limits,
 * a larger window only fills the buffers on the way, and everything behind it waits longer.
 */
export class ReceiveWindow {
  readonly #limits: WindowLimits;
  readonly #budget: WindowBudget;
  readonly #trips = new RoundTrips();
  #size: number;
  #granted: number;
  #received = 0;
  #consumed = 0;
  #lastGrantAt: number;

  constructor(limits: WindowLimits, budget: WindowBudget, now: number) {
    this.#limits = limits;
    this.#budget = budget;
    this.#size = limits.initialWindowBytes;
    this.#granted = limits.initialWindowBytes;
    this.#lastGrantAt = now;
  }

  /** @returns false when the peer sent more than it was granted */
  receive(byteLength: number, now: number): boolean {
    this.#received += byteLength;
    this.#trips.received(this.#received, now);
    return this.#received <= this.#granted;
  }

  /** @returns the increment to tell the peer now; 0 while it is too small to be worth a frame */
  consume(byteLength: number, now: number): number {
    this.#consumed += byteLength;
    if (this.#consumed + this.#size - this.#granted < this.#size / 4) return 0;
    const isLimiting = this.#trips.granted(this.#granted, now);
    if (isLimiting || this.#isEager(now)) this.#grow();
    this.#lastGrantAt = now;
    const increment = this.#consumed + this.#size - this.#granted;
    this.#granted += increment;
    return increment;
  }

  /** Gives what it grew back to the link. */
  release(): void {
    this.#budget.remaining += this.#size - this.#limits.initialWindowBytes;
    this.#size = this.#limits.initialWindowBytes;
  }

  #isEager(now: number): boolean {
    const { eagerWindowBytes = 0 } = this.#limits;
    return this.#size < eagerWindowBytes && now - this.#lastGrantAt <= QUICK_MS;
  }

  #grow(): void {
    const more = Math.min(
      this.#size,
      this.#limits.maxWindowBytes - this.#size,
      this.#budget.remaining,
    );
    if (more <= 0) return;
    this.#size += more;
    this.#budget.remaining -= more;
  }
}

/**
 * Tells a sender that waits for windows from one that is merely as fast as it can be. The first byte
 * that only a new grant allowed comes at least a round trip behind that grant. Grants come with each
 * quarter of a window: eight of them take two round trips while the sender has to wait for them, or
 * some more where the pieces it sends do not add up to quarters. The shortest way ever counts: behind
 * a queue the way is long because the windows are large.
 */
class RoundTrips {
  /** The grant that a byte is awaited for. */
  #mark: { readonly beyond: number; readonly at: number } | undefined;
  #shortestMs = Number.POSITIVE_INFINITY;
  #grants = 0;
  /** When these grants began; nothing came before. */
  #since: number | undefined;

  received(total: number, now: number): void {
    this.#since ??= now;
    if (this.#mark === undefined || total <= this.#mark.beyond) return;
    this.#shortestMs = Math.min(this.#shortestMs, now - this.#mark.at);
    this.#mark = undefined;
  }

  /**
   * More is about to be granted.
   *
   * @param before all that was granted so far
   * @returns whether the sender waits for grants
   */
  granted(before: number, now: number): boolean {
    this.#mark ??= { beyond: before, at: now };
    if (++this.#grants < GRANTS) return false;
    const tookMs = now - (this.#since ?? now);
    this.#grants = 0;
    this.#since = now;
    return Number.isFinite(this.#shortestMs) && tookMs < LIMITED_TRIPS * this.#shortestMs;
  }
}

/** A quarter of a window within this time, and a whole one is not waited for longer than 16 ms. */
const QUICK_MS = 4;
/** Grants judged together: two windows. */
const GRANTS = 8;
/** Above the 2.7 that pieces of any size make of two; so the window ends at some three paths' worth. */
const LIMITED_TRIPS = 3;
