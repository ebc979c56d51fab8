/**
 * When a flight is sent again: after 1 s, then after twice as long each time (RFC 6347, 4.2.4.1), 60 s
 * at most.
 *
 * DEVIATION(RFC 6347): near the deadline of the handshake the waits do not grow beyond a quarter of
 * what is left, or 1 s: four tries in 10 s would be too few on a line that loses every fifth datagram.
 * For the same reason everything from the second repetition on goes out twice.
 */
export class Retransmission {
  readonly #handshakeEndsAt: number;
  #waitMs = FIRST_WAIT_MS;
  #repetitions = 0;
  #sentAt = 0;
  #next: number | undefined;

  constructor(handshakeEndsAt: number) {
    this.#handshakeEndsAt = handshakeEndsAt;
  }

  /** When the flight is due again; `undefined`: it is not. */
  get next(): number | undefined {
    return this.#next;
  }

  /** A new flight has left; with `awaitsAnswer` it is repeated until there is one. */
  begin(now: number, awaitsAnswer: boolean): void {
    this.#repetitions = 0;
    this.#sentAt = now;
    this.#next = undefined;
    if (awaitsAnswer) this.progress(now);
  }

  /** A part of the answer came: the rest gets its time. */
  progress(now: number): void {
    this.#waitMs = FIRST_WAIT_MS;
    this.#next = now + FIRST_WAIT_MS;
  }

  /** The answer is complete. */
  stop(): void {
    this.#next = undefined;
  }

  /** The flight is due: how many copies leave. */
  repeat(now: number): number {
    const left = this.#handshakeEndsAt - now;
    const bound = Math.max(FIRST_WAIT_MS, Math.min(MAX_WAIT_MS, left / 4));
    this.#waitMs = Math.min(2 * this.#waitMs, bound);
    this.#next = now + this.#waitMs;
    return this.#copies(now);
  }

  /** The peer repeats what we answered: how many copies of the answer leave, 0 when just sent. */
  answer(now: number): number {
    return now - this.#sentAt < ANSWER_INTERVAL_MS ? 0 : this.#copies(now);
  }

  #copies(now: number): number {
    this.#sentAt = now;
    this.#repetitions += 1;
    return this.#repetitions < 2 ? 1 : 2;
  }
}

const FIRST_WAIT_MS = 1_000;
const MAX_WAIT_MS = 60_000;
/** Copies that the network or somebody else made of one datagram get one answer. */
const ANSWER_INTERVAL_MS = 100;
