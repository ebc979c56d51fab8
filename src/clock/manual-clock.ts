import type { Clock, Timer } from "./clock.ts";

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A clock that moves only when told. Timers fire in the order of their due time. */
export class ManualClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #pending = new Set<Pending>();

  now(): number {
    return this.#now;
  }

  schedule(delayMs: number, callback: () => void): Timer {
    const entry = { at: this.#now + Math.max(0, delayMs), order: this.#order++, callback };
    this.#pending.add(entry);
    return { cancel: () => void this.#pending.delete(entry) };
  }

  /** When the next timer is due, or `undefined` when none is pending. */
  get next(): number | undefined {
    return this.#first()?.at;
  }

  /** How many timers are pending: zero after everything was closed. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Moves time forward by `ms`, firing every timer that falls due on the way. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const entry = this.#first();
      if (entry === undefined || entry.at > until) break;
      this.#pending.delete(entry);
      this.#now = entry.at;
      entry.callback();
    }
    this.#now = until;
  }

  #first(): Pending | undefined {
    let first: Pending | undefined;
    for (const entry of this.#pending) {
      const earlier =
        first === undefined ||
        entry.at < first.at ||
        (entry.at === first.at && entry.order < first.order);
      if (earlier) first = entry;
    }
    return first;
  }
}
