import type { Target } from "../../../address/target.ts";
import {
  MisuseError,
  NetworkError,
  ProtocolError,
  toTunnelError,
  type TunnelError,
} from "../../../errors.ts";
import type { MuxEvent, MuxSession, Step } from "../../../tunnel/session.ts";
import {
  decodeGoaway,
  encodeGoaway,
  type Frame,
  FrameDecoder,
  FrameFlag,
  FrameType,
} from "./frames.ts";
import { inflate } from "./gzip.ts";
import { KEEPALIVE_MS, PING_BYTES, TunnelKeepalive } from "./keepalive.ts";
import {
  TUNNEL_LIMITS,
  type TunnelSide,
  type VproxyTunnelLimits,
  type VproxyTunnelOptions,
} from "./options.ts";
import { EMPTY_STEP, Outgoing } from "./outgoing.ts";
import { TunnelStreams } from "./streams.ts";

/**
 * One tunnel after its handshake: which streams there are, whether the peer lives, and how it ends.
 * What happens inside a stream is in `streams.ts`. Sans I/O.
 *
 * Spec: vproxy 3. Reference: vproxy `H2StreamedFDHandler.java`, `StreamedFDHandler.java`.
 */
export class VproxyTunnelSession implements MuxSession {
  readonly #side: TunnelSide;
  readonly #options: VproxyTunnelOptions;
  readonly #limits: VproxyTunnelLimits;
  readonly #decoder: FrameDecoder;
  readonly #out: Outgoing;
  readonly #streams: TunnelStreams;
  #keepalive: TunnelKeepalive;
  #nextStreamId: number;
  /** What compressed frames became within this `receive`. */
  #inflatedBytes = 0;
  /** `failing`: our GOAWAY is on its way, and nothing else matters any more. */
  #phase: "live" | "failing" | "closed" = "live";
  #failure: { readonly error: TunnelError; readonly until: number; at: number } | undefined;

  constructor(side: TunnelSide, options: VproxyTunnelOptions) {
    this.#side = side;
    this.#options = options;
    this.#limits = { ...TUNNEL_LIMITS, ...options.limits };
    this.#decoder = new FrameDecoder(this.#limits);
    this.#out = new Outgoing(options.compress ?? false);
    this.#streams = new TunnelStreams(this.#limits, this.#out, options.unsentBytes);
    this.#keepalive = new TunnelKeepalive(0, 0);
    this.#nextStreamId = options.firstStreamId ?? 1;
  }

  /** The handshake is over: time begins. */
  start(now: number): Step<MuxEvent> {
    const { keepaliveMs = KEEPALIVE_MS[this.#side] } = this.#options;
    this.#keepalive = new TunnelKeepalive(keepaliveMs, now);
    this.#out.event({ type: "ready", description: "vproxy tunnel" });
    return this.#out.step();
  }

  get deadline(): number | undefined {
    switch (this.#phase) {
      case "live":
        return earlier(this.#keepalive.deadline, this.#streams.deadline);
      case "failing":
        return this.#failure?.at;
      case "closed":
        return undefined;
    }
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** A server opens none. After the last id a new tunnel is needed. */
  get isOpen(): boolean {
    return this.#phase === "live" && this.#side === "client" && !this.isExhausted;
  }

  /** Whether all ids are used up: a client then ends the tunnel when its streams have ended. */
  get isExhausted(): boolean {
    return this.#nextStreamId > LAST_STREAM_ID;
  }

  /** The latest round trip, ms. */
  get rttMs(): number | undefined {
    return this.#keepalive.rttMs;
  }

  receive(chunk: Uint8Array, now: number): Step<MuxEvent> {
    if (this.#phase !== "live") return EMPTY_STEP;
    this.#keepalive.heard(now);
    this.#inflatedBytes = 0;
    try {
      for (const frame of this.#decoder.decode(chunk)) {
        this.#onFrame(frame, now);
        if (this.#isOver()) break;
      }
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_PROTOCOL", "vproxy frame");
      this.#fail(error, error.message, now);
    }
    return this.#out.step();
  }

  receiveEnd(_now: number): Step<MuxEvent> {
    if (this.#phase === "closed") return EMPTY_STEP;
    if (this.#failure !== undefined) {
      this.#close(this.#failure.error);
    } else if (!this.#decoder.isBetweenFrames) {
      this.#close(new ProtocolError("connection ended inside a frame"));
    } else if (this.#streams.size > 0) {
      const text = `connection ended with ${this.#streams.size} streams on it`;
      this.#close(new NetworkError("ERR_TUNNEL_LOST", text));
    } else {
      this.#close(undefined);
    }
    return this.#out.step();
  }

  tick(now: number): Step<MuxEvent> {
    if (this.#phase === "closed") return EMPTY_STEP;
    if (this.#failure !== undefined) {
      this.#leave(this.#failure, now);
    } else {
      this.#streams.tick(now);
      this.#keepAlive(now);
    }
    return this.#out.step();
  }

  open(_target: Target, now: number): { readonly streamId: number; readonly step: Step<MuxEvent> } {
    if (!this.isOpen) throw new MisuseError("vproxy tunnel takes no new streams");
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2;
    this.#streams.open(streamId, this.#options.earlyData !== false, now);
    return { streamId, step: this.#out.step() };
  }

  /** Nothing to say: the SYN was answered when it came. */
  accept(_streamId: number, _now: number): Step<MuxEvent> {
    return EMPTY_STEP;
  }

  write(streamId: number, data: Uint8Array, now: number): Step<MuxEvent> {
    this.#streams.write(streamId, data, now);
    return this.#out.step();
  }

  finish(streamId: number, now: number): Step<MuxEvent> {
    this.#streams.finish(streamId, now);
    return this.#out.step();
  }

  close(streamId: number, now: number): Step<MuxEvent> {
    this.#streams.close(streamId, now);
    return this.#out.step();
  }

  reset(streamId: number, cause: TunnelError, now: number): Step<MuxEvent> {
    this.#streams.reset(streamId, cause, now);
    return this.#out.step();
  }

  consumed(_streamId: number, _byteLength: number, _now: number): Step<MuxEvent> {
    return EMPTY_STEP;
  }

  writable(streamId: number): number {
    return this.#streams.writable(streamId);
  }

  /** The wire has none: a WINDOW_UPDATE would even be fatal. */
  hasWindow(_streamId: number): boolean {
    return false;
  }

  end(_now: number): Step<MuxEvent> {
    if (this.#phase === "live") {
      this.#out.urgent(encodeGoaway(ORDERLY_REASON));
      this.#close(undefined);
    } else if (this.#failure !== undefined) {
      this.#close(this.#failure.error);
    }
    return this.#out.step();
  }

  #onFrame({ type, flags, streamId, payload }: Frame, now: number): void {
    const isEnd = (flags & FrameFlag.end) !== 0;
    switch (type) {
      case FrameType.data:
        if (!this.#streams.has(streamId)) return; // of a stream that is gone: never answered
        this.#streams.onData(streamId, this.#plain(flags, payload));
        if (isEnd) this.#streams.onFin(streamId);
        break;
      case FrameType.headers:
        if (isEnd) this.#streams.onRst(streamId);
        else this.#onSyn(streamId, now);
        break;
      case FrameType.ping:
        if (payload.byteLength < PING_BYTES) return;
        if (isEnd) this.#keepalive.answered(payload, now);
        else this.#out.ping(payload.slice(0, PING_BYTES), FrameFlag.end);
        break;
      case FrameType.goaway:
        this.#onGoaway(decodeGoaway(payload));
        break;
    }
  }

  #onSyn(streamId: number, now: number): void {
    if (this.#streams.has(streamId)) {
      if (this.#side === "client") this.#streams.onSynAck(streamId);
      return; // a server takes a repeated one for what it is
    }
    if (this.#side === "client") return; // only clients open streams
    const { maxStreams } = this.#limits;
    if (maxStreams > 0 && this.#streams.size >= maxStreams) {
      this.#streams.refuse(streamId, now);
      return;
    }
    this.#streams.take(streamId, now);
    this.#out.event({ type: "streamRequested", streamId, target: this.#options.target });
  }

  #plain(flags: number, payload: Uint8Array): Uint8Array {
    if ((flags & FrameFlag.gzip) === 0 || payload.byteLength === 0) return payload;
    const { maxInflatedFrameBytes, maxInflatedBytes } = this.#limits;
    const left = Math.min(maxInflatedFrameBytes, maxInflatedBytes - this.#inflatedBytes);
    const plain = inflate(payload, left);
    this.#inflatedBytes += plain.byteLength;
    return plain;
  }

  /** Never answered. Spec: vproxy 3.6. */
  #onGoaway(reason: string): void {
    const isOrderly = reason === ORDERLY_REASON && this.#streams.size === 0;
    const text = `peer shut the tunnel down: ${reason || "no reason"}`;
    this.#close(isOrderly ? undefined : new NetworkError("ERR_TUNNEL_LOST", text));
  }

  #keepAlive(now: number): void {
    const verdict = this.#keepalive.tick(now, this.#options.unsentBytes() > 0);
    if (verdict === "wait") return;
    if (verdict !== "dead") {
      this.#out.ping(verdict.ping, 0);
      return;
    }
    const text = "peer did not answer our keep-alive";
    this.#fail(new NetworkError("ERR_PEER_SILENT", text), "keepalive response timeout", now);
  }

  /** A failure of ours to go on: the peer is told why, and the connection ends when that has left. */
  #fail(error: TunnelError, reason: string, now: number): void {
    this.#out.urgent(encodeGoaway(reason));
    this.#streams.failAll(error);
    this.#phase = "failing";
    this.#failure = { error, until: now + this.#limits.farewellMs, at: now + LOOK_MS };
  }

  #leave(
    failure: { readonly error: TunnelError; readonly until: number; at: number },
    now: number,
  ): void {
    if (now < failure.at) return;
    if (now >= failure.until || this.#options.unsentBytes() === 0) this.#close(failure.error);
    else failure.at = Math.min(failure.until, now + LOOK_MS);
  }

  #close(error: TunnelError | undefined): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#streams.clear();
    this.#out.event({ type: "closed", error });
  }

  /** Asked anew after each frame, which may have ended the tunnel. */
  #isOver(): boolean {
    return this.#phase !== "live";
  }
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return Math.min(a, b);
}

/** Odd ids end here. The reference goes on into negative ones. Spec: vproxy 3.5. */
const LAST_STREAM_ID = 0x7fff_ffff;

/** What we say when we leave because we want to. */
const ORDERLY_REASON = "tunnel is closing";

/** Between looks whether our GOAWAY has left. */
const LOOK_MS = 20;
