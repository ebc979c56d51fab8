import type { TunnelError } from "../../errors.ts";
import { DatagramWriter } from "./datagram-writer.ts";
import type { KcpOptions } from "./kcp-options.ts";
import { Receiver } from "./receiver.ts";
import { Command, SegmentReader } from "./segment.ts";
import { Sender } from "./sender.ts";

/** Everything one input caused. */
export interface KcpStep {
  /** To be sent, in this order. */
  readonly datagrams: readonly Uint8Array[];
  /** Received bytes in order; views of the datagrams they came in. */
  readonly data: readonly Uint8Array[];
  /** The link is dead: nothing is sent or received any more. Reported once. */
  readonly error: TunnelError | undefined;
}

/**
 * One KCP conversation in stream mode: an ordered, reliable byte stream over datagrams. No I/O, no
 * clock; `now` is in monotonic milliseconds. KCP has no opening and no end of its own.
 *
 * Spec: vproxy, section 2.
 */
export class KcpSession {
  readonly #options: KcpOptions;
  readonly #reader: SegmentReader;
  readonly #writer: DatagramWriter;
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  #isDead = false;

  /** @param firstSequence where both directions start counting: always 0, except in tests */
  constructor(options: KcpOptions, now: number, firstSequence = 0) {
    this.#options = options;
    this.#reader = new SegmentReader(options);
    this.#writer = new DatagramWriter(options.conv, options.mtuBytes);
    this.#sender = new Sender(options, now, firstSequence);
    this.#receiver = new Receiver(options, firstSequence);
  }

  /** When `tick` is next due; `undefined` while nothing is: an idle session costs no timer. */
  get deadline(): number | undefined {
    if (this.#isDead) return undefined;
    const deadline = Math.min(this.#sender.deadline, this.#receiver.deadline);
    return deadline === Number.POSITIVE_INFINITY ? undefined : deadline;
  }

  /** Bytes that were written and the peer has not acknowledged: queued or in flight. */
  get unacknowledgedBytes(): number {
    return this.#sender.unacknowledgedBytes;
  }

  /** Bytes that may be written before the writer should wait. */
  get writableBytes(): number {
    return Math.max(0, this.#options.maxQueuedBytes - this.#sender.unacknowledgedBytes);
  }

  /** The smoothed round trip in ms; `undefined` before the first acknowledgement. */
  get roundTripMs(): number | undefined {
    return this.#sender.roundTripMs;
  }

  /** Datagrams that were dropped, whole or from some segment on, because they made no sense. */
  get malformed(): number {
    return this.#reader.malformed;
  }

  /** Takes one datagram; the bytes are given. Never fails: what makes no sense is dropped. */
  receive(datagram: Uint8Array, now: number): KcpStep {
    if (this.#isDead) return NOTHING;
    const reader = this.#reader;
    reader.open(datagram);
    while (reader.next()) {
      this.#sender.heard(reader.window, reader.unacknowledged);
      if (reader.command === Command.push) {
        this.#receiver.pushed(reader.sequence, reader.timestamp, reader.payload(), now);
      } else if (reader.command === Command.ack) {
        this.#sender.acknowledged(reader.sequence, reader.timestamp, now);
      } else if (reader.command === Command.windowAsk) {
        this.#receiver.asked(now);
      }
    }
    this.#sender.datagramEnded(now);
    const data = this.#receiver.take();
    if (this.#receiver.isUrgent(now) || this.#sender.canSend(now)) this.#flush(now);
    return this.#step(data);
  }

  /** Queues bytes, which are given, and sends what there is room for. */
  write(data: Uint8Array, now: number): KcpStep {
    return this.writeAll([data], now);
  }

  /** Like {@link write} for several chunks, which then share segments. */
  writeAll(chunks: readonly Uint8Array[], now: number): KcpStep {
    if (this.#isDead) return NOTHING;
    for (const chunk of chunks) this.#sender.write(chunk);
    if (!this.#sender.canSend(now)) this.#sender.watch(now);
    else this.#flush(now);
    return this.#step(NONE);
  }

  /** Does what is due at `now`. Cheap when nothing is. */
  tick(now: number): KcpStep {
    const { deadline } = this;
    if (deadline === undefined || deadline > now) return NOTHING;
    this.#flush(now);
    return this.#step(NONE);
  }

  /** The reader waits: what arrives stays here, and the window in what we send shrinks. */
  pause(): void {
    this.#receiver.pause();
  }

  /** The reader goes on; the step has what waited. */
  resume(now: number): KcpStep {
    if (this.#isDead) return NOTHING;
    this.#receiver.resume(now);
    const data = this.#receiver.take();
    if (this.#receiver.isUrgent(now)) this.#flush(now);
    return this.#step(data);
  }

  #flush(now: number): void {
    this.#receiver.acknowledge(this.#writer);
    this.#sender.ask(this.#writer, now);
    this.#receiver.tell(this.#writer, now, this.#sender.rtoMs);
    this.#sender.flush(this.#writer, now);
  }

  #step(data: readonly Uint8Array[]): KcpStep {
    const datagrams = this.#writer.take();
    const { error } = this.#sender;
    if (error !== undefined) this.#isDead = true;
    if (datagrams.length === 0 && data.length === 0 && error === undefined) return NOTHING;
    return { datagrams, data, error };
  }
}

const NONE: readonly Uint8Array[] = [];
const NOTHING: KcpStep = { datagrams: NONE, data: NONE, error: undefined };
