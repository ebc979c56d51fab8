import type { HandshakeMessage } from "./handshake-messages.ts";
import { u16, u24 } from "./wire.ts";

/** A piece of a handshake message, mostly the whole. */
export interface Fragment {
  readonly type: number;
  readonly seq: number;
  /** Bytes of the whole message's body. */
  readonly messageBytes: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Of the fragment with its header. */
  readonly byteLength: number;
}

/** The fragment `payload` begins with; `undefined` when it is none. */
export function readFragment(payload: Uint8Array): Fragment | undefined {
  if (payload.byteLength < MESSAGE_HEADER_BYTES) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const messageBytes = view.getUint32(0) & 0xff_ffff;
  const offset = view.getUint32(5) & 0xff_ffff;
  const length = view.getUint32(8) & 0xff_ffff;
  const byteLength = MESSAGE_HEADER_BYTES + length;
  if (byteLength > payload.byteLength || offset + length > messageBytes) return undefined;
  return {
    type: view.getUint8(0),
    seq: view.getUint16(4),
    messageBytes,
    offset,
    bytes: payload.subarray(MESSAGE_HEADER_BYTES, byteLength),
    byteLength,
  };
}

/** `message` in fragments whose bodies have at most `maxBytes`, at least one. */
export function* fragmentsOf(message: HandshakeMessage, maxBytes: number): Generator<Uint8Array> {
  const { type, seq, body } = message;
  let offset = 0;
  do {
    const part = body.subarray(offset, offset + maxBytes);
    yield Buffer.concat([
      Uint8Array.of(type),
      u24(body.byteLength),
      u16(seq),
      u24(offset),
      u24(part.byteLength),
      part,
    ]);
    offset += part.byteLength;
  } while (offset < body.byteLength);
}

interface Partial {
  readonly type: number;
  readonly body: Uint8Array;
  /** Ranges received, in order, apart from each other. */
  ranges: readonly Range[];
}

interface Range {
  readonly from: number;
  readonly to: number;
}

/** What became of a fragment. */
export type Reassembled = "kept" | "repeated" | "dropped";

/**
 * Puts fragments together and hands messages on in order. Nothing in it is authenticated: it keeps
 * eight messages ahead at most and 64 KiB of them, and a message that two fragments disagree about
 * begins anew with the later one.
 */
export class Reassembler {
  readonly #messages = new Map<number, Partial>();
  #nextSeq: number;
  #keptBytes = 0;

  constructor(nextSeq: number) {
    this.#nextSeq = nextSeq;
  }

  /** Number of the message that is handed on next. */
  get nextSeq(): number {
    return this.#nextSeq;
  }

  /** "repeated": its message was handed on already. */
  push({ type, seq, messageBytes, offset, bytes }: Fragment): Reassembled {
    if (seq < this.#nextSeq) return "repeated";
    if (seq >= this.#nextSeq + MAX_AHEAD || messageBytes > MAX_MESSAGE_BYTES) return "dropped";
    let message = this.#messages.get(seq);
    if (
      message !== undefined &&
      (message.type !== type || message.body.byteLength !== messageBytes)
    ) {
      this.#forget(seq, message);
      message = undefined;
    }
    if (message === undefined) {
      if (this.#keptBytes + messageBytes > MAX_KEPT_BYTES) return "dropped";
      message = { type, body: new Uint8Array(messageBytes), ranges: [] };
      this.#keptBytes += messageBytes;
      this.#messages.set(seq, message);
    }
    const ranges = joined(message.ranges, { from: offset, to: offset + bytes.byteLength });
    if (ranges.length > MAX_RANGES) return "dropped";
    message.body.set(bytes, offset);
    message.ranges = ranges;
    return "kept";
  }

  /** The next message, when it is whole. */
  take(): HandshakeMessage | undefined {
    const seq = this.#nextSeq;
    const message = this.#messages.get(seq);
    if (message === undefined) return undefined;
    const [first] = message.ranges;
    if (first === undefined || first.from > 0 || first.to < message.body.byteLength) {
      return undefined;
    }
    this.#forget(seq, message);
    this.#nextSeq += 1;
    return { type: message.type, seq, body: message.body };
  }

  #forget(seq: number, message: Partial): void {
    this.#messages.delete(seq);
    this.#keptBytes -= message.body.byteLength;
  }
}

/** `ranges` with `added`: those that touch become one. */
function joined(ranges: readonly Range[], added: Range): Range[] {
  const apart = ranges.filter(({ from, to }) => to < added.from || from > added.to);
  const touching = ranges.filter(({ from, to }) => to >= added.from && from <= added.to);
  const from = Math.min(added.from, ...touching.map((range) => range.from));
  const to = Math.max(added.to, ...touching.map((range) => range.to));
  return [...apart, { from, to }].toSorted((one, other) => one.from - other.from);
}

/** Whether the end of a message's body is in this fragment. */
export function isLast({ offset, bytes, messageBytes }: Fragment): boolean {
  return offset + bytes.byteLength === messageBytes;
}

/** Bytes before a fragment's body. */
export const MESSAGE_HEADER_BYTES = 12;

/** A chain of a few certificates; 10 times what GoDoxy's need. */
const MAX_MESSAGE_BYTES = 32_768;
const MAX_KEPT_BYTES = 65_536;
/** Messages of the longest flight, and some. */
const MAX_AHEAD = 8;
/** Holes in one message: 32 KiB in datagrams of 500 bytes that arrive in the worst order. */
const MAX_RANGES = 64;
