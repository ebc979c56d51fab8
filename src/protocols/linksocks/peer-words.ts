import type { Clock } from "../../clock/clock.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { Log } from "./messages.ts";

/**
 * What a peer wants in our log: without control characters, cut, and not more lines than somebody
 * could read. Nobody else hears of it.
 */
export class PeerWords {
  readonly #logger: Logger;
  readonly #clock: Clock;
  #windowFrom = Number.NEGATIVE_INFINITY;
  #lines = 0;

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /** @param as how loud it is here, whatever the peer calls it */
  hear({ level, text }: Log, as: "debug" | "warn" = "debug"): void {
    const now = this.#clock.now();
    if (now - this.#windowFrom >= WINDOW_MS) {
      this.#windowFrom = now;
      this.#lines = 0;
    }
    this.#lines++;
    if (this.#lines > MAX_LINES) return;
    this.#logger[as]("peer says", { level: clean(level, 16), words: clean(text, 500) });
  }
}

function clean(text: string, length: number): string {
  return text.slice(0, length).replaceAll(CONTROL, "?");
}

/** Control characters, and those that turn the direction of a line around or break it. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

const WINDOW_MS = 1_000;
const MAX_LINES = 20;
