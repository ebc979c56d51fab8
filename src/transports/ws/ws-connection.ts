import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { Timer } from "../../clock/clock.ts";
import { NetworkError, type TunnelError } from "../../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "../../tunnel/connection.ts";
import { Inbox } from "../../tunnel/inbox.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { TurnFlush } from "../../tunnel/turn-flush.ts";
import { resetDuplex } from "../tls/raw-socket.ts";
import { closeError, socketError } from "./close-error.ts";

/** What a {@link WsConnection} is made of. */
export interface WsConnectionOptions {
  /** What the WebSocket runs on: corked around each batch. */
  readonly socket: Duplex;
  readonly info: ConnectionInfo;
  readonly runtime: Runtime;
  /** Quiet time before a WebSocket ping; twice that without any answer ends it; 0: off. @default 15000 */
  readonly keepaliveMs?: number | undefined;
  /** @default "stream" */
  readonly framing?: WsFraming | undefined;
  /** Sends a pong nobody asked for this often, ms: some peers count nothing else as a sign of life. */
  readonly pongMs?: number | undefined;
}

/**
 * What message borders mean. `stream`: nothing, messages are binary. `messages`: each chunk written
 * leaves as one binary message, each message received, text or binary, is one chunk.
 */
export type WsFraming = "stream" | "messages";

/**
 * A byte channel, or one of messages, over a WebSocket.
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
  readonly #framing: WsFraming;
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #inFlightBytes = 0;
  readonly #flush: TurnFlush;
  #state: "open" | "finished" | "closed" = "open";
  #needsDrain = false;
  #error: TunnelError | undefined;
  /** What the socket below failed with; `ws` swallows it. */
  #socketError: TunnelError | undefined;
  #linger: Timer | undefined;
  #keepalive: Timer | undefined;
  #pong: Timer | undefined;
  #lastHeardAt: number;

  constructor(ws: WebSocket, options: WsConnectionOptions) {
    this.info = options.info;
    this.#ws = ws;
    this.#socket = options.socket;
    this.#runtime = options.runtime;
    this.#flush = new TurnFlush(options.runtime.clock, () => this.#sendBatch());
    this.#keepaliveMs = options.keepaliveMs ?? DEFAULT_KEEPALIVE_MS;
    this.#framing = options.framing ?? "stream";
    this.#lastHeardAt = options.runtime.clock.now();
    ws.binaryType = "fragments";
    ws.pause();
    ws.on("message", (data: Buffer[] | Buffer, isBinary: boolean) =>
      this.#onMessage(data, isBinary),
    );
    ws.on("error", (cause) => {
      const text = `${this.info.transport} ${this.info.peer}: ${cause.message}`;
      this.#error ??= new NetworkError("ERR_CONNECTION_RESET", text, { cause });
      // It told the peer why; to wait for the peer's answer is of no use.
      setImmediate(() => ws.terminate());
    });
    ws.on("close", (code, reason) => this.#onClosed(code, reason));
    // Half a message is a sign of life too.
    options.socket.on("data", () => this.#heard());
    options.socket.on("error", (cause) => {
      this.#socketError ??= socketError(cause, this.info);
    });
    this.#armKeepalive();
    if (options.pongMs !== undefined) this.#armPong(options.pongMs);
  }

  get pendingBytes(): number {
    return this.#batchBytes + this.#inFlightBytes;
  }

  attach(handler: ConnectionHandler): void {
    this.#inbox.attach(handler);
  }

  detach(): void {
    this.#inbox.detach();
    this.#pauseSource();
  }

  pause(): void {
    this.#inbox.pause();
    this.#pauseSource();
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
    else if (this.#batchBytes > 0) this.#flush.soon();
    // Never back to false here: whoever heard "no" before waits for the drain.
    if (this.pendingBytes >= HIGH_MARK_BYTES) this.#needsDrain = true;
    return !this.#needsDrain;
  }

  finish(): void {
    if (this.#state !== "open") return;
    this.#sendBatch();
    this.#state = "finished";
    this.#ws.close(NORMAL_CLOSURE);
    this.#lingerOn(0, this.pendingBytes);
  }

  close(): void {
    if (this.#state === "closed") {
      this.#inbox.discard(); // it ended in order before, and its reader was behind
      return;
    }
    this.finish();
    this.#state = "closed";
    this.#inbox.discard();
    this.#ws.resume();
  }

  reset(cause: TunnelError): void {
    if (this.#ws.readyState === this.#ws.CLOSED) {
      this.#inbox.close(cause); // it ended in order, but what waits for its reader is not wanted
      return;
    }
    this.#error ??= cause;
    this.#state = "closed";
    this.#dropBatch();
    resetDuplex(this.#socket);
  }

  #pauseSource(): void {
    if (this.#inbox.isPaused) this.#ws.pause();
  }

  /** Waits for the peer's close frame; longer while it still has to take what was written. */
  #lingerOn(stalledMs: number, pendingBefore: number): void {
    this.#linger = this.#runtime.clock.schedule(LINGER_MS, () => {
      const pending = this.pendingBytes;
      const stalled = pending === pendingBefore ? stalledMs + LINGER_MS : 0;
      if (pending === 0) this.#ws.terminate();
      // A cut answer must look cut.
      else if (stalled >= FLUSH_STALL_MS) resetDuplex(this.#socket);
      else this.#lingerOn(stalled, pending);
    });
  }

  /**
   * What was written leaves as fragments of few messages: nothing is joined by copying, and no
   * message exceeds what any peer takes.
   */
  #sendBatch(): void {
    const batch = this.#batch;
    const bytes = this.#batchBytes;
    if (bytes === 0 || this.#ws.readyState !== this.#ws.OPEN) return;
    this.#batch = [];
    this.#batchBytes = 0;
    this.#inFlightBytes += bytes;
    const onSent = (): void => this.#onSent(batch, bytes);
    this.#socket.cork();
    if (this.#framing === "messages") this.#sendMessages(batch, onSent);
    else this.#sendFragments(batch, onSent);
    this.#socket.uncork();
  }

  #sendMessages(batch: readonly Uint8Array[], onSent: () => void): void {
    const options = { binary: true, compress: false, fin: true };
    const last = batch.length - 1;
    for (const [index, chunk] of batch.entries()) {
      if (index === last) this.#ws.send(chunk, options, onSent);
      else this.#ws.send(chunk, options);
    }
  }

  #sendFragments(batch: readonly Uint8Array[], onSent: () => void): void {
    const last = batch.length - 1;
    let messageBytes = 0;
    let fragments = 0;
    for (const [index, chunk] of batch.entries()) {
      for (let at = 0; at < chunk.byteLength; at += FRAGMENT_BYTES) {
        const isWhole = chunk.byteLength <= FRAGMENT_BYTES;
        const part = isWhole ? chunk : chunk.subarray(at, at + FRAGMENT_BYTES);
        const isLast = index === last && at + FRAGMENT_BYTES >= chunk.byteLength;
        messageBytes += part.byteLength;
        fragments++;
        const isFull = messageBytes >= MESSAGE_BYTES || fragments >= MESSAGE_FRAGMENTS;
        const options = { binary: true, compress: false, fin: isLast || isFull };
        if (isFull) messageBytes = fragments = 0;
        if (isLast) this.#ws.send(part, options, onSent);
        else this.#ws.send(part, options);
      }
    }
  }

  #onSent(batch: readonly Uint8Array[], bytes: number): void {
    this.#inFlightBytes -= bytes;
    for (const chunk of batch) this.#runtime.slabs.recycle(chunk);
    if (!this.#needsDrain || this.pendingBytes > LOW_MARK_BYTES) return;
    this.#needsDrain = false;
    this.#inbox.drained();
  }

  #onMessage(fragments: readonly Buffer[] | Buffer, isBinary: boolean): void {
    // A text message comes whole, whatever `binaryType` says.
    if (this.#framing === "messages") {
      this.#inbox.deliver(Buffer.isBuffer(fragments) ? fragments : joined(fragments));
      return;
    }
    if (!isBinary || Buffer.isBuffer(fragments)) {
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

  #armPong(everyMs: number): void {
    this.#pong = this.#runtime.clock.schedule(everyMs, () => {
      if (this.#ws.readyState === this.#ws.OPEN) this.#ws.pong();
      this.#armPong(everyMs);
    });
  }

  #dropBatch(): void {
    this.#batch = [];
    this.#batchBytes = 0;
  }

  #onClosed(code: number, reason: Uint8Array): void {
    this.#state = "closed";
    this.#error ??= closeError(this.#ws, code, { reason, info: this.info }, this.#socketError);
    this.#linger?.cancel();
    this.#keepalive?.cancel();
    this.#pong?.cancel();
    this.#dropBatch();
    if (this.#error === undefined) this.#inbox.end();
    this.#inbox.close(this.#error);
  }
}

function joined(fragments: readonly Buffer[]): Buffer {
  const [only] = fragments;
  return only !== undefined && fragments.length === 1 ? only : Buffer.concat(fragments);
}

/** Options for `ws`, which its types lack: it leaves the wait for a close frame to us. */
export const OWN_CLOSE: { readonly closeTimeout: number } = { closeTimeout: 2 ** 31 - 1 };

/**
 * How many pings a peer may send before the answers to them left; past it the link is ended. The
 * library's own bound of 60 is too low for LinkSocks, whose server pings in front of every request.
 */
export const PINGS: { readonly maxPendingAutoPongs: number } = { maxPendingAutoPongs: 4096 };

/** The largest message taken: what LinkSocks allows, and more than any other peer has reason for. */
export function maxMessageBytes(framing: WsFraming = "stream"): number {
  return (framing === "messages" ? 32 : 16) * 1024 * 1024;
}

const NORMAL_CLOSURE = 1000;

/** A batch this large does not wait for the end of the turn. */
const FLUSH_BYTES = 64 * 1024;
/**
 * The receiver copies a fragment that spans two of its reads (64 KiB, inside TLS 16 KiB) and hands on
 * the others as they are: of small ones few are copied. pong-go's client cuts at the same size.
 */
const FRAGMENT_BYTES = 4 * 1024;
/** Messages are cut behind this much: some peers bound them at a megabyte. */
const MESSAGE_BYTES = 256 * 1024;
/** And behind so many fragments: `ws` takes 16384. */
const MESSAGE_FRAGMENTS = 1024;
const HIGH_MARK_BYTES = 256 * 1024;
const LOW_MARK_BYTES = HIGH_MARK_BYTES / 4;

/** How long a finished WebSocket waits for the peer's close frame. */
const LINGER_MS = 5000;

/** How long the flush of a closed WebSocket may make no progress. */
const FLUSH_STALL_MS = 60_000;

const DEFAULT_KEEPALIVE_MS = 15_000;
