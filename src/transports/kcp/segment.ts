/**
 * KCP segments, little-endian: `conv u32 | cmd u8 | frg u8 | wnd u16 | ts u32 | sn u32 | una u32 |
 * len u32 | data`. A datagram is one or more of them back to back.
 *
 * Spec: vproxy, 2.1 and 2.4.
 */
export interface SegmentHeader {
  /** Names the conversation; both ends must agree on it beforehand. */
  readonly conv: number;
  /** Raw octet, one of {@link Command}. */
  readonly command: number;
  /** How many segments of a message follow; 0 in stream mode, ignored on arrival. */
  readonly fragment: number;
  /** Segments the sender of this one can still take. */
  readonly window: number;
  /** The sender's clock in ms, modulo 2^32; an acknowledgement echoes it. */
  readonly timestamp: number;
  readonly sequence: number;
  /** The next sequence number expected by the sender of this one: all before it arrived. */
  readonly unacknowledged: number;
  /** Bytes of payload. */
  readonly length: number;
}

/** What a segment says. */
export const Command = { push: 81, ack: 82, windowAsk: 83, windowTell: 84 } as const;
/** What a segment says. */
export type Command = (typeof Command)[keyof typeof Command];

/** Bytes before the payload of every segment. */
export const SEGMENT_HEADER_BYTES = 24;

/** `left - right` of two 32-bit counters that wrap: negative when `left` is the earlier one. */
export function counterDifference(left: number, right: number): number {
  return (left - right) | 0;
}

/** Writes a header of {@link SEGMENT_HEADER_BYTES} at `at`. */
export function writeHeader(target: Uint8Array, at: number, header: SegmentHeader): void {
  writeU32(target, at, header.conv);
  target[at + 4] = header.command;
  target[at + 5] = header.fragment;
  target[at + 6] = header.window;
  target[at + 7] = header.window >>> 8;
  writeU32(target, at + 8, header.timestamp);
  writeU32(target, at + 12, header.sequence);
  writeU32(target, at + 16, header.unacknowledged);
  writeU32(target, at + 20, header.length);
}

/**
 * Whether a datagram from nowhere can be the first of a session: it starts with a whole PUSH of
 * data near the beginning of the stream.
 */
export function opensSession(datagram: Uint8Array, { conv, window }: OpeningRule): boolean {
  return (
    isSegmentAt(datagram, 0, conv) &&
    datagram[4] === Command.push &&
    readU32(datagram, 12) < window &&
    readU32(datagram, 16) === 0 &&
    readU32(datagram, 20) > 0
  );
}

/** What the first datagram of a session may look like. */
export interface OpeningRule {
  readonly conv: number;
  /** Sequence numbers below this may come first: the very first datagram may be lost. */
  readonly window: number;
}

/** How a {@link SegmentReader} reads. */
export interface ReaderOptions {
  readonly conv: number;
  /**
   * Skips the stray bytes that some builds send behind a PUSH, as many as its payload.
   *
   * QUIRK(vproxy): see the README.
   */
  readonly skipsStrayBytes: boolean;
}

/** Walks the segments of one datagram after another; its fields are the current one's. */
export class SegmentReader implements SegmentHeader {
  readonly conv: number;
  command = 0;
  fragment = 0;
  window = 0;
  timestamp = 0;
  sequence = 0;
  unacknowledged = 0;
  length = 0;
  /** Datagrams whose rest was dropped because it is no segment of this conversation. */
  malformed = 0;
  readonly #skipsStrayBytes: boolean;
  #bytes: Uint8Array = EMPTY;
  #at = 0;
  #isOver = true;

  constructor({ conv, skipsStrayBytes }: ReaderOptions) {
    this.conv = conv;
    this.#skipsStrayBytes = skipsStrayBytes;
  }

  /** Starts with another datagram; call {@link next} for its first segment. */
  open(datagram: Uint8Array): void {
    this.#bytes = datagram;
    this.#at = 0;
    this.length = 0;
    this.#isOver = false;
  }

  /** Goes on to the next segment: false at the end, or where the rest makes no sense. */
  next(): boolean {
    if (this.#isOver) return false;
    const bytes = this.#bytes;
    const at = this.#nextAt();
    const left = bytes.byteLength - at;
    // Fewer bytes than a header behind a segment mean nothing to anybody.
    if (left < SEGMENT_HEADER_BYTES && at > 0) return this.#end();
    if (!isSegmentAt(bytes, at, this.conv)) {
      this.malformed++;
      return this.#end();
    }
    this.command = bytes[at + 4] ?? 0;
    this.fragment = bytes[at + 5] ?? 0;
    this.window = (bytes[at + 6] ?? 0) | ((bytes[at + 7] ?? 0) << 8);
    this.timestamp = readU32(bytes, at + 8);
    this.sequence = readU32(bytes, at + 12);
    this.unacknowledged = readU32(bytes, at + 16);
    this.length = readU32(bytes, at + 20);
    this.#at = at + SEGMENT_HEADER_BYTES;
    return true;
  }

  /** The payload of the current segment: a view of the datagram. */
  payload(): Uint8Array {
    return this.#bytes.subarray(this.#at, this.#at + this.length);
  }

  #nextAt(): number {
    const bytes = this.#bytes;
    const at = this.#at + this.length;
    if (!this.#skipsStrayBytes || isSegmentAt(bytes, at, this.conv)) return at;
    const behind = at + this.length;
    if (isSegmentAt(bytes, behind, this.conv)) return behind;
    // Nothing but stray bytes is left.
    return bytes.byteLength < behind + SEGMENT_HEADER_BYTES ? bytes.byteLength : at;
  }

  #end(): false {
    this.#isOver = true;
    this.#bytes = EMPTY;
    return false;
  }
}

function isSegmentAt(bytes: Uint8Array, at: number, conv: number): boolean {
  const left = bytes.byteLength - at - SEGMENT_HEADER_BYTES;
  if (left < 0 || readU32(bytes, at) !== conv) return false;
  const command = bytes[at + 4] ?? 0;
  if (command < Command.push || command > Command.windowTell) return false;
  return readU32(bytes, at + 20) <= left;
}

function readU32(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
  return (low | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

const EMPTY = new Uint8Array(0);
