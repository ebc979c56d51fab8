import type { Timer } from "../../clock/clock.ts";
import { NetworkError, type TunnelError } from "../../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "../../tunnel/connection.ts";
import { Inbox } from "../../tunnel/inbox.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { TurnFlush } from "../../tunnel/turn-flush.ts";
import type { KcpSession, KcpStep } from "./kcp-session.ts";

/** What a {@link KcpConnection} is made of. */
export interface KcpConnectionOptions {
  readonly session: KcpSession;
  readonly info: ConnectionInfo;
  readonly runtime: Runtime;
  /** Bytes the session keeps in flight at most: writers wait for more than that. */
  readonly windowBytes: number;
  /** Sends datagrams to the peer; the bytes are given. Never called without any. */
  readonly send: (datagrams: readonly Uint8Array[]) => void;
  /** Nothing is sent or received any more: the socket, or the place in a table, is free. Once. */
  readonly onOver: () => void;
  /** The peer acknowledged something: it is where its datagrams say it is. Once. */
  readonly onAcknowledged?: (() => void) | undefined;
  /** The first bytes are about to be delivered: time to find an owner. Once. */
  readonly onFirstData?: (() => void) | undefined;
}

/**
 * A {@link Connection} over one KCP session.
 *
 * What one turn of the event loop brings is received together and answered together: one flush, and
 * so one datagram for many acknowledgements. One timer at most, none while nothing is on its way.
 *
 * KCP knows neither end nor half-close. `close` waits until everything was acknowledged, within
 * bounds, and is silent then; `reset` is silent at once; `finish` goes on reading while the peer
 * speaks. What must look like an end to the peer is for the protocol above to say.
 */
export class KcpConnection implements Connection {
  readonly info: ConnectionInfo;
  readonly #options: KcpConnectionOptions;
  readonly #session: KcpSession;
  readonly #inbox = new Inbox();
  readonly #flush: TurnFlush;
  readonly #highMarkBytes: number;
  /** Datagrams of this turn of the event loop. */
  #arrived: Uint8Array[] = [];
  /** What the session put in order and the inbox has not seen. */
  #ordered: Uint8Array[] = [];
  /** Written and not given to the session yet. */
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #writtenBytes = 0;
  #isInTurn = false;
  #state: "open" | "finished" | "closing" | "closed" = "open";
  #needsDrain = false;
  #wasAcknowledged = false;
  #hadData = false;
  #heardAt: number | undefined;
  /** Since when the network says that the peer cannot be reached, and the peer says nothing. */
  #unreachable: { readonly since: number; readonly error: NetworkError } | undefined;
  /** The end that was asked for, and how far the flush before it is. */
  #ending: { readonly since: number; movedAt: number; pendingBytes: number } | undefined;
  #timer: { readonly at: number; readonly timer: Timer } | undefined;

  constructor(options: KcpConnectionOptions) {
    this.info = options.info;
    this.#options = options;
    this.#session = options.session;
    this.#highMarkBytes = options.windowBytes + QUEUE_BYTES;
    this.#flush = new TurnFlush(options.runtime.clock, this.#turn);
  }

  get pendingBytes(): number {
    return this.#batchBytes + this.#session.unacknowledgedBytes;
  }

  /** When the peer's last datagram came; `undefined` before the first. */
  get heardAt(): number | undefined {
    return this.#heardAt;
  }

  /** A datagram of the peer's address arrived; the bytes are given. */
  receive(datagram: Uint8Array): void {
    if (this.#state === "closed") return;
    // All that the socket has is read before immediates run: this is the turn's batch.
    if (this.#arrived.push(datagram) === 1) setImmediate(this.#turn);
  }

  /**
   * The network says that the peer cannot be reached. Before the peer said anything that is the
   * end; afterwards only if the peer goes on saying nothing, for anybody may have forged it.
   */
  networkFailed(error: NetworkError): void {
    if (this.#heardAt === undefined) this.reset(error);
    else if (!this.#isOver()) this.#unreachable ??= { since: this.#now(), error };
    if (!this.#isInTurn) this.#arm();
  }

  attach(handler: ConnectionHandler): void {
    this.#inbox.attach(handler);
  }

  detach(): void {
    this.#inbox.detach();
    this.#session.pause();
  }

  pause(): void {
    this.#inbox.pause();
    if (this.#inbox.isPaused) this.#session.pause();
  }

  resume(): void {
    this.#inbox.resume();
    this.#resumeSession();
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
    // A turn that is under way sends it at its end.
    if (this.#batchBytes > 0 && !this.#isInTurn) this.#flush.soon();
    // Never back to false here: whoever heard "no" before waits for the drain.
    if (this.pendingBytes >= this.#highMarkBytes) this.#needsDrain = true;
    return !this.#needsDrain;
  }

  finish(): void {
    if (this.#state === "open") this.#endAs("finished");
  }

  close(): void {
    this.#inbox.discard();
    if (this.#state === "closed" || this.#state === "closing") return;
    this.#endAs("closing");
    this.#resumeSession(); // what is dropped must not fill the window
  }

  reset(cause: TunnelError): void {
    this.#over();
    // Whoever resets is in the middle of its own work.
    setImmediate(() => this.#inbox.close(cause));
  }

  #now(): number {
    return this.#options.runtime.clock.now();
  }

  #resumeSession(): void {
    if (this.#inbox.isPaused || this.#state === "closed") return;
    this.#act(this.#session.resume(this.#now()));
    this.#deliver();
    if (!this.#isInTurn) this.#arm();
  }

  #endAs(state: "finished" | "closing"): void {
    this.#state = state;
    const now = this.#now();
    this.#ending = { since: now, movedAt: now, pendingBytes: this.pendingBytes };
    this.#flush.soon();
  }

  /** Everything that is due: what arrived, what was written, what the clock asks for. */
  readonly #turn = (): void => {
    if (this.#state === "closed") return;
    this.#isInTurn = true;
    const now = this.#now();
    if (this.#arrived.length > 0) this.#receiveBatch(now);
    if (this.#batchBytes > 0) this.#sendBatch(now);
    const { deadline } = this.#session;
    if (deadline !== undefined && deadline <= now) this.#act(this.#session.tick(now));
    this.#deliver();
    this.#isInTurn = false;
    this.#look(now);
    this.#arm();
  };

  #receiveBatch(now: number): void {
    const arrived = this.#arrived;
    this.#arrived = [];
    this.#heardAt = now;
    this.#unreachable = undefined;
    for (const datagram of arrived) this.#act(this.#session.receive(datagram, now));
    // Before the flush, so that acknowledgements and answers share datagrams.
    this.#deliver();
  }

  #sendBatch(now: number): void {
    const batch = this.#batch;
    this.#writtenBytes += this.#batchBytes;
    this.#batch = [];
    this.#batchBytes = 0;
    this.#act(this.#session.writeAll(batch, now));
  }

  #act({ datagrams, data, error }: KcpStep): void {
    if (this.#isOver()) return;
    if (datagrams.length > 0) this.#options.send(datagrams);
    for (const chunk of data) this.#ordered.push(chunk);
    if (error === undefined) return;
    this.#over();
    this.#inbox.close(error);
  }

  /** Hands on what is in order; what came in many small datagrams, in few large pieces. */
  #deliver(): void {
    if (!this.#hadData && this.#ordered.length > 0) {
      this.#hadData = true;
      this.#options.onFirstData?.();
    }
    while (this.#ordered.length > 0) {
      const chunks = this.#ordered;
      let count = 0;
      let byteLength = 0;
      while (count < chunks.length && byteLength < JOINED_BYTES) {
        byteLength += chunks[count++]?.byteLength ?? 0;
      }
      // Whoever takes it may resume us, which brings more behind what is left.
      this.#ordered = count === chunks.length ? [] : chunks.slice(count);
      this.#inbox.deliver(this.#joined(chunks, count, byteLength));
    }
    // One turn's worth may wait here; what comes later waits in the session, and the peer with it.
    // Before the first bytes there may be no owner yet who could resume it.
    if (this.#hadData && this.#inbox.isPaused) this.#session.pause();
  }

  #joined(chunks: readonly Uint8Array[], count: number, byteLength: number): Uint8Array {
    const [first] = chunks;
    if (count === 1 && first !== undefined) return first;
    const joined = this.#options.runtime.slabs.allocate(byteLength);
    let at = 0;
    for (let index = 0; index < count; index++) {
      const chunk = chunks[index];
      if (chunk === undefined) break;
      joined.set(chunk, at);
      at += chunk.byteLength;
    }
    return joined;
  }

  /** What a turn may have brought about: room for writers, the end that was asked for. */
  #look(now: number): void {
    if (this.#isOver()) return;
    const pending = this.pendingBytes;
    if (!this.#wasAcknowledged && this.#session.unacknowledgedBytes < this.#writtenBytes) {
      this.#wasAcknowledged = true;
      this.#options.onAcknowledged?.();
    }
    this.#lookAtNetwork(now, pending);
    this.#lookAtEnding(now, pending);
    if (!this.#needsDrain || pending > this.#highMarkBytes - DRAIN_BYTES) return;
    this.#needsDrain = false;
    this.#inbox.drained();
  }

  #lookAtNetwork(now: number, pending: number): void {
    if (this.#unreachable === undefined) return;
    const { since, error } = this.#unreachable;
    if (now - since < UNREACHABLE_MS) return;
    this.#unreachable = undefined;
    // The peer owes nothing: its silence says nothing.
    if (pending > 0) this.#fail(error);
  }

  #lookAtEnding(now: number, pending: number): void {
    const ending = this.#ending;
    if (ending === undefined || this.#isOver()) return;
    if (pending < ending.pendingBytes) {
      ending.pendingBytes = pending;
      ending.movedAt = now;
    }
    if (pending === 0 && this.#state === "closing") this.#endInOrder();
    else if (pending === 0) this.#lookForSilence(now, ending.movedAt);
    else if (now - ending.movedAt >= FLUSH_STALL_MS || now - ending.since >= FLUSH_MS) {
      const { transport, peer } = this.info;
      const ms = Math.round(now - ending.since);
      const text = `${transport} ${peer}: ${pending} bytes not acknowledged ${ms} ms after the end`;
      this.#fail(new NetworkError("ERR_PEER_SILENT", text));
    }
  }

  /** After `finish` the peer cannot know that it was the last to speak. */
  #lookForSilence(now: number, movedAt: number): void {
    const quietSince = Math.max(movedAt, this.#heardAt ?? 0);
    if (now - quietSince >= FINISHED_MS) this.#endInOrder();
  }

  #endInOrder(): void {
    this.#over();
    this.#inbox.end();
    this.#inbox.close(undefined);
  }

  #fail(error: TunnelError): void {
    this.#over();
    this.#inbox.close(error);
  }

  /** Asked as a question, since what we call may end us in between. */
  #isOver(): boolean {
    return this.#state === "closed";
  }

  #over(): void {
    if (this.#isOver()) return;
    this.#state = "closed";
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    this.#arrived = [];
    this.#batch = [];
    this.#batchBytes = 0;
    this.#options.onOver();
  }

  #arm(): void {
    if (this.#isOver()) return;
    const at = earlier(
      earlier(this.#session.deadline, this.#endingDeadline()),
      this.#unreachable && this.#unreachable.since + UNREACHABLE_MS,
    );
    // A timer that is due before that looks again and is cheaper than one that moves.
    if (at === undefined || (this.#timer !== undefined && this.#timer.at <= at)) return;
    this.#timer?.timer.cancel();
    const { clock } = this.#options.runtime;
    const timer = clock.schedule(Math.max(0, Math.ceil(at - clock.now())), () => {
      this.#timer = undefined;
      this.#turn();
    });
    this.#timer = { at, timer };
  }

  #endingDeadline(): number | undefined {
    if (this.#ending === undefined) return undefined;
    const { since, movedAt } = this.#ending;
    if (this.pendingBytes > 0) return Math.min(movedAt + FLUSH_STALL_MS, since + FLUSH_MS);
    return Math.max(movedAt, this.#heardAt ?? 0) + FINISHED_MS;
  }
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return Math.min(a, b);
}

/** What waits behind a full window before a writer is told to wait, and when it is told to go on. */
const QUEUE_BYTES = 256 * 1024;
const DRAIN_BYTES = 192 * 1024;

/** Many small pieces cost the layers above more than one copy. */
const JOINED_BYTES = 48 * 1024;

/** How long a closed connection waits for the next acknowledgement, and for all of them. */
const FLUSH_STALL_MS = 5_000;
const FLUSH_MS = 60_000;

/** How long a finished connection waits for the next word of its peer. */
const FINISHED_MS = 60_000;

/** How long a peer that was heard before may be unreachable. */
const UNREACHABLE_MS = 3_000;
