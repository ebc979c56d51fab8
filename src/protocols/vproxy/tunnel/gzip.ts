import { constants, gunzipSync, gzipSync } from "node:zlib";
import { ProtocolError } from "../../../errors.ts";

/**
 * The plain form of a compressed payload, which is a gzip member of its own.
 *
 * @throws ProtocolError when it is none, or would become more than `maxBytes`; its message is the
 *   reason to tell the peer
 */
export function inflate(payload: Uint8Array, maxBytes: number): Uint8Array {
  try {
    return gunzipSync(payload, { maxOutputLength: Math.max(1, maxBytes) });
  } catch (cause) {
    throw new ProtocolError("decompress data failed", { cause });
  }
}

/** The compressed form of a payload; `undefined` when it is too short, or does not become shorter. */
export function deflate(payload: Uint8Array): Uint8Array | undefined {
  if (payload.byteLength <= MIN_DEFLATED_BYTES) return undefined;
  const small = gzipSync(payload, { level: constants.Z_BEST_SPEED });
  return small.byteLength < payload.byteLength ? small : undefined;
}

/** The reference compresses what is longer. Spec: vproxy 3.3. */
const MIN_DEFLATED_BYTES = 1024;
