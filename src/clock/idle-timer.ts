import type { Clock, Timer } from "./clock.ts";

/** Calls back once when nothing was touched for a while. Touching costs a look at the clock. */
export class IdleTimer {
  readonly #clock: Clock;
  readonly #onIdle: () => void;
  #timeoutMs: number;
  #touchedAt: number;
  #timer: Timer | undefined;

  /** @param timeoutMs 0: never */
  constructor(clock: Clock, timeoutMs: number, onIdle: () => void) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#onIdle = onIdle;
    this.#touchedAt = clock.now();
    this.#arm();
  }

  /** Something happened: the wait begins anew. */
  touch(): void {
    this.#touchedAt = this.#clock.now();
  }

  /** From now on this much silence is enough; what has passed counts. */
  changeTo(timeoutMs: number): void {
    this.#timeoutMs = timeoutMs;
    this.cancel();
    this.#arm();
  }

  /** It calls nobody any more. */
  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    if (this.#timeoutMs === 0) return;
    const left = this.#touchedAt + this.#timeoutMs - this.#clock.now();
    this.#timer = this.#clock.schedule(Math.max(0, left), () => {
      this.#timer = undefined;
      // The timer runs on while things happen; moving it each time would cost more.
      if (this.#clock.now() - this.#touchedAt >= this.#timeoutMs) this.#onIdle();
      else this.#arm();
    });
  }
}
