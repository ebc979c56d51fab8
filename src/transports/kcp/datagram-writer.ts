import { type Command, SEGMENT_HEADER_BYTES, type SegmentHeader, writeHeader } from "./segment.ts";

/** Packs segments into as few datagrams as fit. */
export class DatagramWriter {
  readonly #mtuBytes: number;
  readonly #header: { -readonly [Field in keyof SegmentHeader]: SegmentHeader[Field] };
  #datagrams: Uint8Array[] = [];
  #open: Uint8Array | undefined;
  #filled = 0;

  constructor(conv: number, mtuBytes: number) {
    this.#mtuBytes = mtuBytes;
    this.#header = {
      conv,
      command: 0,
      fragment: 0,
      window: 0,
      timestamp: 0,
      sequence: 0,
      unacknowledged: 0,
      length: 0,
    };
  }

  /** What every segment from now on says about the receiving side. */
  announce(window: number, unacknowledged: number): void {
    this.#header.window = window;
    this.#header.unacknowledged = unacknowledged;
  }

  /** Adds one segment; the payload is copied. */
  add(command: Command, timestamp: number, sequence: number, data: Uint8Array): void {
    const byteLength = SEGMENT_HEADER_BYTES + data.byteLength;
    if (this.#open !== undefined && this.#filled + byteLength > this.#mtuBytes) this.#finish();
    this.#open ??= Buffer.allocUnsafe(Math.max(this.#mtuBytes, byteLength));
    const header = this.#header;
    header.command = command;
    header.timestamp = timestamp;
    header.sequence = sequence;
    header.length = data.byteLength;
    writeHeader(this.#open, this.#filled, header);
    if (data.byteLength > 0) this.#open.set(data, this.#filled + SEGMENT_HEADER_BYTES);
    this.#filled += byteLength;
  }

  /** All datagrams since the last call. */
  take(): readonly Uint8Array[] {
    this.#finish();
    if (this.#datagrams.length === 0) return NONE;
    const taken = this.#datagrams;
    this.#datagrams = [];
    return taken;
  }

  #finish(): void {
    if (this.#open === undefined) return;
    this.#datagrams.push(this.#open.subarray(0, this.#filled));
    this.#open = undefined;
    this.#filled = 0;
  }
}

const NONE: readonly Uint8Array[] = [];
