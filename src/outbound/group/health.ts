/** How many results in a row change a member's mind about itself. */
export interface HealthThresholds {
  /** Passed checks that bring it up again. */
  readonly up: number;
  /** Failed ones that take it down. */
  readonly down: number;
}

/** Counts what checks of one member find. It is up until they fail. */
export class Health {
  readonly #thresholds: HealthThresholds;
  #failure: string | undefined;
  #isUp = true;
  /** Results in a row that speak against what it is. */
  #against = 0;

  constructor(thresholds: HealthThresholds) {
    this.#thresholds = thresholds;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** What the last failed check said. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** A check passed, or without checks a connection was opened. @returns whether it came up by that */
  passed(): boolean {
    if (!this.#isUp) return this.#turn(this.#thresholds.up);
    this.#against = 0;
    return false;
  }

  /** A check failed, or without checks a connection did. @returns whether it went down by that */
  failed(reason: string): boolean {
    this.#failure = reason;
    if (this.#isUp) return this.#turn(this.#thresholds.down);
    this.#against = 0;
    return false;
  }

  #turn(threshold: number): boolean {
    if (++this.#against < threshold) return false;
    this.#isUp = !this.#isUp;
    this.#against = 0;
    return true;
  }
}
