/**
 * How much may be in flight, and how fast it leaves, in the profiles without a congestion window:
 * twice what a round trip delivered at best lately, or once while a queue on the way swells.
 *
 * Losses as such do not slow it down: with 30 percent of them it still grows. But a line that is
 * full delivers no more however much is sent; what is sent then stays near what arrives, and
 * sessions that share the line do not starve each other.
 */
export class DeliveryLimit {
  /** Segments per millisecond, in the latest rounds. */
  readonly #rates: number[] = [];
  #roundAt: number;
  #acknowledged = 0;
  #wasLimited = false;
  /** The shortest round trips of this period and of the one before. */
  #shortest = Number.POSITIVE_INFINITY;
  #shortestBefore = Number.POSITIVE_INFINITY;
  #periodAt: number;
  #segments = FIRST_SEGMENTS;
  #segmentsPerMs = (PACE * FIRST_SEGMENTS) / GUESSED_ROUND_TRIP_MS;

  constructor(now: number) {
    this.#roundAt = now;
    this.#periodAt = now;
  }

  /** Segments that may wait for their acknowledgement. */
  get segments(): number {
    return this.#segments;
  }

  /** How fast they should leave: a burst finds a full queue full for all of it. */
  get segmentsPerMs(): number {
    return this.#segmentsPerMs;
  }

  /** One segment and its acknowledgement took that long. */
  roundTrip(ms: number, now: number): void {
    if (now - this.#periodAt > PERIOD_MS) {
      this.#shortestBefore = this.#shortest;
      this.#shortest = Number.POSITIVE_INFINITY;
      this.#periodAt = now;
    }
    if (ms >= 0) this.#shortest = Math.min(this.#shortest, ms);
  }

  /**
   * `count` segments were acknowledged; `isLimited`: more would be sent if it were allowed.
   *
   * @returns whether the limits are new
   */
  delivered(count: number, isLimited: boolean, roundTripMs: number, now: number): boolean {
    this.#acknowledged += count;
    this.#wasLimited ||= isLimited;
    const elapsed = now - this.#roundAt;
    if (elapsed < Math.max(roundTripMs, SHORTEST_ROUND_MS)) return false;
    const rate = this.#acknowledged / elapsed;
    const best = Math.max(0, ...this.#rates);
    // A round with little to send says no more than that the line can do that much.
    if (this.#wasLimited || rate > best) this.#rates.push(rate);
    if (this.#rates.length > ROUNDS) this.#rates.shift();
    this.#roundAt = now;
    this.#acknowledged = 0;
    this.#wasLimited = false;
    this.#decide(roundTripMs);
    return true;
  }

  #decide(roundTripMs: number): void {
    const shortest = Math.min(this.#shortest, this.#shortestBefore);
    const roundMs = Math.max(shortest, SHORTEST_ROUND_MS);
    const isSwollen = roundTripMs > SWELL * shortest + SLACK_MS;
    const delivered = Math.max(0, ...this.#rates) * roundMs;
    this.#segments = Math.max(LEAST_SEGMENTS, Math.ceil(delivered * (isSwollen ? 1 : GAIN)));
    this.#segmentsPerMs = (PACE * this.#segments) / Math.max(roundTripMs, SHORTEST_ROUND_MS);
  }
}

const FIRST_SEGMENTS = 32;
const LEAST_SEGMENTS = 16;
/** What the first segments are spread by, before any acknowledgement. */
const GUESSED_ROUND_TRIP_MS = 100;

/** Room to find out that the line can do more, with a third of it lost. */
const GAIN = 2;
/** A window leaves in half a round trip. */
const PACE = 2;
/** A round trip this many times the shortest one, and some: somebody's queue grows. */
const SWELL = 1.5;
const SLACK_MS = 20;

const ROUNDS = 8;
/** Rounds of less than a few clocks of the peer would measure those. */
const SHORTEST_ROUND_MS = 20;
/** A route may change: shortest round trips are forgotten after one or two of these. */
const PERIOD_MS = 10_000;
