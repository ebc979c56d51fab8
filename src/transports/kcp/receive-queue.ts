import { counterDifference } from "./segment.ts";

/** Bounds of a {@link ReceiveQueue}. */
export interface ReceiveQueueOptions {
  /** Segments ahead of the next one, and segments in order for a paused reader. */
  readonly receiveWindow: number;
  readonly maxReceivedBytes: number;
}

/** Puts segments back in order. Those in order wait for {@link take}, the others for them. */
export class ReceiveQueue {
  readonly #window: number;
  readonly #maxBytes: number;
  /** Segments that arrived too early, at their sequence number modulo the length. */
  #ring: (Uint8Array | undefined)[] = [];
  #early = 0;
  #ready: Uint8Array[] = [];
  /** Segments in order that wait, empty ones among them. */
  #readySegments = 0;
  #byteLength = 0;
  #next: number;

  constructor({ receiveWindow, maxReceivedBytes }: ReceiveQueueOptions, firstSequence = 0) {
    this.#window = receiveWindow;
    this.#maxBytes = maxReceivedBytes;
    this.#next = firstSequence;
  }

  /** The sequence number expected next: everything before it is here. */
  get next(): number {
    return this.#next;
  }

  /** Segments we can still take, for the peer to know. */
  get freeSegments(): number {
    return Math.max(0, this.#window - this.#readySegments);
  }

  /**
   * Takes one segment; its bytes may be a view of the datagram.
   *
   * @returns whether to acknowledge it: not when there is no room, so that it comes again
   */
  accept(sequence: number, data: Uint8Array): boolean {
    const ahead = counterDifference(sequence, this.#next);
    if (ahead < 0) return true;
    if (ahead >= this.#window) return false;
    const slot = this.#slotFor(sequence, ahead);
    if (this.#early > 0 && this.#ring[slot] !== undefined) return true;
    // The one that all others wait for passes: it may be what frees the room.
    const isAwaited = ahead === 0 && this.#readySegments === 0;
    if (!isAwaited && this.#byteLength + data.byteLength > this.#maxBytes) return false;
    if (ahead === 0 && this.#readySegments < this.#window) {
      this.#append(data);
      this.#advance();
      return true;
    }
    this.#ring[slot] = ownMemory(data);
    this.#early++;
    this.#byteLength += data.byteLength;
    return true;
  }

  /** Whether {@link take} has something. */
  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  /** Everything in order so far. */
  take(): Uint8Array[] {
    const taken = this.#ready;
    for (const data of taken) this.#byteLength -= data.byteLength;
    this.#ready = [];
    this.#readySegments = 0;
    this.#advance();
    return taken;
  }

  /** The reader waits: what is ready stays, so it must not pin the datagrams it came in. */
  keep(): void {
    const last = this.#ready.length - 1;
    const data = this.#ready[last];
    if (data !== undefined) this.#ready[last] = ownMemory(data);
  }

  #append(data: Uint8Array): void {
    this.#next = (this.#next + 1) >>> 0;
    this.#readySegments++;
    if (data.byteLength === 0) return;
    this.#ready.push(data);
    this.#byteLength += data.byteLength;
  }

  #advance(): void {
    while (this.#early > 0 && this.#readySegments < this.#window) {
      const slot = this.#next & (this.#ring.length - 1);
      const data = this.#ring[slot];
      if (data === undefined) return;
      this.#ring[slot] = undefined;
      this.#early--;
      this.#byteLength -= data.byteLength;
      this.#append(data);
    }
  }

  #slotFor(sequence: number, ahead: number): number {
    if (ahead >= this.#ring.length) this.#grow(ahead + 1);
    return sequence & (this.#ring.length - 1);
  }

  #grow(atLeast: number): void {
    let length = Math.max(FIRST_RING, this.#ring.length);
    while (length < atLeast) length *= 2;
    const grown: (Uint8Array | undefined)[] = Array.from({ length }, () => undefined);
    const old = this.#ring;
    for (let ahead = 0; ahead < old.length; ahead++) {
      const sequence = this.#next + ahead;
      grown[sequence & (length - 1)] = old[sequence & (old.length - 1)];
    }
    this.#ring = grown;
  }
}

/** A few bytes must not pin the large datagram they came in. */
function ownMemory(data: Uint8Array): Uint8Array {
  return data.byteLength * 4 < data.buffer.byteLength ? data.slice() : data;
}

/** Most sessions never see more than this out of order. */
const FIRST_RING = 16;
