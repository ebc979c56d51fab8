import type { VproxyTunnelLimits } from "./options.ts";

/**
 * The deadlines of all streams of a tunnel. Pure: it stores times. Those of one kind are all of one
 * length, so the first one set is the first one due.
 */
export class StreamTimers {
  readonly #limits: VproxyTunnelLimits;
  readonly #syn = new Map<number, number>();
  readonly #ending = new Map<number, number>();
  /** Streams whose last frame waits, and when to look at them next. */
  readonly #leaving = new Set<number>();
  #leavingAt: number | undefined;

  constructor(limits: VproxyTunnelLimits) {
    this.#limits = limits;
  }

  /** The earliest deadline, or `undefined` when there is none. */
  get next(): number | undefined {
    const [syn] = this.#syn.values();
    const [ending] = this.#ending.values();
    let first = this.#leavingAt;
    for (const at of [syn, ending]) {
      if (at !== undefined && (first === undefined || at < first)) first = at;
    }
    return first;
  }

  /** The answer to a SYN comes by then. */
  awaitSynAck(id: number, now: number): void {
    this.#syn.set(id, now + this.#limits.synTimeoutMs);
  }

  /** The peer ends a stream nobody here uses by then. */
  awaitEnd(id: number, now: number): void {
    this.#syn.delete(id);
    this.#ending.set(id, now + this.#limits.endingMs);
  }

  /** Looks whether the last frame of a stream may go. */
  awaitLeave(id: number, at: number): void {
    this.#leaving.add(id);
    if (this.#leavingAt === undefined || at < this.#leavingAt) this.#leavingAt = at;
  }

  answered(id: number): void {
    this.#syn.delete(id);
  }

  cancel(id: number): void {
    this.#syn.delete(id);
    this.#ending.delete(id);
    this.#leaving.delete(id);
    if (this.#leaving.size === 0) this.#leavingAt = undefined;
  }

  cancelAll(): void {
    this.#syn.clear();
    this.#ending.clear();
    this.#leaving.clear();
    this.#leavingAt = undefined;
  }

  /** Removes and returns the ids with something due at `now`. */
  take(now: number): number[] {
    const due: number[] = [];
    for (const timers of [this.#syn, this.#ending]) {
      for (const [id, at] of timers) {
        if (at > now) break;
        timers.delete(id);
        due.push(id);
      }
    }
    if (this.#leavingAt !== undefined && this.#leavingAt <= now) {
      due.push(...this.#leaving);
      this.#leaving.clear();
      this.#leavingAt = undefined;
    }
    return due;
  }
}
