import { MisuseError, PolicyError, StreamReset, type TunnelError } from "../../errors.ts";
import { ReceiveWindow, type WindowBudget } from "../../tunnel/receive-window.ts";
import { type Frame, FrameType, REFERENCE_MIN_PAYLOAD, REFERENCE_PAYLOAD } from "./codec.ts";
import { decodeRst, RstCode, toRstCode } from "./codes.ts";
import type { PongOptions } from "./options.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Peer } from "./peer.ts";
import { nextState, type PongStream, type StreamSignal } from "./stream-state.ts";
import { StreamTimers } from "./stream-timers.ts";

/** The streams of one session: what each frame and command does to one of them. */
export class PongStreams {
  readonly #options: PongOptions;
  readonly #peer: Peer;
  readonly #out: Outgoing;
  readonly #streams = new Map<number, PongStream>();
  readonly #timers: StreamTimers;
  readonly #budget: WindowBudget;

  constructor(options: PongOptions, peer: Peer, out: Outgoing) {
    this.#options = options;
    this.#peer = peer;
    this.#out = out;
    this.#budget = { remaining: options.limits.linkWindowBytes };
    this.#timers = new StreamTimers(options.limits);
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

  /** The session is over; its owner reports that for all streams at once. */
  clear(): void {
    this.#streams.clear();
    this.#timers.cancelAll();
  }

  /** A stream we opened (local) or were asked for (remote). */
  add(id: number, now: number): void {
    const stream: PongStream = {
      id,
      state: "open",
      dial: "pending",
      sentBytes: 0,
      earlyFrames: 0,
      sendWindow: this.#peer.initialWindow,
      receiveWindow: new ReceiveWindow(this.#options.limits, this.#budget, now),
      crumbs: undefined,
    };
    this.#streams.set(id, stream);
    if (!this.#peer.mayBeReferenceRemote) return;
    this.#timers.awaitDial(id, now);
    if (this.#peer.kind === "reference") this.#acceptSoon(stream, now);
  }

  /** Remote: the target was reached. */
  accept(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.dial === "done") return;
    stream.dial = "done";
    if (this.#peer.kind === "sluice") this.#out.extension({ kind: "accepted", streamId: id });
    if (this.writable(id) > 0) this.#out.event({ type: "streamWritable", streamId: id });
  }

  write(id: number, data: Uint8Array, now: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return; // it ended while the bytes were on their way
    const room = this.writable(id);
    if (data.byteLength > room) {
      throw new MisuseError(`write of ${data.byteLength} bytes exceeds ${room}`);
    }
    stream.sentBytes += data.byteLength;
    if (stream.state === "finishReceived") this.#armHalfClosed(stream, now);
    if (stream.sendWindow !== undefined) stream.sendWindow -= data.byteLength;
    if (this.#peer.declared === "head") this.#writeToHead(stream, data, now);
    else this.#sendData(stream, data);
  }

  finish(id: number, now: number): void {
    const stream = this.#streams.get(id);
    if (stream?.state !== "open" && stream?.state !== "finishReceived") return;
    this.#flushCrumbs(stream);
    const { kind, declared, mayBeReferenceRemote } = this.#peer;
    const takesFinish = declared === "v0.9.4" && stream.state === "open";
    if (kind === "sluice" || (mayBeReferenceRemote && takesFinish)) {
      this.#out.frame(id, FrameType.finish);
      this.#move(stream, "sendFinish");
    } else if (!mayBeReferenceRemote) {
      this.#finishToReferenceLocal(stream, now);
    } else if (stream.state === "finishReceived") {
      this.#closeToReferenceRemote(stream, now);
    } else {
      // QUIRK(pong-go): HEAD takes FINISH for an abort and v0.9.4 does not pass it on, so nothing
      // is gained and an answer may be lost. Spec: pong 2.5.
      this.#move(stream, "holdFinish");
      if (stream.dial === "done") this.#timers.linger(stream.id, now);
    }
  }

  close(id: number, now: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.state === "ending") return;
    this.#flushCrumbs(stream);
    if (this.#peer.kind === "sluice") {
      this.#out.frame(id, FrameType.close);
      this.#move(stream, "sendClose");
    } else if (this.#peer.mayBeReferenceRemote) {
      this.#closeToReferenceRemote(stream, now);
    } else {
      if (stream.state === "open" || stream.state === "finishReceived") {
        this.#out.frame(id, FrameType.finish);
      }
      this.#move(stream, "holdClose");
      this.#timers.awaitClose(stream.id, now);
    }
  }

  reset(id: number, cause: TunnelError, now: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.state === "ending") return;
    if (this.#peer.mayBeReferenceRemote) this.#closeToReferenceRemote(stream, now);
    else this.#rst(stream, toRstCode(cause), cause);
  }

  consumed(id: number, byteLength: number, now: number): void {
    const increment = this.#streams.get(id)?.receiveWindow.consume(byteLength, now) ?? 0;
    if (increment === 0 || this.#peer.kind !== "sluice") return;
    this.#out.extension({ kind: "window", streamId: id, increment });
  }

  writable(id: number): number {
    const stream = this.#streams.get(id);
    if (stream === undefined) return 0;
    if (stream.state !== "open" && stream.state !== "finishReceived") return 0;
    if (stream.sendWindow !== undefined) return stream.sendWindow;
    if (!this.#peer.mayBeReferenceRemote || stream.dial === "done") return Number.POSITIVE_INFINITY;
    // A remote that is still dialling queues 50 frames, then stops reading for everybody; if the
    // dial fails with a full queue, it panics. Spec: pong 2.8, 2.9.
    const frames = this.#options.limits.earlyFrames - stream.earlyFrames;
    return Math.max(0, frames) * REFERENCE_PAYLOAD;
  }

  /** A frame for a stream that lives. */
  onFrame({ streamId, type, payload }: Frame, now: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (type === FrameType.rst) {
      this.#move(stream, "rst", decodeRst(payload)); // which also is how a dial fails
      return;
    }
    if (this.#peer.ourSide === "local") this.#onDialled(stream, now);
    if (stream.state === "dead") return; // it only waited for a first word
    switch (type) {
      case FrameType.data:
        this.#onData(stream, payload, now);
        break;
      case FrameType.finish:
        this.#onFinish(stream, now);
        break;
      case FrameType.close:
        this.#ended(stream);
        this.#move(stream, "closeReceived");
        break;
      case FrameType.connect:
        break; // a repeated id: the old stream goes on, as at pong-go
      default:
        this.#violation(stream, RstCode.command, `pong frame type ${type} on a live stream`);
    }
  }

  /** The peer's word that it reached the target. */
  onAccepted(id: number, now: number): void {
    const stream = this.#streams.get(id);
    if (stream !== undefined && this.#peer.ourSide === "local") this.#onDialled(stream, now);
  }

  /** @returns whether the window stayed within what makes sense */
  onWindow(id: number, increment: number): boolean {
    const stream = this.#streams.get(id);
    if (stream?.sendWindow === undefined) return true;
    const wasEmpty = stream.sendWindow <= 0;
    stream.sendWindow += increment;
    if (wasEmpty && stream.sendWindow > 0) {
      this.#out.event({ type: "streamWritable", streamId: id });
    }
    return stream.sendWindow <= MAX_SEND_WINDOW;
  }

  /** The peer is a Sluice: its windows count from each stream's first byte, and nothing is held. */
  onSluice(): void {
    const { limits } = this.#options;
    for (const stream of this.#streams.values()) {
      const { id } = stream;
      // A stream that waited for a pong-go to dial waits no more.
      const wasBlocked = stream.dial !== "done" && stream.earlyFrames >= limits.earlyFrames;
      stream.sendWindow = (this.#peer.initialWindow ?? 0) - stream.sentBytes;
      this.#timers.cancel(id, "end", "hold");
      if (stream.state === "finishHeld") {
        this.#out.frame(id, FrameType.finish);
        this.#move(stream, "sendFinish");
      } else if (stream.state === "ending") {
        this.#out.frame(id, FrameType.close);
        this.#move(stream, "sendClose");
      } else if (wasBlocked && this.writable(id) > 0) {
        this.#out.event({ type: "streamWritable", streamId: id });
      }
    }
  }

  /** The peer is a pong-go, whose remote never says that a dial succeeded. */
  onReference(now: number): void {
    if (this.#peer.ourSide === "remote") return;
    for (const stream of this.#streams.values()) this.#acceptSoon(stream, now);
  }

  tick(now: number): void {
    for (const { kind, id } of this.#timers.take(now)) {
      const stream = this.#streams.get(id);
      if (stream === undefined) continue;
      if (kind === "crumbs") this.#flushCrumbs(stream);
      else if (kind === "hold") this.#assumeDialled(stream);
      else this.#expired(stream, now);
    }
  }

  #expired(stream: PongStream, now: number): void {
    if (stream.dial !== "done" && this.#peer.ourSide === "local") {
      this.#onDialled(stream, now);
      return;
    }
    const isIdle = stream.state === "finishReceived" || stream.state === "finishHeld";
    const error = isIdle
      ? new PolicyError("ERR_IDLE_TIMEOUT", "half-closed stream was idle for too long")
      : undefined;
    // What was cut off must look cut off; only a remote may say so.
    if (error === undefined || this.#peer.ourSide === "local") {
      this.#out.frame(stream.id, FrameType.close);
    } else {
      this.#out.rst(stream.id, toRstCode(error));
    }
    this.#move(stream, "expired", error);
  }

  /** The only place that assigns a state; reports the end of the stream when it is due. */
  #move(stream: PongStream, signal: StreamSignal, error?: TunnelError): void {
    const next = nextState(stream.state, signal);
    if (next === undefined) return;
    // The owner of an `ending` stream has let go of it: to them it ended when we began to wait.
    const isNews = stream.state !== "ending" && (next === "ending" || next === "dead");
    stream.state = next;
    const { id: streamId } = stream;
    if (isNews) this.#out.event({ type: "streamClosed", streamId, error });
    if (next !== "dead") return;
    this.#streams.delete(streamId);
    stream.receiveWindow.release();
    this.#timers.cancel(streamId, "end", "hold", "crumbs");
  }

  #rst(stream: PongStream, code: number, cause: TunnelError): void {
    this.#out.rst(stream.id, code);
    this.#move(stream, "rst", cause);
  }

  /** The peer broke the rules of one stream, and loses that one. */
  #violation(stream: PongStream, code: number, text: string): void {
    this.#rst(stream, code, new StreamReset("ERR_PROTOCOL", text, code));
  }

  /** The peer's side of the stream is over; the owner hears it once. */
  #ended({ id, state }: PongStream): void {
    if (state === "finishReceived" || state === "ending") return;
    this.#out.event({ type: "streamFinished", streamId: id });
  }

  #onData(stream: PongStream, data: Uint8Array, now: number): void {
    const { id, state, receiveWindow } = stream;
    if (data.byteLength === 0 || state === "ending") return;
    const isGranted = receiveWindow.receive(data.byteLength, now) || this.#peer.kind !== "sluice";
    if (state === "finishReceived") {
      this.#violation(stream, RstCode.serverError, "data after FINISH");
    } else if (!isGranted) {
      this.#violation(stream, RstCode.serverError, "data beyond the window");
    } else {
      if (state === "finishHeld") this.#timers.linger(stream.id, now);
      if (state === "finishSent" && this.#peer.isReferenceLocal)
        this.#timers.awaitClose(stream.id, now);
      this.#out.event({ type: "streamData", streamId: id, data });
    }
  }

  #onFinish(stream: PongStream, now: number): void {
    if (nextState(stream.state, "finishReceived") === undefined) return;
    this.#ended(stream);
    if (stream.state === "finishSent" && this.#peer.isReferenceLocal) {
      this.#move(stream, "holdClose");
      this.#timers.awaitClose(stream.id, now);
      return;
    }
    if (stream.state === "finishHeld") this.#out.frame(stream.id, FrameType.close);
    this.#move(stream, "finishReceived");
    if (stream.state === "finishReceived") this.#armHalfClosed(stream, now);
  }

  /** The remote's dial is over, by its word, by any frame on the stream, or by the clock. */
  #onDialled(stream: PongStream, now: number): void {
    const { id, dial } = stream;
    if (dial === "done") return;
    const wasBlocked = this.writable(id) === 0;
    stream.dial = "done";
    this.#timers.cancel(id, "end", "hold");
    if (stream.state === "ending") {
      this.#out.frame(id, FrameType.close);
      this.#move(stream, "sendClose");
      return;
    }
    if (stream.state === "finishHeld") this.#timers.linger(stream.id, now);
    if (dial === "pending") this.#out.event({ type: "streamAccepted", streamId: id });
    if (wasBlocked && this.writable(id) > 0) {
      this.#out.event({ type: "streamWritable", streamId: id });
    }
  }

  #acceptSoon(stream: PongStream, now: number): void {
    const { holdMs } = this.#options;
    if (holdMs > 0) this.#timers.holdAnswer(stream.id, now + holdMs);
    else this.#assumeDialled(stream);
  }

  /** Its owner may go on, although nobody said that the target was reached. */
  #assumeDialled(stream: PongStream): void {
    if (stream.dial !== "pending" || stream.state === "ending") return;
    stream.dial = "assumed";
    this.#out.event({ type: "streamAccepted", streamId: stream.id });
  }

  /**
   * QUIRK(pong-go): CLOSE handled before the remote's dial is done leaks its target for ever, so it
   * waits for the remote's first frame or for the dial's timeout. Spec: pong 2.3.
   */
  #closeToReferenceRemote(stream: PongStream, now: number): void {
    if (stream.dial === "done") {
      this.#out.frame(stream.id, FrameType.close);
      this.#move(stream, "sendClose");
      return;
    }
    this.#move(stream, "holdClose");
    if (!this.#timers.isAwaiting(stream.id)) this.#timers.awaitDial(stream.id, now);
  }

  /**
   * QUIRK(pong-go): its local answers FINISH with CLOSE after delivering everything, while CLOSE
   * right behind DATA cuts answers off. Spec: pong 2.5.
   */
  #finishToReferenceLocal(stream: PongStream, now: number): void {
    this.#out.frame(stream.id, FrameType.finish);
    this.#move(stream, stream.state === "finishReceived" ? "holdClose" : "sendFinish");
    this.#timers.awaitClose(stream.id, now);
  }

  /** QUIRK(pong-go): its local waits for ever for the end it was promised. Spec: pong 2.5. */
  #armHalfClosed({ id }: PongStream, now: number): void {
    if (this.#peer.kind === "reference") this.#timers.awaitHalfClosed(id, now);
  }

  #sendData(stream: PongStream, data: Uint8Array): void {
    const frames = this.#out.data(stream.id, data);
    if (stream.dial !== "done") stream.earlyFrames += frames;
  }

  /** QUIRK(pong-go HEAD): it drops reads of 30 bytes or less, so small writes wait for company. */
  #writeToHead(stream: PongStream, data: Uint8Array, now: number): void {
    const all = stream.crumbs === undefined ? data : Buffer.concat([stream.crumbs, data]);
    stream.crumbs = undefined;
    if (all.byteLength >= REFERENCE_MIN_PAYLOAD) {
      this.#timers.cancel(stream.id, "crumbs");
      this.#sendData(stream, all);
    } else {
      stream.crumbs = all.slice();
      this.#timers.awaitCompany(stream.id, now);
    }
  }

  #flushCrumbs(stream: PongStream): void {
    const { crumbs } = stream;
    stream.crumbs = undefined;
    if (crumbs !== undefined) this.#sendData(stream, crumbs);
  }
}

/** Twice the most a hello can grant: a window nobody needs, and a peer's mistake. */
const MAX_SEND_WINDOW = 2 * 0xffff_ffff;
