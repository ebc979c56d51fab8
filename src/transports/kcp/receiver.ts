import type { DatagramWriter } from "./datagram-writer.ts";
import type { KcpOptions } from "./kcp-options.ts";
import { ReceiveQueue } from "./receive-queue.ts";
import { Command, counterDifference } from "./segment.ts";

/** The half of a session that receives: order, acknowledgements, and news of our window. */
export class Receiver {
  readonly #options: KcpOptions;
  readonly #queue: ReceiveQueue;
  /** Sequence number and timestamp of each segment to acknowledge, in turn. */
  #owed: number[] = [];
  /** Those of the latest acknowledgements that lie behind a gap: they are said twice. */
  #early: number[] = [];
  #owedAt = Number.POSITIVE_INFINITY;
  #isPaused = false;
  /** The window in the latest datagram we sent. */
  #announced: number;
  /** Announcements of a reopened window still to come: one alone may be lost. */
  #tells = 0;
  #tellAt = Number.POSITIVE_INFINITY;

  constructor(options: KcpOptions, firstSequence = 0) {
    this.#options = options;
    this.#queue = new ReceiveQueue(options, firstSequence);
    this.#announced = options.receiveWindow;
  }

  /** When one of the two below has something to do; infinite when never. */
  get deadline(): number {
    return Math.min(this.#owedAt, this.#tellAt);
  }

  /** Whether acknowledgements should leave now, without waiting for the clock. */
  isUrgent(now: number): boolean {
    return this.#owed.length >= 2 * this.#options.ackEverySegments || this.#tellAt <= now;
  }

  /** A PUSH arrived. */
  pushed(sequence: number, timestamp: number, data: Uint8Array, now: number): void {
    this.#stopTelling();
    if (!this.#queue.accept(sequence, data)) return;
    if (this.#isPaused) this.#queue.keep();
    if (this.#owed.length === 0) this.#owedAt = now + this.#options.intervalMs;
    this.#owed.push(sequence, timestamp);
  }

  /** The peer asks for our window. */
  asked(now: number): void {
    this.#stopTelling();
    this.#tells = 1;
    this.#tellAt = now;
  }

  /** What the reader gets now; nothing while it is paused. */
  take(): readonly Uint8Array[] {
    if (this.#isPaused || !this.#queue.hasReady) return NONE;
    const taken = this.#queue.take();
    while (this.#queue.hasReady) taken.push(...this.#queue.take());
    return taken;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(now: number): void {
    this.#isPaused = false;
    if (this.#announced * 2 > this.#options.receiveWindow) return;
    this.#tells = TELLS;
    this.#tellAt = now;
  }

  /** Sets what every segment says about us, and writes the acknowledgements that are owed. */
  acknowledge(writer: DatagramWriter): void {
    const window = Math.min(this.#queue.freeSegments, MAX_WINDOW);
    this.#announced = window;
    writer.announce(window, this.#queue.next);
    if (this.#owed.length > 0) this.#acknowledge(writer, this.#queue.next);
  }

  /** Writes the news of our window, if they are due. */
  tell(writer: DatagramWriter, now: number, rtoMs: number): void {
    if (this.#tellAt > now) return;
    writer.add(Command.windowTell, now >>> 0, 0, NOTHING);
    this.#tells--;
    const waitMs = rtoMs * 2 ** (TELLS - this.#tells);
    this.#tellAt = this.#tells > 0 ? now + waitMs : Number.POSITIVE_INFINITY;
  }

  #acknowledge(writer: DatagramWriter, next: number): void {
    const owed = this.#owed;
    const repeated = this.#early;
    this.#early = [];
    this.#owed = [];
    this.#owedAt = Number.POSITIVE_INFINITY;
    for (let at = 0; at < repeated.length; at += 2) {
      const sequence = repeated[at] ?? 0;
      if (counterDifference(sequence, next) < 0) continue;
      writer.add(Command.ack, repeated[at + 1] ?? 0, sequence, NOTHING);
    }
    const last = owed.length - 2;
    for (let at = 0; at <= last; at += 2) {
      const sequence = owed[at] ?? 0;
      const timestamp = owed[at + 1] ?? 0;
      const isCovered = counterDifference(sequence, next) < 0;
      // Those before `next` are acknowledged by `una`; the last one still measures the round trip.
      if (isCovered && at < last) continue;
      writer.add(Command.ack, timestamp, sequence, NOTHING);
      if (!isCovered) this.#early.push(sequence, timestamp);
    }
  }

  #stopTelling(): void {
    this.#tells = 0;
    this.#tellAt = Number.POSITIVE_INFINITY;
  }
}

const NONE: readonly Uint8Array[] = [];
const NOTHING = new Uint8Array(0);

/** What 16 bits can say. */
const MAX_WINDOW = 0xffff;

/** How often a reopened window is announced while the peer does not react. */
const TELLS = 4;
