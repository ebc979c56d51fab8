import type { Duplex } from "node:stream";
import type { Timer } from "../clock/clock.ts";
import { NetworkError, systemCode, TunnelError } from "../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "./connection.ts";
import { Inbox } from "./inbox.ts";
import type { Runtime } from "./runtime.ts";
import { TurnFlush } from "./turn-flush.ts";

/** How a {@link DuplexConnection} differs from its stream's usual behaviour. */
export interface DuplexConnectionOptions {
  readonly info: ConnectionInfo;
  readonly runtime: Runtime;
  /**
   * Takes the inbox when the bytes do not come as `data` events (see `transports/tcp`): called
   * once; the returned function starts reading again after a pause.
   */
  readonly source?: ((inbox: Inbox) => () => void) | undefined;
  /** Ends the stream hard. @default `duplex.destroy()` */
  readonly destroy?: (() => void) | undefined;
  /** Puts a failure of the stream into better words than its bare code; `undefined`: it cannot. */
  readonly explain?: ((cause: Error) => TunnelError | undefined) | undefined;
}

/**
 * A {@link Connection} over any Node duplex: TCP and Unix sockets, TLS, stdin with stdout.
 *
 * Writes of one event leave as one gathered write, those of later events of a turn as another; the memory of written chunks is recycled.
 */
export class DuplexConnection implements Connection {
  readonly info: ConnectionInfo;
  readonly #duplex: Duplex;
  readonly #runtime: Runtime;
  readonly #inbox = new Inbox();
  readonly #resumeSource: () => void;
  readonly #destroy: () => void;
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  /** Batches given to the stream, oldest first; each ends with one `#onWritten`. */
  readonly #inFlight: Uint8Array[][] = [];
  #inFlightBytes = 0;
  readonly #flush: TurnFlush;
  #state: "open" | "finished" | "closed" = "open";
  #needsDrain = false;
  #error: TunnelError | undefined;
  #linger: Timer | undefined;

  constructor(duplex: Duplex, options: DuplexConnectionOptions) {
    this.info = options.info;
    this.#duplex = duplex;
    this.#runtime = options.runtime;
    this.#flush = new TurnFlush(options.runtime.clock, () => this.#writeBatch());
    this.#destroy = options.destroy ?? (() => void duplex.destroy());
    if (options.source === undefined) {
      duplex.on("data", (chunk: Uint8Array) => {
        this.#inbox.deliver(chunk);
        if (this.#inbox.isPaused) duplex.pause();
      });
      duplex.pause();
      this.#resumeSource = () => void duplex.resume();
    } else {
      this.#resumeSource = options.source(this.#inbox);
    }
    duplex.on("end", () => this.#inbox.end());
    duplex.on("error", (cause) => {
      this.#error ??= options.explain?.(cause) ?? connectionError(cause, this.info);
      duplex.destroy(); // TLS goes on after an alert, and would never close
    });
    duplex.on("close", () => this.#onClosed());
    if (duplex.destroyed) setImmediate(() => this.#onClosed());
  }

  get pendingBytes(): number {
    return this.#batchBytes + this.#inFlightBytes;
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
    if (!this.#inbox.isPaused) this.#resumeSource();
  }

  unshift(chunk: Uint8Array): void {
    this.#inbox.unshift(chunk);
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#state !== "open") return true;
    for (const chunk of chunks) {
      if (chunk.byteLength === 0) continue;
      this.#batch.push(chunk);
      this.#batchBytes += chunk.byteLength;
    }
    if (this.#batchBytes >= FLUSH_BYTES) this.#writeBatch();
    else if (this.#batchBytes > 0) this.#flush.soon();
    // Never back to false here: whoever heard "no" before waits for the drain.
    if (this.pendingBytes >= HIGH_MARK_BYTES) this.#needsDrain = true;
    return !this.#needsDrain;
  }

  finish(): void {
    if (this.#state !== "open") return;
    this.#writeBatch();
    this.#state = "finished";
    this.#duplex.end();
  }

  close(): void {
    if (this.#state === "closed") {
      this.#inbox.discard(); // it ended in order before, and its reader was behind
      return;
    }
    this.finish();
    this.#state = "closed";
    if (this.#duplex.destroyed) return;
    // Destroying with unread bytes would make the kernel send RST and cut off what we wrote, so
    // read to the end, for a bounded time.
    this.#inbox.discard();
    this.resume();
    this.#lingerOn(0, this.pendingBytes);
  }

  reset(cause: TunnelError): void {
    if (this.#duplex.destroyed) {
      // Maybe it ended in order, but what waits for its reader is not wanted.
      this.#inbox.close(this.#error ?? cause);
      return;
    }
    this.#error ??= cause;
    this.#state = "closed";
    this.#dropBatch();
    this.#destroy();
  }

  /** Waits for the peer's end; longer while it still has to take what was written. */
  #lingerOn(stalledMs: number, pendingBefore: number): void {
    this.#linger = this.#runtime.clock.schedule(LINGER_MS, () => {
      const pending = this.pendingBytes;
      const stalled = pending === pendingBefore ? stalledMs + LINGER_MS : 0;
      if (pending === 0) this.#duplex.destroy();
      // A cut answer must look cut.
      else if (stalled >= FLUSH_STALL_MS) this.#destroy();
      else this.#lingerOn(stalled, pending);
    });
  }

  #writeBatch(): void {
    const batch = this.#batch;
    const last = batch.length - 1;
    if (last < 0 || this.#duplex.destroyed) return;
    this.#inFlight.push(batch);
    this.#inFlightBytes += this.#batchBytes;
    this.#batch = [];
    this.#batchBytes = 0;
    if (last > 0) this.#duplex.cork();
    for (let at = 0; at < last; at++) this.#duplex.write(batch[at]);
    this.#duplex.write(batch[last], this.#onWritten);
    if (last > 0) this.#duplex.uncork();
  }

  readonly #onWritten = (): void => {
    for (const chunk of this.#inFlight.shift() ?? []) {
      this.#inFlightBytes -= chunk.byteLength;
      this.#runtime.slabs.recycle(chunk);
    }
    if (!this.#needsDrain || this.pendingBytes > LOW_MARK_BYTES) return;
    this.#needsDrain = false;
    this.#inbox.drained();
  };

  #dropBatch(): void {
    this.#batch = [];
    this.#batchBytes = 0;
  }

  #onClosed(): void {
    this.#state = "closed";
    this.#linger?.cancel();
    this.#dropBatch();
    this.#inbox.close(this.#error);
  }
}

function connectionError(cause: unknown, info: ConnectionInfo): TunnelError {
  if (cause instanceof TunnelError) return cause;
  const what = systemCode(cause) ?? (cause instanceof Error ? cause.message : String(cause));
  return new NetworkError("ERR_CONNECTION_RESET", `${info.transport} ${info.peer}: ${what}`, {
    cause,
  });
}

/** Past this, a batch does not wait for the end of the turn. */
const FLUSH_BYTES = 64 * 1024;

/** One large read in the kernel's hands and one behind it keep a socket busy. */
const HIGH_MARK_BYTES = 256 * 1024;
const LOW_MARK_BYTES = HIGH_MARK_BYTES / 4;

/** How long a closed connection waits for the other end's own end. */
const LINGER_MS = 5_000;

/** How long the flush of a closed connection may make no progress. */
const FLUSH_STALL_MS = 60_000;
