import { counterDifference } from "./segment.ts";

/** One segment that was sent and not acknowledged yet. The object is reused for later ones. */
export interface FlyingSegment {
  sequence: number;
  data: Uint8Array;
  /** The clock of its latest transmission, as on the wire. */
  timestamp: number;
  firstSentAt: number;
  resendAt: number;
  rtoMs: number;
  transmissions: number;
  /** Acknowledgements of later segments since its latest transmission. */
  skips: number;
  isAcknowledged: boolean;
}

/** The segments in flight: a ring indexed by sequence number, so acknowledging one costs nothing. */
export class Flight {
  #ring: FlyingSegment[] = [];
  #first: number;
  #next: number;
  #byteLength = 0;
  /** Acknowledged segments behind a gap. */
  #acknowledged = 0;
  #acknowledgedTotal = 0;

  constructor(firstSequence = 0) {
    this.#first = firstSequence;
    this.#next = firstSequence;
  }

  /** The oldest sequence number that is not acknowledged; {@link next} when none is. */
  get first(): number {
    return this.#first;
  }

  /** The sequence number of the next new segment. */
  get next(): number {
    return this.#next;
  }

  /** Numbers from the oldest unacknowledged to the newest: what windows are measured in. */
  get span(): number {
    return counterDifference(this.#next, this.#first);
  }

  /** Segments that wait for their acknowledgement. */
  get waiting(): number {
    return this.span - this.#acknowledged;
  }

  /** Segments acknowledged since the beginning. */
  get acknowledgedTotal(): number {
    return this.#acknowledgedTotal;
  }

  /** Payload bytes that wait for their acknowledgement. */
  get byteLength(): number {
    return this.#byteLength;
  }

  /** Adds a new segment behind the others; the caller fills in times. */
  add(data: Uint8Array): FlyingSegment {
    if (this.span >= this.#ring.length) this.#grow();
    const segment = this.#at(this.#next);
    segment.sequence = this.#next;
    segment.data = data;
    segment.transmissions = 0;
    segment.skips = 0;
    segment.isAcknowledged = false;
    this.#next = (this.#next + 1) >>> 0;
    this.#byteLength += data.byteLength;
    return segment;
  }

  /** The segment of a selective acknowledgement; `undefined` when it does not wait for one. */
  acknowledge(sequence: number): FlyingSegment | undefined {
    const ahead = counterDifference(sequence, this.#first);
    if (ahead < 0 || ahead >= this.span) return undefined;
    const segment = this.#at(sequence);
    if (segment.isAcknowledged) return undefined;
    this.#release(segment);
    this.#acknowledged++;
    while (this.#acknowledged > 0 && this.#at(this.#first).isAcknowledged) {
      this.#acknowledged--;
      this.#first = (this.#first + 1) >>> 0;
    }
    return segment;
  }

  /** Everything before `sequence` arrived. A number we never sent is ignored. */
  acknowledgeBefore(sequence: number): void {
    const count = counterDifference(sequence, this.#first);
    if (count <= 0 || count > this.span) return;
    for (let left = count; left > 0; left--) {
      const segment = this.#at(this.#first);
      if (segment.isAcknowledged) this.#acknowledged--;
      else this.#release(segment);
      this.#first = (this.#first + 1) >>> 0;
    }
    // What follows may have been acknowledged by itself before.
    while (this.#acknowledged > 0 && this.#at(this.#first).isAcknowledged) {
      this.#acknowledged--;
      this.#first = (this.#first + 1) >>> 0;
    }
  }

  /**
   * Counts `sequence`, sent at `timestamp`, as an acknowledgement that passed all earlier segments.
   *
   * @returns whether one of them has now been passed `limit` times or more
   */
  countSkips(sequence: number, timestamp: number, limit: number): boolean {
    let isReached = false;
    const count = Math.min(counterDifference(sequence, this.#first), this.span);
    for (let ahead = 0; ahead < count; ahead++) {
      const segment = this.#at(this.#first + ahead);
      // One that was sent (again) after the acknowledged one was not passed by it.
      if (segment.isAcknowledged || counterDifference(timestamp, segment.timestamp) < 0) continue;
      segment.skips++;
      if (segment.skips >= limit) isReached = true;
    }
    return isReached;
  }

  /** Those that wait, oldest first. */
  *[Symbol.iterator](): Generator<FlyingSegment, void, void> {
    const span = this.span;
    const first = this.#first;
    for (let ahead = 0; ahead < span; ahead++) {
      const segment = this.#at(first + ahead);
      if (!segment.isAcknowledged) yield segment;
    }
  }

  #release(segment: FlyingSegment): void {
    segment.isAcknowledged = true;
    this.#acknowledgedTotal++;
    this.#byteLength -= segment.data.byteLength;
    segment.data = EMPTY;
  }

  #at(sequence: number): FlyingSegment {
    // The ring is as long as the span at least: there is always one.
    return this.#ring[sequence & (this.#ring.length - 1)] ?? newSegment();
  }

  #grow(): void {
    const length = Math.max(FIRST_RING, this.#ring.length * 2);
    const grown = Array.from({ length }, newSegment);
    const old = this.#ring;
    for (let ahead = 0; ahead < old.length; ahead++) {
      const sequence = this.#first + ahead;
      const segment = old[sequence & (old.length - 1)];
      if (segment !== undefined) grown[sequence & (length - 1)] = segment;
    }
    this.#ring = grown;
  }
}

function newSegment(): FlyingSegment {
  return {
    sequence: 0,
    data: EMPTY,
    timestamp: 0,
    firstSentAt: 0,
    resendAt: 0,
    rtoMs: 0,
    transmissions: 0,
    skips: 0,
    isAcknowledged: true,
  };
}

const EMPTY = new Uint8Array(0);

/** Most sessions never have more in flight. */
const FIRST_RING = 16;
