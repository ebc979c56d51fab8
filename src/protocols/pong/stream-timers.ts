import { Deadlines } from "../../clock/deadlines.ts";
import type { PongLimits } from "./options.ts";

/**
 * What a stream waits for. One `end` at a time, which stands for the end of a dial, of a quiet
 * half-closed stream, or of the wait for a CLOSE; beside it the answer to its owner that is held
 * back, and small data that waits for company.
 */
export type TimerKind = "end" | "hold" | "crumbs";

/** The deadlines of all streams of a session. Pure: it stores times. */
export class StreamTimers {
  readonly #limits: PongLimits;
  readonly #deadlines = new Deadlines<`${TimerKind} ${number}`>();

  constructor(limits: PongLimits) {
    this.#limits = limits;
  }

  /** The earliest deadline, or `undefined` when there is none. */
  get next(): number | undefined {
    return this.#deadlines.next;
  }

  /** A reference remote's dial is over by then, whatever it says. */
  awaitDial(id: number, now: number): void {
    this.#deadlines.set(`end ${id}`, now + this.#limits.dialGraceMs);
  }

  isAwaiting(id: number): boolean {
    return this.#deadlines.has(`end ${id}`);
  }

  /** A reference local answers FINISH by then. */
  awaitClose(id: number, now: number): void {
    this.#deadlines.set(`end ${id}`, now + this.#limits.closeWaitMs);
  }

  /** Nobody waits longer for a quiet peer or target whose other side has finished. */
  awaitHalfClosed(id: number, now: number): void {
    this.#deadlines.set(`end ${id}`, now + this.#limits.halfClosedMs);
  }

  /** The same for a reference remote that was not told. */
  linger(id: number, now: number): void {
    this.#deadlines.set(`end ${id}`, now + this.#limits.lingerMs);
  }

  holdAnswer(id: number, at: number): void {
    this.#deadlines.set(`hold ${id}`, at);
  }

  awaitCompany(id: number, now: number): void {
    this.#deadlines.set(`crumbs ${id}`, now + this.#limits.crumbsMs);
  }

  cancel(id: number, ...kinds: readonly TimerKind[]): void {
    for (const kind of kinds) this.#deadlines.clear(`${kind} ${id}`);
  }

  cancelAll(): void {
    this.#deadlines.take(Number.POSITIVE_INFINITY);
  }

  /** Removes and returns what is due at `now`. */
  *take(now: number): Generator<{ readonly kind: TimerKind; readonly id: number }> {
    for (const name of this.#deadlines.take(now)) {
      const [kind, id] = name.split(" ");
      yield { kind: kind === "hold" || kind === "crumbs" ? kind : "end", id: Number(id) };
    }
  }
}
