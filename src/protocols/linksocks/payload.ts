import { constants, gunzipSync, gzipSync } from "node:zlib";
import { ProtocolError } from "../../errors.ts";
import { encodeData } from "./codec.ts";
import type { Memory } from "./memory.ts";
import { Compression, type DataTcp, type DataUdp, type DataUnknown } from "./messages.ts";

/**
 * The payload as it was before compression. Spec: linksocks 1.8.
 *
 * @throws ProtocolError when it is no gzip, or grows beyond `maxBytes`
 */
export function inflate(data: DataTcp | DataUdp | DataUnknown, maxBytes: number): Uint8Array {
  if (data.compression !== Compression.gzip) return data.payload;
  try {
    const plain = gunzipSync(data.payload, { maxOutputLength: maxBytes });
    return new Uint8Array(plain.buffer, plain.byteOffset, plain.byteLength);
  } catch (cause) {
    const isBomb = cause instanceof RangeError;
    const what = isBomb ? `inflates to more than ${maxBytes} bytes` : "is no gzip";
    throw new ProtocolError(`payload of ${data.payload.byteLength} bytes ${what}`, { cause });
  }
}

/** How TCP data is cut into messages. */
export interface PayloadOptions {
  readonly pieceBytes: number;
  readonly compressFromBytes: number;
  readonly memory: Memory;
}

/**
 * Data messages for `data`: pieces of at most `pieceBytes`, or larger ones where those are
 * compressed and that saves a tenth.
 */
export function* splitPayload(
  header: Uint8Array,
  data: Uint8Array,
  options: PayloadOptions,
): Generator<Uint8Array> {
  const { pieceBytes, compressFromBytes, memory } = options;
  let plainUntil = 0;
  for (let at = 0; at < data.byteLength; ) {
    if (at >= plainUntil && data.byteLength - at >= compressFromBytes) {
      const whole = data.subarray(at, at + Math.max(pieceBytes, compressFromBytes));
      const payload = gzipSync(whole, { level: constants.Z_BEST_SPEED });
      if (payload.byteLength <= whole.byteLength * WORTH) {
        yield encodeData(header, { compression: Compression.gzip, payload }, memory);
        at += whole.byteLength;
        continue;
      }
      plainUntil = at + whole.byteLength; // not tried again before
    }
    const payload = data.subarray(at, at + pieceBytes);
    yield encodeData(header, { compression: Compression.none, payload }, memory);
    at += payload.byteLength;
  }
}

/** Compressed bytes for each plain one, at most, for it to be worth the peer's time. */
const WORTH = 0.9;
