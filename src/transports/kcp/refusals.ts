import type { Clock } from "../../clock/clock.ts";
import type { Logger } from "../../tunnel/logger.ts";

/** Says now and then how many datagrams of strangers were turned away, and why. */
export class Refusals {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #counts = new Map<string, number>();
  #saidAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  /** One more, for one of few reasons. */
  count(reason: string): void {
    this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + 1);
    const now = this.#clock.now();
    if (now - this.#saidAt < EVERY_MS) return;
    this.#saidAt = now;
    this.#logger.warn("datagrams of new addresses turned away", Object.fromEntries(this.#counts));
    this.#counts.clear();
  }
}

/** A line a minute tells what goes on; a flood must not fill the log. */
const EVERY_MS = 60_000;
