import type { Clock } from "../../clock/clock.ts";
import { PolicyError } from "../../errors.ts";

/** Tells now and then how many handshakes a listener's limits turned away: a flood must not fill the log. */
export class TurnedAway {
  readonly #clock: Clock;
  readonly #address: string;
  readonly #tell: (error: PolicyError) => void;
  readonly #counts = new Map<Limit, number>();
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, address: string, tell: (error: PolicyError) => void) {
    this.#clock = clock;
    this.#address = address;
    this.#tell = tell;
  }

  /** One more. */
  count(limit: Limit): void {
    this.#counts.set(limit, (this.#counts.get(limit) ?? 0) + 1);
    const now = this.#clock.now();
    if (now - this.#toldAt < EVERY_MS) return;
    this.#toldAt = now;
    const counted = [...this.#counts].map(([name, count]) => `${count} ${TEXTS[name]}`);
    this.#counts.clear();
    const text = `dtls ${this.#address}: handshakes turned away: ${counted.join(", ")}`;
    this.#tell(new PolicyError("ERR_LIMIT", text));
  }
}

/** What a listener has enough of. */
export type Limit = "halfOpen" | "halfOpenOfOneSource" | "sessions";

const TEXTS: Readonly<Record<Limit, string>> = {
  halfOpen: "with too many unfinished ones",
  halfOpenOfOneSource: "with too many unfinished ones from their address",
  sessions: "with too many sessions",
};

const EVERY_MS = 60_000;
