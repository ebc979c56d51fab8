import type { Clock } from "../../clock/clock.ts";
import type { LogFields } from "../../tunnel/logger.ts";

/** One kind of log line, said at most once a second, with how often it would have been. */
export class RareLine {
  readonly #clock: Clock;
  readonly #write: (fields: LogFields) => void;
  #count = 0;
  #writtenAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, write: (fields: LogFields) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  /** It happened once more. */
  say(fields: LogFields): void {
    this.#count++;
    const now = this.#clock.now();
    if (now - this.#writtenAt < LINE_MS) return;
    this.#write({ count: this.#count, ...fields });
    this.#count = 0;
    this.#writtenAt = now;
  }
}

const LINE_MS = 1_000;
