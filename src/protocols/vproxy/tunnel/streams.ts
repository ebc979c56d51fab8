import {
  MisuseError,
  NetworkError,
  PolicyError,
  StreamReset,
  type TunnelError,
} from "../../../errors.ts";
import type { VproxyTunnelLimits } from "./options.ts";
import type { Mark, Outgoing } from "./outgoing.ts";
import { nextState, type StreamSignal, type StreamState } from "./stream-state.ts";
import { StreamTimers } from "./stream-timers.ts";

/** One stream of a tunnel. */
interface VproxyStream {
  readonly id: number;
  state: StreamState;
  /** Whether its owner was told that it may be used. */
  isAccepted: boolean;
  /** Our SYN-ACK; absent at a client. */
  synAck: Mark | undefined;
  /** Our last DATA, or the SYN-ACK before. */
  lastSent: Mark | undefined;
  /** What waits in state `leaving`. */
  farewell: "fin" | "rst";
}

/** The streams of one tunnel: what happens inside each of them. Only `tunnel-session.ts` uses it. */
export class TunnelStreams {
  readonly #limits: VproxyTunnelLimits;
  readonly #out: Outgoing;
  readonly #unsentBytes: () => number;
  readonly #streams = new Map<number, VproxyStream>();
  readonly #timers: StreamTimers;

  constructor(limits: VproxyTunnelLimits, out: Outgoing, unsentBytes: () => number) {
    this.#limits = limits;
    this.#out = out;
    this.#unsentBytes = unsentBytes;
    this.#timers = new StreamTimers(limits);
  }

  get size(): number {
    return this.#streams.size;
  }

  get deadline(): number | undefined {
    return this.#timers.next;
  }

  has(id: number): boolean {
    return this.#streams.has(id);
  }

  /** A stream of ours: says SYN. */
  open(id: number, isEarly: boolean, now: number): void {
    this.#out.syn(id);
    this.#add(id, "synSent", undefined).isAccepted = isEarly;
    this.#timers.awaitSynAck(id, now);
    if (isEarly) this.#out.event({ type: "streamAccepted", streamId: id });
  }

  /** A stream of the peer: answers its SYN at once, as the reference does. */
  take(id: number, now: number): void {
    this.#out.syn(id);
    this.#add(id, "established", this.#out.mark(now));
  }

  /**
   * Too many streams: taken and ended, because KcpTun leaves its application alone with a bare RST.
   * A flood gets no more than that.
   */
  refuse(id: number, now: number): void {
    const { maxStreams } = this.#limits;
    if (this.size >= 2 * maxStreams) {
      this.#out.rst(id);
      return;
    }
    this.take(id, now);
    const text = `more than ${maxStreams} streams on one tunnel`;
    this.reset(id, new PolicyError("ERR_LIMIT", text), now);
  }

  /** The session is over; its owner reports that for all streams at once. */
  clear(): void {
    this.#streams.clear();
    this.#timers.cancelAll();
  }

  /** The tunnel failed while it still has something to say: its streams end before it does. */
  failAll(error: TunnelError): void {
    for (const { id, state } of this.#streams.values()) {
      if (isOwned(state)) this.#out.event({ type: "streamClosed", streamId: id, error });
    }
    this.clear();
  }

  write(id: number, data: Uint8Array, now: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return; // it ended while the bytes were on their way
    if (data.byteLength > this.writable(id)) {
      throw new MisuseError(`write to a stream that has ended here (${stream.state})`);
    }
    this.#out.data(id, data);
    stream.lastSent = this.#out.mark(now);
  }

  finish(id: number, now: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (stream.state === "finReceived") this.#leave(stream, "fin", now);
    else if (this.#move(stream, "sendFin")) this.#out.fin(id);
  }

  close(id: number, now: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (stream.state === "finReceived") {
      this.#leave(stream, "fin", now);
      return;
    }
    const hadFinished = stream.state === "finSent";
    if (!this.#move(stream, "sendClose")) return;
    if (!hadFinished) this.#out.fin(id);
    this.#timers.awaitEnd(id, now);
  }

  reset(id: number, cause: TunnelError, now: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || !isOwned(stream.state)) return;
    this.#leave(stream, "rst", now, cause);
  }

  writable(id: number): number {
    const state = this.#streams.get(id)?.state;
    const isOpen = state === "synSent" || state === "established" || state === "finReceived";
    return isOpen ? Number.POSITIVE_INFINITY : 0;
  }

  tick(now: number): void {
    for (const id of this.#timers.take(now)) {
      const stream = this.#streams.get(id);
      if (stream !== undefined) this.#due(stream, now);
    }
  }

  // ---- frames of the peer, for a stream that lives ----

  onSynAck(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#timers.answered(id);
    if (this.#move(stream, "synAckReceived")) this.#accepted(stream);
  }

  onData(id: number, data: Uint8Array): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || data.byteLength === 0) return;
    switch (stream.state) {
      case "synSent":
      case "established":
      case "finSent":
        this.#out.event({ type: "streamData", streamId: id, data });
        break;
      case "finReceived":
        this.#rst(stream, new StreamReset("ERR_PROTOCOL", "data after FIN", undefined));
        break;
      case "ending":
        // Nobody reads it any more, and the peer would go on for as long as it likes.
        this.#rst(stream, undefined);
        break;
      case "leaving":
      case "dead":
        break;
    }
  }

  onFin(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    const { state } = stream;
    if (state === "synSent") {
      const text = "peer ended the stream before it took it";
      this.#move(stream, "finReceived", new StreamReset("ERR_STREAM_RESET", text, undefined));
    } else if (state === "finReceived") {
      // The reference says FIN again when it closes: what we still write, nobody hears.
      const text = "peer closed the stream and reads no more";
      this.#move(stream, "finReceived", new StreamReset("ERR_STREAM_RESET", text, undefined));
    } else {
      if (state === "established" || state === "finSent") {
        this.#out.event({ type: "streamFinished", streamId: id });
      }
      this.#move(stream, "finReceived");
    }
  }

  onRst(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (stream.state !== "leaving") this.#out.rst(id);
    const text = stream.isAccepted ? "peer reset the stream" : "peer refused the stream";
    this.#move(stream, "rstReceived", new StreamReset("ERR_STREAM_RESET", text, undefined));
  }

  // ---- within ----

  #add(id: number, state: StreamState, synAck: Mark | undefined): VproxyStream {
    const isAccepted = synAck !== undefined;
    const stream: VproxyStream = {
      id,
      state,
      isAccepted,
      synAck,
      lastSent: synAck,
      farewell: "fin",
    };
    this.#streams.set(id, stream);
    return stream;
  }

  #accepted(stream: VproxyStream): void {
    if (stream.isAccepted) return;
    stream.isAccepted = true;
    this.#out.event({ type: "streamAccepted", streamId: stream.id });
  }

  /** The only place that assigns a state; reports the end of the stream to whoever still has it. */
  #move(stream: VproxyStream, signal: StreamSignal, error?: TunnelError): boolean {
    const next = nextState(stream.state, signal);
    if (next === undefined) return false;
    const isNews = isOwned(stream.state) && !isOwned(next);
    stream.state = next;
    const { id: streamId } = stream;
    if (isNews) this.#out.event({ type: "streamClosed", streamId, error });
    if (next === "dead") {
      this.#streams.delete(streamId);
      this.#timers.cancel(streamId);
    }
    return true;
  }

  #rst(stream: VproxyStream, cause: TunnelError | undefined): void {
    this.#out.rst(stream.id);
    this.#move(stream, "sendRst", cause);
  }

  /**
   * Sends the last frame, now or when it cannot arrive together with what went before.
   *
   * QUIRK(vproxy): data that arrives together with FIN at an end that has sent its own FIN is lost,
   * and RST together with SYN-ACK leaves KcpTun's application hanging. Spec: vproxy 3.8.
   */
  #leave(stream: VproxyStream, farewell: "fin" | "rst", now: number, cause?: TunnelError): void {
    const before = farewell === "fin" ? stream.lastSent : stream.synAck;
    const isFree = this.#isApart(before, now);
    stream.farewell = farewell;
    if (isFree) this.#sayFarewell(stream);
    const signal = FAREWELLS[farewell];
    if (!this.#move(stream, isFree ? signal.send : signal.hold, cause) || isFree) return;
    this.#timers.cancel(stream.id);
    this.#timers.awaitLeave(stream.id, this.#nextLook(before, now));
  }

  #sayFarewell({ id, farewell }: VproxyStream): void {
    if (farewell === "fin") this.#out.fin(id);
    else this.#out.rst(id);
  }

  /** Whether the peer has what we sent up to `mark`, and had time to read it. */
  #isApart(mark: Mark | undefined, now: number): boolean {
    if (mark === undefined) return true;
    if (now - mark.at < this.#limits.finGapMs) return false;
    return this.#unsentBytes() <= this.#out.givenBytes - mark.bytes;
  }

  #nextLook(mark: Mark | undefined, now: number): number {
    return Math.max(now + LOOK_MS, (mark?.at ?? 0) + this.#limits.finGapMs);
  }

  #due(stream: VproxyStream, now: number): void {
    switch (stream.state) {
      case "synSent": {
        const text = `no answer to our SYN within ${this.#limits.synTimeoutMs} ms`;
        this.#out.rst(stream.id);
        this.#move(stream, "expired", new NetworkError("ERR_DIAL_TIMEOUT", text));
        break;
      }
      case "ending":
        this.#out.rst(stream.id);
        this.#move(stream, "expired");
        break;
      case "leaving": {
        const before = stream.farewell === "fin" ? stream.lastSent : stream.synAck;
        if (this.#isApart(before, now)) {
          this.#sayFarewell(stream);
          this.#move(stream, "expired");
        } else {
          this.#timers.awaitLeave(stream.id, this.#nextLook(before, now));
        }
        break;
      }
      case "established":
      case "finSent":
      case "finReceived":
      case "dead":
        break;
    }
  }
}

/** Whether somebody here still uses a stream in this state. */
function isOwned(state: StreamState): boolean {
  return state !== "ending" && state !== "leaving" && state !== "dead";
}

const FAREWELLS = {
  fin: { send: "sendFin", hold: "holdFin" },
  rst: { send: "sendRst", hold: "holdRst" },
} as const;

/** Between looks whether the peer has our last bytes. */
const LOOK_MS = 20;
