/** Bytes that were written and did not leave yet. Segments are cut only when they leave. */
export class SendQueue {
  #chunks: Uint8Array[] = [];
  /** The first chunk that still has bytes, and how many of them are gone. */
  #index = 0;
  #offset = 0;
  #byteLength = 0;

  get byteLength(): number {
    return this.#byteLength;
  }

  /** Appends bytes; they are given. */
  push(data: Uint8Array): void {
    if (data.byteLength === 0) return;
    this.#chunks.push(data);
    this.#byteLength += data.byteLength;
  }

  /** Takes up to `limit` bytes: a view when they lie in one chunk, a copy otherwise. */
  cut(limit: number): Uint8Array {
    const wanted = Math.min(limit, this.#byteLength);
    const chunk = this.#chunks[this.#index];
    // A view of a few bytes would keep the whole chunk alive until they are acknowledged.
    if (chunk !== undefined && wanted === limit && chunk.byteLength - this.#offset >= wanted) {
      const view = chunk.subarray(this.#offset, this.#offset + wanted);
      this.#skip(chunk, wanted);
      return view;
    }
    return this.#gather(wanted);
  }

  #gather(wanted: number): Uint8Array {
    const gathered = new Uint8Array(wanted);
    let filled = 0;
    while (filled < wanted) {
      const chunk = this.#chunks[this.#index];
      if (chunk === undefined) break;
      const part = chunk.subarray(this.#offset, this.#offset + wanted - filled);
      gathered.set(part, filled);
      filled += part.byteLength;
      this.#skip(chunk, part.byteLength);
    }
    return gathered;
  }

  #skip(chunk: Uint8Array, byteLength: number): void {
    this.#byteLength -= byteLength;
    this.#offset += byteLength;
    if (this.#offset < chunk.byteLength) return;
    this.#offset = 0;
    this.#chunks[this.#index++] = EMPTY;
    if (this.#index === this.#chunks.length) {
      this.#chunks = [];
      this.#index = 0;
    } else if (this.#index >= COMPACT_CHUNKS && this.#index * 2 > this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#index);
      this.#index = 0;
    }
  }
}

const EMPTY = new Uint8Array(0);

/** Used up entries that are worth a move of the others. */
const COMPACT_CHUNKS = 64;
