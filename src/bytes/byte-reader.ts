import { ProtocolError } from "../errors.ts";

/** A parser that reads top to bottom like its specification, and yields when it needs bytes. */
export type Parser<Result> = Generator<void, Result, void>;

/**
 * Bytes for a linear handshake, however they were chunked on the way.
 *
 * Whoever drives the parser pushes chunks and steps it; see `tunnel/handshake.ts`.
 */
export class ByteReader {
  #chunks: Uint8Array[] = [];
  #length = 0;
  #isEnded = false;

  /** Bytes that arrived and were not read yet. */
  get length(): number {
    return this.#length;
  }

  push(chunk: Uint8Array): void {
    if (chunk.byteLength === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.byteLength;
  }

  /** The peer half-closed: a read that still lacks bytes now fails. */
  end(): void {
    this.#isEnded = true;
  }

  /**
   * Exactly `count` bytes.
   *
   * @throws ProtocolError when the stream ends before
   */
  *read(count: number): Parser<Uint8Array> {
    yield* this.#need(count);
    return this.#take(count);
  }

  /** One byte. */
  *readByte(): Parser<number> {
    const [byte = 0] = yield* this.read(1);
    return byte;
  }

  /** The next `count` bytes, left in place; all there are when the stream ended before. */
  *peek(count: number): Parser<Uint8Array> {
    while (this.#length < count && !this.#isEnded) yield;
    return this.#flat().subarray(0, count);
  }

  /**
   * The bytes before the next `delimiter` byte, which is consumed and not returned.
   *
   * @throws ProtocolError when `limit` bytes hold no delimiter, or the stream ends before
   */
  *readUntil(delimiter: number, limit: number): Parser<Uint8Array> {
    for (;;) {
      const bytes = this.#flat();
      const at = bytes.subarray(0, limit + 1).indexOf(delimiter);
      if (at >= 0) {
        const found = this.#take(at);
        this.#take(1);
        return found;
      }
      if (bytes.byteLength > limit) throw new ProtocolError(`field exceeds ${limit} bytes`);
      if (this.#isEnded) throw cutShort(1, 0);
      yield;
    }
  }

  /** Everything unread, for the next layer. The reader is empty afterwards. */
  rest(): Uint8Array {
    return this.#take(this.#length);
  }

  *#need(count: number): Parser<void> {
    while (this.#length < count) {
      if (this.#isEnded) throw cutShort(count, this.#length);
      yield;
    }
  }

  #flat(): Uint8Array {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? EMPTY;
  }

  #take(count: number): Uint8Array {
    const bytes = this.#flat();
    const taken = bytes.subarray(0, count);
    const left = bytes.subarray(count);
    this.#chunks = left.byteLength === 0 ? [] : [left];
    this.#length = left.byteLength;
    return taken;
  }
}

function cutShort(wanted: number, got: number): ProtocolError {
  return new ProtocolError(`ended after ${got} of ${wanted} bytes`);
}

const EMPTY = new Uint8Array(0);
