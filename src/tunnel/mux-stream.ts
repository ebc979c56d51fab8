import { PolicyError, type TunnelError } from "../errors.ts";
import type { Timer } from "../clock/clock.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "./connection.ts";
import { Inbox } from "./inbox.ts";
import type { Runtime } from "./runtime.ts";

/** What a stream asks of the link it lives on. */
export interface StreamLink {
  readonly runtime: Runtime;
  /** How many bytes the stream may send now. */
  writable(streamId: number): number;
  /** @returns false when the link has enough for now: `drained` follows */
  write(streamId: number, data: Uint8Array): boolean;
  finish(streamId: number): void;
  close(streamId: number): void;
  reset(streamId: number, cause: TunnelError): void;
  /** The stream's owner took bytes out of its inbox. */
  taken(stream: MuxStream, byteLength: number): void;
}

/** One stream of a multiplexed link as a {@link Connection}. Made and fed by its `MuxDriver` only. */
export class MuxStream implements Connection {
  readonly id: number;
  readonly info: ConnectionInfo;
  readonly #link: StreamLink;
  readonly #inbox: Inbox;
  /** What the window had no room for; at most what the owner wrote before it heard `false`. */
  #outbox: Uint8Array[] = [];
  #outboxBytes = 0;
  #state: "open" | "finishing" | "finished" | "closing" | "closed" = "open";
  #needsDrain = false;
  #flushTimer: Timer | undefined;

  constructor(id: number, info: ConnectionInfo, link: StreamLink) {
    this.id = id;
    this.info = info;
    this.#link = link;
    this.#inbox = new Inbox((byteLength) => this.#link.taken(this, byteLength));
  }

  get pendingBytes(): number {
    return this.#outboxBytes;
  }

  /** Bytes that arrived and that the owner did not take yet. */
  get queuedBytes(): number {
    return this.#inbox.queuedBytes;
  }

  attach(handler: ConnectionHandler): void {
    this.#inbox.attach(handler);
  }

  detach(): void {
    this.#inbox.detach();
  }

  pause(): void {
    this.#inbox.pause();
  }

  resume(): void {
    this.#inbox.resume();
  }

  unshift(chunk: Uint8Array): void {
    this.#inbox.unshift(chunk);
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#state !== "open") return true;
    for (const chunk of chunks) {
      if (chunk.byteLength === 0) continue;
      this.#outbox.push(chunk);
      this.#outboxBytes += chunk.byteLength;
    }
    const isLinkReady = this.#flush();
    // Never back to false here: whoever heard "no" before waits for the drain.
    if (!isLinkReady || this.#outboxBytes > 0) this.#needsDrain = true;
    return !this.#needsDrain;
  }

  finish(): void {
    if (this.#state !== "open") return;
    this.#state = "finishing";
    this.#flush();
  }

  close(): void {
    const before = this.#state;
    if (before === "closing") return;
    if (before !== "closed") this.#state = "closing";
    this.#inbox.discard(); // also when the id is gone, and the reader was still behind
    if (before === "closed") return;
    if (before === "finished") this.#link.close(this.id);
    else this.#flush();
  }

  reset(cause: TunnelError): void {
    if (this.#state === "closed") {
      // It ended in order, but what waits for its reader is not wanted.
      const { queuedBytes } = this.#inbox;
      this.#inbox.close(cause);
      if (queuedBytes > 0) this.#link.taken(this, queuedBytes);
      return;
    }
    this.closed(cause);
    this.#link.reset(this.id, cause);
  }

  // ---- from the driver ----

  /** Data of the peer. */
  deliver(data: Uint8Array): void {
    this.#inbox.deliver(data);
  }

  /** The peer half-closed. */
  ended(): void {
    this.#inbox.end();
  }

  /** The window or the link has room again. */
  drained(): void {
    if (this.#state === "closed") return;
    const isLinkReady = this.#flush();
    if (!this.#needsDrain || !isLinkReady || this.#outboxBytes > 0) return;
    this.#needsDrain = false;
    this.#inbox.drained();
  }

  /** The id is gone. */
  closed(error: TunnelError | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#flushTimer?.cancel();
    this.#outbox = [];
    this.#outboxBytes = 0;
    if (error === undefined) this.#inbox.end();
    this.#inbox.close(error);
  }

  /** Sends as much as the window takes, then the end if one is due. @returns whether the link has room */
  #flush(): boolean {
    let isLinkReady = true;
    while (this.#outboxBytes > 0) {
      const room = this.#link.writable(this.id);
      if (room <= 0) break;
      const first = this.#outbox.shift();
      if (first === undefined) break;
      const part = first.byteLength <= room ? first : first.subarray(0, room);
      if (part !== first) this.#outbox.unshift(first.subarray(room));
      this.#outboxBytes -= part.byteLength;
      isLinkReady = this.#link.write(this.id, part) && isLinkReady;
      // Whoever waits for our last bytes must keep taking them.
      if (this.#flushTimer !== undefined) this.#armFlushTimer();
    }
    if (this.#outboxBytes === 0) this.#sendEnd();
    else if (this.#state === "closing" && this.#flushTimer === undefined) this.#armFlushTimer();
    return isLinkReady;
  }

  #sendEnd(): void {
    if (this.#state === "finishing") {
      this.#state = "finished";
      this.#link.finish(this.id);
    } else if (this.#state === "closing") {
      this.#flushTimer?.cancel();
      this.#link.close(this.id);
    }
  }

  #armFlushTimer(): void {
    this.#flushTimer?.cancel();
    this.#flushTimer = this.#link.runtime.clock.schedule(FLUSH_STALL_MS, () => {
      const text = `stream's last ${this.#outboxBytes} bytes were not taken for ${FLUSH_STALL_MS} ms`;
      this.reset(new PolicyError("ERR_SLOW_READER", text));
    });
  }
}

/** How long a closed stream waits for the peer to take more of what was written before. */
const FLUSH_STALL_MS = 30_000;
