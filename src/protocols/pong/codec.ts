import type { ByteReader, Parser } from "../../bytes/byte-reader.ts";
import { ProtocolError } from "../../errors.ts";

/** Frame types, in the order of the specification. */
export const FrameType = {
  data: 0x00,
  connect: 0x01,
  bind: 0x02,
  associate: 0x03,
  relay: 0x05,
  set: 0x06,
  finish: 0x07,
  close: 0x08,
  rst: 0x09,
} as const;

/**
 * Pong frames: `length u16be | streamId u32be | type u8 | payload`; the length counts all of it.
 *
 * Spec: pong 1.2, 1.3. Reference: pong-go `proxy/pong/pong.go`, `readFrame` and `writeFrame`.
 */
export interface Frame {
  /** Unsigned 32-bit; odd when the local side opened the stream, 0 for the connection itself. */
  readonly streamId: number;
  /** Raw type octet: unknown values survive decoding, the session judges them. */
  readonly type: number;
  /** At most {@link MAX_PAYLOAD} bytes. After decoding it may share memory with the received chunk. */
  readonly payload: Uint8Array;
}

/** The connection header: version octet and the 16 raw bytes of the client id. Spec: pong 1.1. */
export interface Header {
  readonly version: number;
  readonly clientId: Uint8Array;
}

/** `version u8 | clientId 16 bytes`. */
export function encodeHeader(clientId: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  bytes.set(clientId, 1);
  return bytes;
}

/** Reads the connection header; the version is for the caller to judge. */
export function* parseHeader(reader: ByteReader): Parser<Header> {
  const bytes = yield* reader.read(HEADER_BYTES);
  return { version: bytes[0] ?? 0, clientId: bytes.slice(1) };
}

/** One frame for a gathered write; a large payload stays uncopied. */
export function encodeFrame({ streamId, type, payload }: Frame): Uint8Array[] {
  const length = FRAME_HEADER_BYTES + payload.byteLength;
  if (payload.byteLength > COPY_BYTES) {
    const header = new Uint8Array(FRAME_HEADER_BYTES);
    putFrameHeader(header, length, streamId, type);
    return [header, payload];
  }
  const bytes = new Uint8Array(length);
  putFrameHeader(bytes, length, streamId, type);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return [bytes];
}

/**
 * DATA frames for `data`, cut into payloads of at most `maxPayload` bytes.
 *
 * @param minTail a last payload shorter than this borrows from the one before, because pong-go
 *   HEAD drops reads of 30 bytes or less
 */
export function encodeData(
  streamId: number,
  data: Uint8Array,
  maxPayload: number,
  minTail: number = 0,
): Uint8Array[] {
  if (data.byteLength <= COPY_BYTES) {
    return encodeFrame({ streamId, type: FrameType.data, payload: data });
  }
  const frames: Uint8Array[] = [];
  const count = Math.ceil(data.byteLength / maxPayload);
  const headers = new Uint8Array(count * FRAME_HEADER_BYTES);
  let at = 0;
  for (let index = 0; index < count; index++) {
    let length = Math.min(maxPayload, data.byteLength - at);
    const tail = data.byteLength - at - length;
    if (tail > 0 && tail < minTail) length -= minTail - tail;
    const header = headers.subarray(index * FRAME_HEADER_BYTES, (index + 1) * FRAME_HEADER_BYTES);
    putFrameHeader(header, FRAME_HEADER_BYTES + length, streamId, FrameType.data);
    frames.push(header, data.subarray(at, at + length));
    at += length;
  }
  return frames;
}

/**
 * Cuts a byte stream into frames, however the bytes were chunked on the way.
 *
 * A DATA frame that arrives in pieces is yielded piece by piece, each as a frame of its own: its
 * borders mean nothing, and joining them would copy every byte once more. All others are whole.
 */
export class FrameDecoder {
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerLength = 0;
  /** Payload bytes of the current frame still to come. */
  #missing = 0;
  /** The payload so far of a frame that must be whole; its own memory, so no slab is pinned. */
  #payload: Uint8Array | undefined;

  /** @throws ProtocolError on a length below the header's own size */
  *decode(chunk: Uint8Array): Generator<Frame, void, void> {
    let at = 0;
    while (at < chunk.byteLength) {
      if (this.#headerLength < FRAME_HEADER_BYTES) {
        const part = chunk.subarray(at, at + FRAME_HEADER_BYTES - this.#headerLength);
        this.#header.set(part, this.#headerLength);
        this.#headerLength += part.byteLength;
        at += part.byteLength;
        if (this.#headerLength < FRAME_HEADER_BYTES) return;
        this.#missing = this.#payloadBytes();
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

  #payloadBytes(): number {
    const length = ((this.#header[0] ?? 0) << 8) | (this.#header[1] ?? 0);
    // DEVIATION(pong-go): it underflows here and goes deaf; nobody sends this.
    if (length < FRAME_HEADER_BYTES) {
      throw new ProtocolError(`pong frame length ${length} is below ${FRAME_HEADER_BYTES}`);
    }
    return length - FRAME_HEADER_BYTES;
  }

  /** @returns a frame, or `undefined` while one that must be whole is not */
  #take(part: Uint8Array): Frame | undefined {
    const view = new DataView(this.#header.buffer);
    const streamId = view.getUint32(2);
    const type = view.getUint8(6);
    const isComplete = part.byteLength === this.#missing;
    let payload = part;
    if (type !== FrameType.data && (this.#payload !== undefined || !isComplete)) {
      this.#payload ??= new Uint8Array(this.#payloadBytes());
      this.#payload.set(part, this.#payload.byteLength - this.#missing);
      payload = this.#payload;
    }
    this.#missing -= part.byteLength;
    if (isComplete) {
      this.#headerLength = 0;
      this.#payload = undefined;
    } else if (type !== FrameType.data) {
      return undefined;
    }
    return { streamId, type, payload };
  }
}

/** The one-line log form of a frame, without its payload. */
export function describeFrame({ streamId, type, payload }: Frame): string {
  return `${FRAME_NAMES[type] ?? `type ${type}`} stream ${streamId} ${payload.byteLength} bytes`;
}

function putFrameHeader(bytes: Uint8Array, length: number, streamId: number, type: number): void {
  bytes[0] = length >> 8;
  bytes[1] = length & 0xff;
  bytes[2] = streamId >>> 24;
  bytes[3] = (streamId >>> 16) & 0xff;
  bytes[4] = (streamId >>> 8) & 0xff;
  bytes[5] = streamId & 0xff;
  bytes[6] = type;
}

const FRAME_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(FrameType).map(([name, type]) => [type, name]),
);

/** The connection header: version and client id. */
export const HEADER_BYTES = 17;

/** Length, stream id and type in front of every payload. */
export const FRAME_HEADER_BYTES = 7;

/** What a u16 length leaves for the payload. */
export const MAX_PAYLOAD: number = 0xffff - FRAME_HEADER_BYTES;

/** The largest payload pong-go itself sends: safe for every receiver. Spec: pong 1.6. */
export const REFERENCE_PAYLOAD = 8096;

/** pong-go HEAD drops reads shorter than this. Spec: pong 1.6. */
export const REFERENCE_MIN_PAYLOAD = 31;

/** Below this a copy behind the header is cheaper than one more entry in the gathered write. */
const COPY_BYTES = 1024;
