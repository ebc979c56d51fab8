import { NetworkError, type TunnelError } from "../../errors.ts";
import { CongestionWindow } from "./congestion.ts";
import type { DatagramWriter } from "./datagram-writer.ts";
import { DeliveryLimit } from "./delivery-limit.ts";
import { Flight, type FlyingSegment } from "./flight.ts";
import { type KcpOptions, segmentPayloadBytes } from "./kcp-options.ts";
import { Pacer } from "./pacer.ts";
import { PeerWindow } from "./peer-window.ts";
import { Reordering } from "./reordering.ts";
import { RttEstimator } from "./rtt.ts";
import { Command, counterDifference } from "./segment.ts";
import { SendQueue } from "./send-queue.ts";

/** The half of a session that sends: what waits, what flies, and when to send it again. */
export class Sender {
  readonly #options: KcpOptions;
  readonly #payloadBytes: number;
  readonly #queue = new SendQueue();
  readonly #flight: Flight;
  readonly #rtt: RttEstimator;
  readonly #pacer: Pacer;
  readonly #peer: PeerWindow;
  readonly #congestion: CongestionWindow | undefined;
  readonly #delivery: DeliveryLimit | undefined;
  readonly #reordering = new Reordering();
  /** No segment is due before; some may have been acknowledged since. */
  #resendAt = Number.POSITIVE_INFINITY;
  /** Whether a segment in flight was passed by enough later ones. */
  #hasPassed = false;
  /** Losses of segments before this one shrank the congestion window already. */
  #recovered: number;
  #error: TunnelError | undefined;
  /** Everything before this arrived, says the datagram being read. */
  #arrivedBefore: number;
  /** The latest segment that the datagram being read acknowledges by itself. */
  #latest: { sequence: number; timestamp: number } | undefined;
  #acknowledgedSeen = 0;
  /** When the latest datagram came. */
  #heardAt = Number.NEGATIVE_INFINITY;

  constructor(options: KcpOptions, now: number, firstSequence = 0) {
    this.#options = options;
    this.#payloadBytes = segmentPayloadBytes(options);
    this.#flight = new Flight(firstSequence);
    this.#recovered = firstSequence;
    this.#arrivedBefore = firstSequence;
    this.#rtt = new RttEstimator(options);
    this.#pacer = new Pacer(options, now);
    this.#peer = new PeerWindow(options, firstSequence);
    this.#delivery = options.limitsToDelivery ? new DeliveryLimit(now) : undefined;
    if (this.#delivery !== undefined) this.#pacer.pace(this.#delivery.segmentsPerMs);
    this.#congestion = options.congestion ? new CongestionWindow() : undefined;
  }

  /** Why the link is dead; nothing is sent any more. */
  get error(): TunnelError | undefined {
    return this.#error;
  }

  /** Bytes that were written and not acknowledged. */
  get unacknowledgedBytes(): number {
    return this.#queue.byteLength + this.#flight.byteLength;
  }

  /** The smoothed round trip; `undefined` before the first acknowledgement. */
  get roundTripMs(): number | undefined {
    return this.#rtt.roundTripMs;
  }

  /** How long an answer should take at most. */
  get rtoMs(): number {
    return this.#rtt.rtoMs;
  }

  /** Queues bytes; they are given. */
  write(data: Uint8Array): void {
    this.#queue.push(data);
  }

  /** Whether {@link flush} would send data right now. */
  canSend(now: number): boolean {
    return this.#isSendable && this.#pacer.available(now) > 0;
  }

  /** When {@link ask} or {@link flush} has something to do; infinite when never. */
  get deadline(): number {
    const probeAt = this.#peer.probeAt ?? Number.POSITIVE_INFINITY;
    const resendAt = this.#flight.waiting > 0 ? this.#resendAt : Number.POSITIVE_INFINITY;
    const sendAt = this.#isSendable ? this.#pacer.readyAt : Number.POSITIVE_INFINITY;
    return Math.min(probeAt, Math.max(resendAt, this.#pacer.readyAt), sendAt);
  }

  /** A segment arrived that says what its sender can take and has. */
  heard(window: number, unacknowledged: number): void {
    if (counterDifference(unacknowledged, this.#flight.next) > 0) return;
    this.#peer.update(window, unacknowledged);
    if (counterDifference(unacknowledged, this.#arrivedBefore) > 0) {
      this.#arrivedBefore = unacknowledged;
    }
  }

  /** A selective acknowledgement arrived; `timestamp` is ours of the transmission it answers. */
  acknowledged(sequence: number, timestamp: number, now: number): void {
    const segment = this.#flight.acknowledge(sequence);
    if (segment === undefined) return;
    // The acknowledgement of an earlier transmission: it was only late.
    if (counterDifference(timestamp, segment.timestamp) < 0) {
      this.#reordering.wasLate(this.#rtt.roundTripMs ?? 0);
    }
    const ms = counterDifference(now >>> 0, timestamp);
    this.#rtt.sample(ms);
    this.#delivery?.roundTrip(ms, now);
    if (this.#latest === undefined || counterDifference(sequence, this.#latest.sequence) > 0) {
      this.#latest = { sequence, timestamp };
    }
  }

  /** The datagram ends: draws the conclusions that need all of its segments. */
  datagramEnded(now: number): void {
    this.#heardAt = now;
    // Only now: segments must still be here when their own acknowledgement is read.
    this.#flight.acknowledgeBefore(this.#arrivedBefore);
    if (this.#latest !== undefined) {
      const { sequence, timestamp } = this.#latest;
      this.#latest = undefined;
      const { fastResend } = this.#options;
      this.#reordering.wasRight();
      if (
        fastResend > 0 &&
        this.#flight.countSkips(sequence, timestamp - this.#reordering.ms, fastResend)
      ) {
        this.#hasPassed = true;
      }
    }
    this.watch(now);
    const acknowledged = this.#flight.acknowledgedTotal - this.#acknowledgedSeen;
    this.#acknowledgedSeen = this.#flight.acknowledgedTotal;
    if (acknowledged > 0) this.#grow(acknowledged, now);
  }

  /** Asks a peer without room for some, if that is due. */
  ask(writer: DatagramWriter, now: number): void {
    const { probeAt } = this.#peer;
    if (probeAt === undefined || probeAt > now) return;
    this.#peer.asked(now);
    writer.add(Command.windowAsk, now >>> 0, 0, NOTHING);
  }

  /** Sends the data that is due and that there is room for. */
  flush(writer: DatagramWriter, now: number): void {
    let budget = this.#pacer.available(now);
    if (this.#hasPassed || this.#resendAt <= now) budget = this.#resend(writer, now, budget);
    if (this.#error === undefined) this.#sendNew(writer, now, budget);
    this.watch(now);
  }

  /** Starts asking a peer without room, or stops it; belongs behind whatever changes the need. */
  watch(now: number): void {
    this.#peer.watch(this.#queue.byteLength > 0 && this.#flight.waiting === 0, now);
  }

  get #isSendable(): boolean {
    return this.#hasPassed || (this.#queue.byteLength > 0 && this.#room > 0);
  }

  /** New segments that the windows allow. */
  get #room(): number {
    const { span, waiting } = this.#flight;
    const window = Math.min(this.#options.sendWindow, this.#peer.segments) - span;
    const congested = (this.#congestion?.segments ?? Number.POSITIVE_INFINITY) - waiting;
    const deliverable = (this.#delivery?.segments ?? Number.POSITIVE_INFINITY) - waiting;
    return Math.min(window, congested, deliverable);
  }

  /** Segments were acknowledged: more may fly. */
  #grow(acknowledged: number, now: number): void {
    if (this.#congestion !== undefined) {
      const wasFull = this.#flight.waiting + acknowledged >= this.#congestion.segments;
      if (wasFull) this.#congestion.grow(acknowledged, this.#options.sendWindow);
    }
    const isLimited = this.#queue.byteLength > 0;
    const roundTripMs = this.#rtt.roundTripMs ?? 0;
    if (this.#delivery?.delivered(acknowledged, isLimited, roundTripMs, now) === true) {
      this.#pacer.pace(this.#delivery.segmentsPerMs);
    }
  }

  /** Looks at all segments in flight: at most once per clock interval, and after each loss. */
  #resend(writer: DatagramWriter, now: number, budget: number): number {
    const { fastResend, fastLimit, deadLink, intervalMs } = this.#options;
    let left = budget;
    let soonest = Number.POSITIVE_INFINITY;
    let losses: "none" | "passed" | "late" = "none";
    let isCutShort = false;
    const { first } = this.#flight;
    const welcome = Math.max(1, this.#peer.segments);
    for (const segment of this.#flight) {
      const isLate = segment.resendAt <= now;
      const isPassed =
        fastResend > 0 && segment.skips >= fastResend && segment.transmissions <= fastLimit;
      if (isLate && counterDifference(segment.sequence, first) >= welcome) {
        // The peer has no room for it, and dropped it if it arrived: that is no sign of death.
        segment.resendAt = now + segment.rtoMs;
        soonest = Math.min(soonest, segment.resendAt);
        continue;
      }
      if (isLate && (segment.transmissions >= deadLink || this.#isSilent(segment, now))) {
        this.#error = deadLinkError(segment, now);
        return 0;
      }
      if (isLate || isPassed) {
        if (left <= 0) {
          isCutShort = true;
          break;
        }
        left--;
        if (isLate && !this.#isThin(segment)) this.#backOff(segment);
        if (isLate) losses = "late";
        else if (losses === "none") losses = "passed";
        this.#transmit(segment, writer, now);
        if (isLate && this.#isThin(segment)) segment.resendAt = now + 2 * intervalMs;
      }
      soonest = Math.min(soonest, segment.resendAt);
    }
    this.#hasPassed = isCutShort;
    this.#resendAt = Math.max(soonest, now + intervalMs);
    this.#slowDown(losses);
    return left;
  }

  /** Growing timeouts take minutes to make a dead link; who is heard at all is not dead. */
  #isSilent({ firstSentAt, transmissions }: FlyingSegment, now: number): boolean {
    const { silentMs } = this.#options;
    if (silentMs <= 0 || transmissions < SILENT_TRANSMISSIONS) return false;
    return now - Math.max(firstSentAt, this.#heardAt) >= silentMs;
  }

  #slowDown(losses: "none" | "passed" | "late"): void {
    if (this.#congestion === undefined || losses === "none") return;
    if (counterDifference(this.#flight.first, this.#recovered) < 0) return;
    this.#recovered = this.#flight.next;
    if (losses === "late") this.#congestion.collapse();
    else this.#congestion.shrink(this.#flight.waiting);
  }

  /**
   * Whether a segment that was just sent for the second time should soon be for the third. With few
   * segments in flight nothing passes a lost one, so each loss costs a whole timeout; one loss may,
   * two of the same segment should not. That is the tail of all short answers on lossy lines.
   */
  #isThin({ transmissions }: FlyingSegment): boolean {
    return this.#options.noDelay && transmissions === 2 && this.#flight.waiting <= THIN_SEGMENTS;
  }

  #backOff(segment: FlyingSegment): void {
    const { noDelay, maxRtoMs } = this.#options;
    const growth = noDelay ? segment.rtoMs / 2 : Math.max(segment.rtoMs, this.#rtt.rtoMs);
    segment.rtoMs = Math.min(maxRtoMs, segment.rtoMs + growth);
  }

  #sendNew(writer: DatagramWriter, now: number, budget: number): void {
    const rtoMs = this.#rtt.rtoMs;
    const extraMs = this.#options.noDelay ? 0 : rtoMs / 8;
    let left = Math.min(budget, this.#room);
    for (; left > 0 && this.#queue.byteLength > 0; left--) {
      const segment = this.#flight.add(this.#queue.cut(this.#payloadBytes));
      segment.rtoMs = rtoMs;
      segment.firstSentAt = now;
      this.#transmit(segment, writer, now);
      segment.resendAt += extraMs;
      this.#resendAt = Math.min(this.#resendAt, segment.resendAt);
    }
  }

  #transmit(segment: FlyingSegment, writer: DatagramWriter, now: number): void {
    segment.transmissions++;
    segment.skips = 0;
    segment.timestamp = now >>> 0;
    segment.resendAt = now + segment.rtoMs;
    this.#pacer.take(1);
    writer.add(Command.push, segment.timestamp, segment.sequence, segment.data);
  }
}

function deadLinkError({ firstSentAt, transmissions }: FlyingSegment, now: number): TunnelError {
  const seconds = Math.round((now - firstSentAt) / 1000);
  return new NetworkError(
    "ERR_PEER_SILENT",
    `no acknowledgement in ${seconds} s and ${transmissions} transmissions`,
    { hint: "check that UDP passes both ways and that the other end still runs" },
  );
}

/** A process that slept may find everything late at once: that alone says nothing. */
const SILENT_TRANSMISSIONS = 5;

/** An answer of a few kilobytes; more than that brings news of its losses itself. */
const THIN_SEGMENTS = 4;

const NOTHING = new Uint8Array(0);
