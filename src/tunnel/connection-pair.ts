import { NetworkError, type TunnelError } from "../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "./connection.ts";
import { Inbox } from "./inbox.ts";
import type { Runtime } from "./runtime.ts";

/** How the two ends of a pair describe themselves. */
export interface ConnectionPairOptions {
  /** @default "memory" */
  readonly transport?: string | undefined;
  /** What the first end calls `local` and the second `peer`, then the other way round. */
  readonly names?: readonly [string, string] | undefined;
}

/**
 * Two connections joined in memory: what one writes, the other hears, in a later turn.
 *
 * Backpressure counts what the other end has not taken yet. Half-close, close and reset behave as
 * over TCP, except that the other end of a reset learns its very cause.
 */
export function connectionPair(
  runtime: Runtime,
  { transport = "memory", names: [a, b] = ["a", "b"] }: ConnectionPairOptions = {},
): [Connection, Connection] {
  const first = new PairEnd(runtime, { transport, local: a, peer: b });
  const second = new PairEnd(runtime, { transport, local: b, peer: a });
  first.join(second);
  second.join(first);
  return [first, second];
}

class PairEnd implements Connection {
  readonly info: ConnectionInfo;
  readonly #runtime: Runtime;
  readonly #inbox: Inbox;
  #peer: PairEnd = this;
  #batch: Uint8Array[] = [];
  #flush: NodeJS.Immediate | undefined;
  /** Written here and not yet taken by the peer's handler. */
  #pendingBytes = 0;
  #needsDrain = false;
  /** Our sending side: `finishing` until the flush that carries the end. */
  #sending: "open" | "finishing" | "finished" = "open";
  #state: "open" | "closing" | "closed" = "open";
  /** When we closed: what the peer still sends is swallowed, for a bounded time. */
  #closedAt = 0;

  constructor(runtime: Runtime, info: ConnectionInfo) {
    this.#runtime = runtime;
    this.info = info;
    this.#inbox = new Inbox((byteLength) => this.#peer.#onTaken(byteLength));
  }

  join(peer: PairEnd): void {
    this.#peer = peer;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
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
    if (this.#sending !== "open" || this.#state !== "open") return true;
    for (const chunk of chunks) {
      if (chunk.byteLength === 0) continue;
      this.#batch.push(chunk);
      this.#pendingBytes += chunk.byteLength;
    }
    this.#schedule();
    // Never back to false here: whoever heard "no" before waits for the drain.
    if (this.#pendingBytes >= HIGH_MARK_BYTES) this.#needsDrain = true;
    return !this.#needsDrain;
  }

  finish(): void {
    if (this.#sending !== "open" || this.#state === "closed") return;
    this.#sending = "finishing";
    this.#schedule();
  }

  close(): void {
    if (this.#state !== "open") return;
    this.finish();
    this.#state = "closing";
    this.#closedAt = this.#runtime.clock.now();
    this.#inbox.discard();
    this.#schedule();
  }

  reset(cause: TunnelError): void {
    // Even when both directions ended in order: whoever resets wants nothing that still waits.
    if (this.#state === "closed") setImmediate(() => this.#inbox.close(cause));
    this.#end(cause);
    this.#peer.#end(cause);
  }

  #schedule(): void {
    this.#flush ??= setImmediate(() => this.#carry());
  }

  /** Moves what was written in the last turn, and the end behind it, to the peer. */
  #carry(): void {
    this.#flush = undefined;
    const batch = this.#batch;
    this.#batch = [];
    for (const chunk of batch) {
      if (this.#sending === "finished") return; // the receiver of the last chunk ended it all
      this.#peer.#receive(chunk);
    }
    if (this.#sending === "finishing") {
      this.#sending = "finished";
      this.#peer.#inbox.end();
    }
    const peer = this.#peer;
    const isOver = this.#sending === "finished" && peer.#sending === "finished";
    // Like a socket: once both directions ended, the connection is gone by itself.
    if (isOver) peer.#endInOrder();
    if (isOver || this.#state === "closing") this.#endInOrder();
  }

  #receive(chunk: Uint8Array): void {
    if (this.#state === "open") {
      this.#inbox.deliver(chunk);
      return;
    }
    this.#peer.#onTaken(chunk.byteLength);
    if (this.#runtime.clock.now() - this.#closedAt < LINGER_MS) return;
    const text = `${this.info.transport} ${this.info.local}: closed, and more was written`;
    this.#peer.reset(new NetworkError("ERR_CONNECTION_RESET", text));
  }

  #onTaken(byteLength: number): void {
    this.#pendingBytes = Math.max(0, this.#pendingBytes - byteLength);
    if (!this.#needsDrain || this.#pendingBytes > LOW_MARK_BYTES) return;
    this.#needsDrain = false;
    // A turn later: the taker is in the middle of its own work.
    setImmediate(() => this.#inbox.drained());
  }

  #endInOrder(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#inbox.close(undefined);
  }

  #end(cause: TunnelError): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#sending = "finished";
    this.#batch = [];
    this.#pendingBytes = 0;
    if (this.#flush !== undefined) clearImmediate(this.#flush);
    setImmediate(() => this.#inbox.close(cause));
  }
}

/** The same marks as a socket's. */
const HIGH_MARK_BYTES = 256 * 1024;
const LOW_MARK_BYTES = HIGH_MARK_BYTES / 4;

/** How long a closed end swallows what still comes, before it resets the sender. */
const LINGER_MS = 5_000;
