/**
 * Large read buffers that are used again once every byte read into them has been written out.
 *
 * Bytes handed out of a slab are *given*, like all bytes here: keeping them is always safe. A
 * consumer that knows it is done may say so with {@link recycle}; when all bytes of one read came
 * back, the slab is read into again. A slab whose bytes never all come back goes to the garbage
 * collector instead: forgetting costs speed, never correctness. Saying it twice for the same bytes
 * would corrupt data, so only the code that completes a socket write says it, once per chunk.
 */
export class SlabPool {
  /** One buffer for all reads that are copied out at once: idle sockets need none of their own. */
  readonly scratch: Uint8Array;
  readonly #slabBytes: number;
  readonly #maxTaken: number;
  readonly #free: Uint8Array[] = [];
  #taken = 0;
  /** The slab that {@link allocate} cuts from, and how far it is. */
  #cut: { readonly slab: Uint8Array; at: number } | undefined;
  /** Bytes of the last read that are still with a consumer. Weak: a forgotten slab may go. */
  readonly #lent = new WeakMap<ArrayBufferLike, Loan>();

  /** @param maxTaken slabs being read into at one time; past it, readers use {@link scratch} */
  constructor(slabBytes: number = SLAB_BYTES, maxTaken: number = MAX_TAKEN_SLABS) {
    this.#slabBytes = slabBytes;
    this.#maxTaken = maxTaken;
    this.scratch = new Uint8Array(new ArrayBuffer(SCRATCH_BYTES));
  }

  /** An empty slab to read into; `undefined` when too many are taken. */
  take(): Uint8Array | undefined {
    if (this.#taken >= this.#maxTaken) return undefined;
    this.#taken++;
    return this.#free.pop() ?? new Uint8Array(new ArrayBuffer(this.#slabBytes));
  }

  /** Puts back a taken slab that nothing was lent from. */
  give(slab: Uint8Array): void {
    this.#taken--;
    this.#keep(slab);
  }

  /** Hands the first `byteLength` bytes of a taken slab to a consumer. */
  lend(slab: Uint8Array, byteLength: number): Uint8Array {
    this.#taken--;
    this.#lent.set(slab.buffer, { slab, outstanding: byteLength });
    return slab.subarray(0, byteLength);
  }

  /** Memory to write a message into, with anything in it; lent from the start. */
  allocate(byteLength: number): Uint8Array {
    if (byteLength > this.#slabBytes / 4) return new Uint8Array(byteLength);
    if (this.#cut === undefined || this.#cut.at + byteLength > this.#slabBytes) {
      this.#cut = this.#nextCut();
    }
    const { slab, at } = this.#cut;
    this.#cut.at += byteLength;
    return slab.subarray(at, at + byteLength);
  }

  /** Says that `byteLength` bytes of the memory behind `bytes` will not be read again. */
  recycle(bytes: Uint8Array, byteLength: number = bytes.byteLength): void {
    const loan = this.#lent.get(bytes.buffer);
    if (loan === undefined) return;
    loan.outstanding -= byteLength;
    if (loan.outstanding > 0) return;
    this.#lent.delete(bytes.buffer);
    this.#keep(loan.slab);
  }

  /** Ends the slab that is cut from, whose rest nobody got, and begins the next. */
  #nextCut(): { readonly slab: Uint8Array; at: number } {
    if (this.#cut !== undefined) this.recycle(this.#cut.slab, this.#slabBytes - this.#cut.at);
    const slab = this.#free.pop() ?? new Uint8Array(new ArrayBuffer(this.#slabBytes));
    this.#lent.set(slab.buffer, { slab, outstanding: this.#slabBytes });
    return { slab, at: 0 };
  }

  #keep(slab: Uint8Array): void {
    if (this.#free.length < MAX_FREE_SLABS) this.#free.push(slab);
  }
}

interface Loan {
  readonly slab: Uint8Array;
  outstanding: number;
}

/** Larger reads more than double a relay's throughput; past 256 KiB the gain ends. */
export const SLAB_BYTES: number = 256 * 1024;

/** A read that fills it is bulk, and the next one goes into a slab. */
const SCRATCH_BYTES = 64 * 1024;

/** 16 MiB of free slabs at most. */
const MAX_FREE_SLABS = 64;

/** 32 MiB being read into at most. */
const MAX_TAKEN_SLABS = 128;
