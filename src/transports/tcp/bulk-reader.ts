import type { OnReadOpts } from "node:net";
import type { SlabPool } from "../../bytes/slab-pool.ts";
import type { Inbox } from "../../tunnel/inbox.ts";

/**
 * Reads a socket through Node's `onread`: small reads are copied out of one shared buffer, bulk
 * reads go into pooled slabs without a copy. An idle socket owns no buffer.
 */
export class BulkReader {
  readonly #slabs: SlabPool;
  #inbox: Inbox | undefined;
  #slab: Uint8Array | undefined;

  constructor(slabs: SlabPool) {
    this.#slabs = slabs;
  }

  /** Where the bytes go. Bytes cannot arrive before: the socket was just made. */
  bind(inbox: Inbox): void {
    this.#inbox = inbox;
  }

  /** The option for `net.connect` and `new net.Socket`. */
  get onread(): OnReadOpts {
    return {
      buffer: () => this.#slab ?? this.#slabs.scratch,
      callback: (byteLength, buffer) => this.#onRead(byteLength, buffer),
    };
  }

  /** Gives the slab back after the socket closed. */
  release(): void {
    if (this.#slab !== undefined) this.#slabs.give(this.#slab);
    this.#slab = undefined;
  }

  /** @returns false to stop reading until `resume` */
  #onRead(byteLength: number, buffer: Uint8Array): boolean {
    const inbox = this.#inbox;
    if (inbox === undefined) return false;
    const slab = this.#slab;
    const isBulk = byteLength >= BULK_BYTES;
    let chunk: Uint8Array;
    if (slab !== undefined && isBulk) {
      chunk = this.#slabs.lend(slab, byteLength);
      this.#slab = this.#slabs.take();
    } else {
      chunk = Buffer.from(buffer.subarray(0, byteLength));
      if (slab === undefined && isBulk) this.#slab = this.#slabs.take();
      if (slab !== undefined && !isBulk) this.release();
    }
    inbox.deliver(chunk);
    return !inbox.isPaused;
  }
}

/** From here on a slab is worth it; below, a copy is cheaper than pinning 256 KiB. */
const BULK_BYTES = 32 * 1024;
