import type { TunnelError } from "../errors.ts";
import type { ConnectionHandler } from "./connection.ts";

/**
 * The receiving half that every connection shares: the handler, the pause, and what arrived
 * meanwhile. Order is always data, end, close; only a close with an error jumps the queue.
 */
export class Inbox {
  #handler: ConnectionHandler | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #isPaused = true;
  #end: "open" | "ended" | "reported" = "open";
  #close: { readonly error: TunnelError | undefined } | undefined;
  #isClosed = false;
  #isDiscarding = false;
  /** Bytes that were put back: the handler takes them a second time. */
  #returnedBytes = 0;
  readonly #onTaken: ((byteLength: number) => void) | undefined;

  /** @param onTaken hears how many bytes the handler took, as it takes them */
  constructor(onTaken?: (byteLength: number) => void) {
    this.#onTaken = onTaken;
  }

  /** Bytes that arrived and wait for the handler. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Whether the close was reported: nothing will ever be delivered again. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  attach(handler: ConnectionHandler): void {
    this.#handler = handler;
    // The former owner heard of the end and of the close; this one has not.
    if (this.#end === "reported" && !this.#isDiscarding) this.#end = "ended";
    this.#isClosed = false;
    this.#drain();
  }

  detach(): void {
    this.#handler = undefined;
    this.pause();
    this.#isClosed = false; // the next owner will hear of it
  }

  pause(): void {
    // What is dropped anyway must go on coming, or the end behind it never would.
    this.#isPaused = !this.#isDiscarding;
  }

  resume(): void {
    this.#isPaused = false;
    this.#drain();
  }

  unshift(chunk: Uint8Array): void {
    if (chunk.byteLength === 0 || this.#isClosed || this.#isDiscarding) return;
    this.#returnedBytes += chunk.byteLength;
    this.#queue.unshift(chunk);
    this.#queuedBytes += chunk.byteLength;
    this.#drain();
  }

  deliver(chunk: Uint8Array): void {
    if (chunk.byteLength === 0 || this.#isClosed) return;
    if (this.#isDiscarding) {
      this.#onTaken?.(chunk.byteLength);
      return;
    }
    if (this.#isPaused || this.#handler === undefined || this.#queue.length > 0) {
      this.#queue.push(chunk);
      this.#queuedBytes += chunk.byteLength;
      return;
    }
    this.#take(chunk, this.#handler);
  }

  end(): void {
    if (this.#end !== "open") return;
    this.#end = "ended";
    this.#drain();
  }

  close(error: TunnelError | undefined): void {
    // A graceful close that still waits for its reader can be overtaken by a hard one.
    if (this.#close !== undefined && (error === undefined || this.#isClosed)) return;
    this.#close = { error };
    if (error !== undefined) this.#queue = [];
    if (error !== undefined) this.#queuedBytes = 0;
    this.#drain();
  }

  /** Nobody will read any more: data is dropped as it comes, and only the close is reported. */
  discard(): void {
    this.#isDiscarding = true;
    this.#isPaused = false;
    this.#end = "reported";
    const dropped = this.#queuedBytes - Math.min(this.#returnedBytes, this.#queuedBytes);
    this.#queue = [];
    this.#queuedBytes = 0;
    if (dropped > 0) this.#onTaken?.(dropped);
    this.#drain();
  }

  drained(): void {
    if (!this.#isClosed && !this.#isDiscarding) this.#handler?.onDrain();
  }

  #take(chunk: Uint8Array, handler: ConnectionHandler): void {
    const again = Math.min(this.#returnedBytes, chunk.byteLength);
    this.#returnedBytes -= again;
    const { byteLength } = chunk; // the handler owns the chunk from here
    handler.onData(chunk);
    // Behind the data: whoever hears it may deliver more in the same breath.
    if (byteLength > again) this.#onTaken?.(byteLength - again);
  }

  #drain(): void {
    while (!this.#isPaused && this.#handler !== undefined) {
      const chunk = this.#queue.shift();
      if (chunk === undefined) break;
      this.#queuedBytes -= chunk.byteLength;
      this.#take(chunk, this.#handler);
    }
    if (this.#canReportEnd()) {
      this.#end = "reported";
      this.#handler?.onEnd();
    }
    // Asked anew: the end may have made the owner detach, pause, or put bytes back.
    if (this.#handler === undefined || this.#close === undefined || !this.#canReportClose()) return;
    this.#isClosed = true;
    this.#handler.onClose(this.#close.error);
  }

  #canReportEnd(): boolean {
    if (this.#handler === undefined || this.#isClosed || this.#isPaused) return false;
    return this.#end === "ended" && this.#queue.length === 0 && this.#close?.error === undefined;
  }

  /** A graceful close waits for a paused reader; a hard one does not. */
  #canReportClose(): boolean {
    if (this.#isClosed) return false;
    return this.#close?.error !== undefined || (this.#queue.length === 0 && this.#end !== "ended");
  }
}
