import { ProtocolError } from "../../../errors.ts";

/** Frame types, in the order of the specification. Everything else ends the tunnel. */
export const FrameType = {
  /** PSH, FIN and both in one. */
  data: 0x00,
  /** SYN, SYN-ACK and RST. */
  headers: 0x01,
  /** The handshake, and nothing behind it. */
  settings: 0x04,
  /** KEEPALIVE and its answer. */
  ping: 0x06,
  /** SHUTDOWN. */
  goaway: 0x07,
} as const;

/** Flag bits; `end` means FIN on DATA, RST on HEADERS, and an answer on PING. */
export const FrameFlag = { end: 0x01, gzip: 0x04 } as const;

/**
 * Frames of the tunnel: `length u24be | type u8 | flags u8 | streamId u32be | payload`, as in
 * HTTP/2; the length counts the payload alone.
 *
 * Spec: vproxy 3.1. Reference: vproxy `H2StreamedFDHandler.java`.
 */
export interface Frame {
  /** Raw type octet: the decoder lets only those through that a tunnel may carry. */
  readonly type: number;
  readonly flags: number;
  /** 0 to 2^31-1. */
  readonly streamId: number;
  /** After decoding it may share memory with the received chunk. */
  readonly payload: Uint8Array;
}

/** What a decoder takes. */
export interface FrameLimits {
  /** Payload of one DATA frame as it is on the wire, bytes. */
  readonly maxFrameBytes: number;
}

/** One frame for a gathered write; a large payload stays uncopied. */
export function encodeFrame({ type, flags, streamId, payload }: Frame): Uint8Array[] {
  const { byteLength } = payload;
  if (byteLength > COPY_BYTES) {
    const header = new Uint8Array(FRAME_HEADER_BYTES);
    putFrameHeader(header, byteLength, type, flags, streamId);
    return [header, payload];
  }
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + byteLength);
  putFrameHeader(bytes, byteLength, type, flags, streamId);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return [bytes];
}

/**
 * DATA frames for `data`, cut into payloads of at most {@link MAX_SENT_PAYLOAD} bytes.
 *
 * @param deflate makes a payload smaller; `undefined` when it would not become so
 */
export function encodeData(
  streamId: number,
  data: Uint8Array,
  deflate?: (payload: Uint8Array) => Uint8Array | undefined,
): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < data.byteLength; at += MAX_SENT_PAYLOAD) {
    const plain = data.subarray(at, at + MAX_SENT_PAYLOAD);
    const small = deflate?.(plain);
    const flags = small === undefined ? 0 : FrameFlag.gzip;
    frames.push(...encodeFrame({ type: FrameType.data, flags, streamId, payload: small ?? plain }));
  }
  return frames;
}

/** A GOAWAY, which ends the tunnel for both sides. */
export function encodeGoaway(reason: string): Uint8Array {
  const text = new TextEncoder().encode(reason);
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + GOAWAY_PREFIX_BYTES + text.byteLength);
  putFrameHeader(bytes, GOAWAY_PREFIX_BYTES + text.byteLength, FrameType.goaway, 0, 0);
  bytes.fill(0xff, FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + GOAWAY_PREFIX_BYTES);
  bytes.set(text, FRAME_HEADER_BYTES + GOAWAY_PREFIX_BYTES);
  return bytes;
}

/** What a peer says in its GOAWAY, fit for a log line; empty when it says nothing. */
export function decodeGoaway(payload: Uint8Array): string {
  const text = payload.subarray(GOAWAY_PREFIX_BYTES, GOAWAY_PREFIX_BYTES + MAX_REASON_BYTES);
  return new TextDecoder().decode(text).replaceAll(CONTROL, "?").trim();
}

/**
 * Cuts a byte stream into frames, however the bytes were chunked on the way.
 *
 * A plain DATA frame that arrives in pieces is yielded piece by piece, each as a frame of its own,
 * the last one with the flags: its borders mean nothing, and joining them would copy every byte
 * once more. All others are whole.
 */
export class FrameDecoder {
  readonly #limits: FrameLimits;
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);
  #headerLength = 0;
  /** Payload bytes of the current frame, and how many of them are still to come. */
  #length = 0;
  #missing = 0;
  /** The payload so far of a frame that must be whole; its own memory, so no slab is pinned. */
  #payload: Uint8Array | undefined;

  constructor(limits: FrameLimits) {
    this.#limits = limits;
  }

  /** @throws ProtocolError on a header nobody may send; its message is the reason to tell the peer */
  *decode(chunk: Uint8Array): Generator<Frame, void, void> {
    let at = 0;
    while (at < chunk.byteLength) {
      if (this.#headerLength < FRAME_HEADER_BYTES) {
        const part = chunk.subarray(at, at + FRAME_HEADER_BYTES - this.#headerLength);
        this.#header.set(part, this.#headerLength);
        this.#headerLength += part.byteLength;
        at += part.byteLength;
        if (this.#headerLength < FRAME_HEADER_BYTES) return;
        this.#length = this.#view.getUint32(0) >>> 8;
        this.#missing = this.#length;
        this.#check();
        if (this.#missing > 0 && at === chunk.byteLength) return;
      }
      const part = chunk.subarray(at, at + this.#missing);
      at += part.byteLength;
      const frame = this.#take(part);
      if (frame !== undefined) yield frame;
    }
  }

  /** Whether the bytes so far end between two frames. */
  get isBetweenFrames(): boolean {
    return this.#headerLength === 0;
  }

  /** The reference's order and words. Spec: vproxy 3.4. */
  #check(): void {
    const type = this.#view.getInt8(3);
    const streamId = this.#view.getInt32(5);
    if (!TUNNEL_TYPES.has(type)) throw new ProtocolError(`invalid frame type: ${type}`);
    if (type === FrameType.headers && this.#length > 0) {
      const text = `invalid frame type with payload len: type=${type}, len=${this.#length}`;
      throw new ProtocolError(text);
    }
    if (streamId < 0) throw new ProtocolError(`invalid streamId: ${streamId}`);
    // DEVIATION(vproxy): it takes whatever three bytes can say, and buffers all of it.
    const limit = type === FrameType.data ? this.#limits.maxFrameBytes : MAX_CONTROL_BYTES;
    if (this.#length > limit) {
      throw new ProtocolError(`frame of ${this.#length} bytes exceeds ${limit}`);
    }
  }

  /** @returns a frame, or `undefined` while one that must be whole is not */
  #take(part: Uint8Array): Frame | undefined {
    const type = this.#view.getUint8(3);
    const flags = this.#view.getUint8(4);
    const streamId = this.#view.getUint32(5);
    const mayBeCut = type === FrameType.data && (flags & FrameFlag.gzip) === 0;
    const isComplete = part.byteLength === this.#missing;
    let payload = part;
    if (!mayBeCut && (this.#payload !== undefined || !isComplete)) {
      this.#payload ??= new Uint8Array(this.#length);
      this.#payload.set(part, this.#length - this.#missing);
      payload = this.#payload;
    }
    this.#missing -= part.byteLength;
    if (isComplete) {
      this.#headerLength = 0;
      this.#payload = undefined;
      return { type, flags, streamId, payload };
    }
    return mayBeCut ? { type, flags: 0, streamId, payload } : undefined;
  }
}

/** The one-line log form of a frame, without its payload. */
export function describeFrame({ type, flags, streamId, payload }: Frame): string {
  const name = FRAME_NAMES[type] ?? `type ${type}`;
  const bits = flags === 0 ? "" : ` flags ${flags}`;
  return `${name}${bits} stream ${streamId} ${payload.byteLength} bytes`;
}

function putFrameHeader(
  bytes: Uint8Array,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  bytes[0] = length >>> 16;
  bytes[1] = (length >>> 8) & 0xff;
  bytes[2] = length & 0xff;
  bytes[3] = type;
  bytes[4] = flags;
  bytes[5] = streamId >>> 24;
  bytes[6] = (streamId >>> 16) & 0xff;
  bytes[7] = (streamId >>> 8) & 0xff;
  bytes[8] = streamId & 0xff;
}

const FRAME_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(FrameType).map(([name, type]) => [type, name]),
);

/** SETTINGS is not among them: it is the handshake, and over before. */
const TUNNEL_TYPES: ReadonlySet<number> = new Set([
  FrameType.data,
  FrameType.headers,
  FrameType.ping,
  FrameType.goaway,
]);

/** In front of every payload. */
export const FRAME_HEADER_BYTES = 9;

/** What KcpTun itself sends at most, and therefore surely takes. Spec: vproxy 3.2. */
export const MAX_SENT_PAYLOAD: number = 16 * 1024;

/** PING has 8 bytes and GOAWAY a sentence. */
const MAX_CONTROL_BYTES: number = 16 * 1024;

/** Last stream id and error code, which nobody uses. */
const GOAWAY_PREFIX_BYTES = 8;

/** Enough for a reason, and not enough for a novel in our log. */
const MAX_REASON_BYTES = 300;

/** Below this a copy behind the header is cheaper than one more entry in the gathered write. */
const COPY_BYTES = 1024;

/** Control characters, and those that turn the direction of a line around or break it. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
