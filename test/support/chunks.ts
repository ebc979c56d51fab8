/**
 * Cuts bytes into copies of the sizes drawn from `sizes`, the last one shorter; empty chunks are
 * drawn too. Take `sizes` from `fc.infiniteStream(fc.nat(20))`.
 */
export function* randomChunks(bytes: Uint8Array, sizes: Iterable<number>): Generator<Uint8Array> {
  let offset = 0;
  let emptyInARow = 0;
  for (const size of sizes) {
    if (offset >= bytes.byteLength) return;
    // A stream that shrank to nothing but zeros must still end.
    emptyInARow = size === 0 ? emptyInARow + 1 : 0;
    const length = emptyInARow > MAX_EMPTY_IN_A_ROW ? 1 : size;
    yield bytes.slice(offset, offset + length);
    offset += length;
  }
  if (offset < bytes.byteLength) yield bytes.slice(offset);
}

/** One chunk per byte: the chunking that finds most. */
export function* singleBytes(bytes: Uint8Array): Generator<Uint8Array> {
  for (let offset = 0; offset < bytes.byteLength; offset++) yield bytes.slice(offset, offset + 1);
}

/** Deterministic bytes that never repeat in a short period: misplaced blocks show. */
export function patternBytes(byteLength: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  for (let at = 0; at < byteLength; at++) {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state & 0xff;
  }
  return bytes;
}

const MAX_EMPTY_IN_A_ROW = 8;
