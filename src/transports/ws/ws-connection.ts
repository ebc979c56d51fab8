import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { Timer } from "../../clock/clock.ts";
import { NetworkError, type TunnelError } from "../../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "../../tunnel/connection.ts";
import { Inbox } from "../../tunnel/inbox.ts";
import type { Runtime } from "../../tunnel/runtime.ts";

/** What a {@link WsConnection} is made of. */
export interface WsConnectionOptions {
  /** What the WebSocket runs on: corked around each batch. */
  readonly socket: Duplex;
  readonly info: ConnectionInfo;
  readonly runtime: Runtime;
  /** Quiet time before a WebSocket ping; twice that without any answer ends it; 0: off. @default 15000 */
  readonly keepaliveMs?: number | undefined;
}

/**
 * A byte channel over binary WebSocket messages, whose borders mean nothing.
 *
 * WebSocket has no half-close: `finish` sends a close frame, after which nothing comes back.
 */
export class WsConnection implements Connection {
  readonly info: ConnectionInfo;
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  readonly #runtime: Runtime;
  readonly #inbox = new Inbox();
  readonly #keepaliveMs: number;
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #inFlightBytes = 0;
  /** Whether the batch leaves at the end of what runs now. */
  #isFlushDue = false;
  #state: "open" | "finished" | "closed" = "open";
  #needsDrain = false;
  #error: TunnelError | undefined;
  #linger: Timer | undefined;
  #keepalive: Timer | undefined;
  #lastHeardAt: number;

  constructor(ws: WebSocket, options: WsConnectionOptions) {
    this.info = options.info;
    this.#ws = ws;
    this.#socket = options.socket;
    this.#runtime = options.runtime;
    this.#keepaliveMs = options.keepaliveMs ?? DEFAULT_KEEPALIVE_MS;
    this.#lastHeardAt = options.runtime.clock.now();
    ws.binaryType = "fragments";
    ws.pause();
    ws.on("message", (data: Buffer[], isBinary: boolean) => this.#onMessage(data, isBinary));
    ws.on("pong", () => this.#heard());
    ws.on("ping", () => this.#heard());
    ws.on("error", (cause) => {
      const text = `${this.info.transport} ${this.info.peer}: ${cause.message}`;
      this.#error ??= new NetworkError("ERR_CONNECTION_RESET", text, { cause });
    });
    ws.on("close", () => this.#onClosed());
    this.#armKeepalive();
  }

  get pendingBytes(): number {
    return this.#batchBytes + this.#inFlightBytes;
  }

  attach(handler: ConnectionHandler): void {
    this.#inbox.attach(handler);
  }

  detach(): void {
    this.#inbox.detach();
    this.#ws.pause();
  }

  pause(): void {
    this.#inbox.pause();
    this.#ws.pause();
  }

  resume(): void {
    this.#inbox.resume();
    if (!this.#inbox.isPaused) this.#ws.resume();
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
    if (this.#batchBytes >= FLUSH_BYTES) this.#sendBatch();
    else if (this.#batchBytes > 0) this.#flushSoon();
    // Never back to false here: whoever heard "no" before waits for the drain.
    if (this.pendingBytes >= HIGH_MARK_BYTES) this.#needsDrain = true;
    return !this.#needsDrain;
  }

  finish(): void {
    if (this.#state !== "open") return;
    this.#sendBatch();
    this.#state = "finished";
    this.#ws.close(NORMAL_CLOSURE);
    this.#linger = this.#runtime.clock.schedule(LINGER_MS, () => this.#ws.terminate());
  }

  close(): void {
    if (this.#state === "closed") return;
    this.finish();
    this.#state = "closed";
    this.#inbox.discard();
    this.#ws.resume();
  }

  reset(cause: TunnelError): void {
    this.#error ??= cause;
    this.#state = "closed";
    this.#dropBatch();
    this.#ws.terminate();
  }

  /** All writes one event causes leave together; waiting for other events would cost latency. */
  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      this.#sendBatch();
    });
  }

  /** One message per turn, of as many fragments as there are chunks: nothing is joined by copying. */
  #sendBatch(): void {
    const batch = this.#batch;
    const bytes = this.#batchBytes;
    if (bytes === 0 || this.#ws.readyState !== this.#ws.OPEN) return;
    this.#batch = [];
    this.#batchBytes = 0;
    this.#inFlightBytes += bytes;
    const onSent = (): void => this.#onSent(batch, bytes);
    this.#socket.cork();
    const last = batch.length - 1;
    for (const [index, chunk] of batch.entries()) {
      let at = 0;
      for (; chunk.byteLength - at > FRAGMENT_BYTES; at += FRAGMENT_BYTES) {
        const part = chunk.subarray(at, at + FRAGMENT_BYTES);
        this.#ws.send(part, { binary: true, compress: false, fin: false });
      }
      const options = { binary: true, compress: false, fin: index === last };
      const rest = at === 0 ? chunk : chunk.subarray(at);
      if (index === last) this.#ws.send(rest, options, onSent);
      else this.#ws.send(rest, options);
    }
    this.#socket.uncork();
  }

  #onSent(batch: readonly Uint8Array[], bytes: number): void {
    this.#inFlightBytes -= bytes;
    for (const chunk of batch) this.#runtime.slabs.recycle(chunk);
    if (!this.#needsDrain || this.pendingBytes > LOW_MARK_BYTES) return;
    this.#needsDrain = false;
    this.#inbox.drained();
  }

  #onMessage(fragments: readonly Buffer[], isBinary: boolean): void {
    this.#lastHeardAt = this.#runtime.clock.now();
    if (!isBinary) {
      const text = `${this.info.peer} sent a text message where only binary ones belong`;
      this.reset(new NetworkError("ERR_PROTOCOL", text));
      return;
    }
    for (const fragment of fragments) this.#inbox.deliver(fragment);
  }

  #heard(): void {
    this.#lastHeardAt = this.#runtime.clock.now();
  }

  #armKeepalive(): void {
    if (this.#keepaliveMs <= 0) return;
    const { clock } = this.#runtime;
    const quietMs = clock.now() - this.#lastHeardAt;
    // While we do not read, silence says nothing about the peer.
    if (this.#inbox.isPaused) this.#lastHeardAt = clock.now();
    else if (quietMs >= 2 * this.#keepaliveMs) {
      const text = `${this.info.peer} said nothing for ${Math.round(quietMs)} ms, not even to our ping`;
      this.reset(new NetworkError("ERR_PEER_SILENT", text));
      return;
    } else if (quietMs >= this.#keepaliveMs && this.#ws.readyState === this.#ws.OPEN) {
      this.#ws.ping();
    }
    const nextAt =
      quietMs >= this.#keepaliveMs
        ? this.#lastHeardAt + 2 * this.#keepaliveMs
        : this.#lastHeardAt + this.#keepaliveMs;
    const waitMs = Math.max(nextAt - clock.now(), 1);
    this.#keepalive = clock.schedule(waitMs, () => this.#armKeepalive());
  }

  #dropBatch(): void {
    this.#batch = [];
    this.#batchBytes = 0;
  }

  #onClosed(): void {
    this.#state = "closed";
    this.#linger?.cancel();
    this.#keepalive?.cancel();
    this.#dropBatch();
    if (this.#error === undefined) this.#inbox.end();
    this.#inbox.close(this.#error);
  }
}

const NORMAL_CLOSURE = 1000;

/** A batch this large does not wait for the end of the turn. */
const FLUSH_BYTES = 64 * 1024;
/**
 * The receiver copies a fragment that spans two of its reads (64 KiB, inside TLS 16 KiB) and hands on
 * the others as they are: of small ones few are copied. pong-go's client cuts at the same size.
 */
const FRAGMENT_BYTES = 4 * 1024;
const HIGH_MARK_BYTES = 256 * 1024;
const LOW_MARK_BYTES = HIGH_MARK_BYTES / 4;

/** How long a finished WebSocket waits for the peer's close frame. */
const LINGER_MS = 5000;

const DEFAULT_KEEPALIVE_MS = 15_000;
