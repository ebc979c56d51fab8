import { decodeSocksAddress, encodeSocksAddress } from "../../address/socks-address.ts";
import type { Target } from "../../address/target.ts";
import { Deadlines } from "../../clock/deadlines.ts";
import {
  MisuseError,
  NetworkError,
  PolicyError,
  ProtocolError,
  StreamReset,
  toTunnelError,
  TunnelError,
} from "../../errors.ts";
import type { MuxEvent, MuxSession, Step } from "../../tunnel/session.ts";
import {
  encodeData,
  encodeFrame,
  encodeHeader,
  type Frame,
  FrameDecoder,
  FrameType,
  MAX_PAYLOAD,
  REFERENCE_MIN_PAYLOAD,
  REFERENCE_PAYLOAD,
} from "./codec.ts";
import { decodeRst, RstCode, toRstCode } from "./codes.ts";
import { decodeExtension, encodeExtension, type Extension } from "./extension.ts";
import { type PongLimits, type PongOptions, PONG_DEFAULTS } from "./options.ts";
import { ReceiveWindow, type WindowBudget } from "./receive-window.ts";
import { nextState, type PongStream, type StreamSignal } from "./stream-state.ts";

/** Which end of the connection we are: the local dialled and opens streams. */
export type PongRole = { readonly side: "local"; readonly clientId: Uint8Array } | { readonly side: "remote" };

/** Who the peer turned out to be. `unknown` until its hello, its first other frame, or a deadline. */
export type PeerKind = "unknown" | "sluice" | "reference";

type DeadlineName = "keepalive" | "hello" | `stream ${number}` | `hold ${number}` | `crumbs ${number}`;

/**
 * One pong connection after its header: frames, streams, windows and timers. Sans I/O.
 *
 * Spec: pong 1-2. Reference: pong-go `proxy/pong/pong.go`.
 */
export class PongSession implements MuxSession {
  readonly #role: PongRole;
  readonly #options: PongOptions;
  readonly #limits: PongLimits;
  readonly #decoder = new FrameDecoder();
  readonly #streams = new Map<number, PongStream>();
  readonly #deadlines = new Deadlines<DeadlineName>();
  readonly #budget: WindowBudget;
  #state: "open" | "draining" | "closed" = "open";
  #peer: PeerKind = "unknown";
  #peerHello: { readonly maxPayload: number; readonly initialWindow: number } | undefined;
  #nextStreamId = 1;
  #startedAt = 0;
  #lastReceivedAt = 0;
  #ping: { readonly nonce: number; readonly sentAt: number } | undefined;
  #nonce = 0;
  #rttMs: number | undefined;
  #events: MuxEvent[] = [];
  #output: Uint8Array[] = [];

  constructor(role: PongRole, options: Partial<PongOptions> = {}) {
    this.#role = role;
    this.#options = { ...PONG_DEFAULTS, ...options };
    this.#limits = this.#options.limits;
    this.#budget = { remaining: this.#limits.linkWindowBytes };
  }

  /** Says the first words: the header and, unless switched off, our hello. */
  start(now: number): Step<MuxEvent> {
    this.#startedAt = now;
    this.#lastReceivedAt = now;
    const { peer, extensions, keepaliveMs, helloWaitMs } = this.#options;
    if (this.#role.side === "local") {
      this.#output.push(encodeHeader(this.#role.clientId));
      if (extensions && peer !== "v0.9.4" && peer !== "head") {
        this.#sendHello();
        if (peer === "auto") this.#deadlines.set("hello", now + helloWaitMs);
      } else {
        this.#becomeReference(now);
      }
    }
    if (keepaliveMs > 0) this.#deadlines.set("keepalive", now + keepaliveMs);
    return this.#step();
  }

  get deadline(): number | undefined {
    return this.#deadlines.next;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  get isOpen(): boolean {
    return this.#state === "open" && this.#nextStreamId < LAST_STREAM_ID;
  }

  get peer(): PeerKind {
    return this.#peer;
  }

  /** The latest round trip between two Sluice ends, ms. */
  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  // ---- input: bytes and time ----

  receive(chunk: Uint8Array, now: number): Step<MuxEvent> {
    if (this.#state === "closed") return EMPTY_STEP;
    this.#lastReceivedAt = now;
    try {
      for (const frame of this.#decoder.decode(chunk)) {
        this.#onFrame(frame, now);
        if (this.#isClosed()) break;
      }
    } catch (thrown) {
      this.#close(toTunnelError(thrown, "ERR_PROTOCOL", "pong frame"));
    }
    return this.#step();
  }

  receiveEnd(_now: number): Step<MuxEvent> {
    if (this.#state === "closed") return EMPTY_STEP;
    const isCut = !this.#decoder.isBetweenFrames;
    const lost = `connection ended with ${this.#streams.size} streams on it`;
    if (isCut) this.#close(new ProtocolError("connection ended inside a frame"));
    else if (this.#streams.size > 0) this.#close(new NetworkError("ERR_TUNNEL_LOST", lost));
    else this.#close(undefined);
    return this.#step();
  }

  tick(now: number): Step<MuxEvent> {
    for (const name of this.#deadlines.take(now)) {
      if (name === "keepalive") this.#keepAlive(now);
      else if (name === "hello") this.#becomeReference(now);
      else this.#onStreamDeadline(name, now);
    }
    return this.#step();
  }

  // ---- input: commands ----

  open(target: Target, now: number): { readonly streamId: number; readonly step: Step<MuxEvent> } {
    if (!this.isOpen) throw new MisuseError("pong session takes no new streams");
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2;
    const address = encodeSocksAddress(target);
    if (address.byteLength > MAX_REFERENCE_ADDRESS_BYTES && this.#peer !== "sluice") {
      const text = `name of ${target.host.length} bytes exceeds the 124 a pong remote takes`;
      const error = new TunnelError("ERR_ADDRESS_UNSUPPORTED", text);
      this.#events.push({ type: "streamClosed", streamId, error });
      return { streamId, step: this.#step() };
    }
    const stream = this.#addStream(streamId, now);
    this.#send(streamId, FrameType.connect, address);
    if (this.#peer !== "sluice") {
      this.#deadlines.set(`stream ${streamId}`, now + this.#limits.dialGraceMs);
      if (this.#peer === "reference") this.#acceptSoon(stream, now);
    }
    return { streamId, step: this.#step() };
  }

  accept(streamId: number, _now: number): Step<MuxEvent> {
    const stream = this.#streams.get(streamId);
    if (stream === undefined || stream.dial === "done") return EMPTY_STEP;
    stream.dial = "done";
    if (this.#peer === "sluice") this.#sendExtension({ kind: "accepted", streamId });
    if (this.writable(streamId) > 0) this.#events.push({ type: "streamWritable", streamId });
    return this.#step();
  }

  write(streamId: number, data: Uint8Array, now: number): Step<MuxEvent> {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return EMPTY_STEP; // it ended while the bytes were on their way
    if (data.byteLength > this.writable(streamId)) {
      throw new MisuseError(`write of ${data.byteLength} bytes exceeds ${this.writable(streamId)}`);
    }
    stream.sentBytes += data.byteLength;
    if (stream.sendWindow !== undefined) stream.sendWindow -= data.byteLength;
    if (this.#options.peer === "head") this.#writeToHead(stream, data, now);
    else this.#sendData(stream, data);
    return this.#step();
  }

  finish(streamId: number, now: number): Step<MuxEvent> {
    const stream = this.#streams.get(streamId);
    if (stream?.state !== "open" && stream?.state !== "finishReceived") return EMPTY_STEP;
    this.#flushCrumbs(stream);
    const isLocal = this.#role.side === "local";
    if (this.#peer === "sluice" || (isLocal && this.#options.peer === "v0.9.4")) {
      this.#send(streamId, FrameType.finish);
      this.#move(stream, "sendFinish");
    } else if (isLocal && stream.state === "finishReceived") {
      this.#endReference(stream, now);
    } else if (isLocal) {
      // QUIRK(pong-go): HEAD takes FINISH for an abort and v0.9.4 does not pass it on, so nothing
      // is gained and an answer may be lost. Spec: pong 2.5.
      this.#move(stream, "holdFinish");
      if (stream.dial === "done") this.#armLinger(stream, now);
    } else {
      // QUIRK(pong-go): its local answers FINISH with CLOSE after delivering everything; CLOSE
      // right behind DATA cuts answers off. Spec: pong 2.5.
      this.#send(streamId, FrameType.finish);
      this.#move(stream, stream.state === "finishReceived" ? "holdClose" : "sendFinish");
      this.#deadlines.set(`stream ${streamId}`, now + this.#limits.closeWaitMs);
    }
    return this.#step();
  }

  close(streamId: number, now: number): Step<MuxEvent> {
    const stream = this.#streams.get(streamId);
    if (stream === undefined || stream.state === "ending") return EMPTY_STEP;
    this.#flushCrumbs(stream);
    if (this.#peer === "sluice") {
      this.#send(streamId, FrameType.close);
      this.#move(stream, "sendClose");
    } else if (this.#role.side === "local") {
      this.#endReference(stream, now);
    } else {
      if (stream.state === "open" || stream.state === "finishReceived") {
        this.#send(streamId, FrameType.finish);
      }
      this.#move(stream, "holdClose");
      this.#deadlines.set(`stream ${streamId}`, now + this.#limits.closeWaitMs);
    }
    return this.#step();
  }

  reset(streamId: number, cause: TunnelError, now: number): Step<MuxEvent> {
    const stream = this.#streams.get(streamId);
    if (stream === undefined || stream.state === "ending") return EMPTY_STEP;
    if (this.#role.side === "local" && this.#peer !== "sluice") {
      this.#endReference(stream, now);
    } else {
      this.#send(streamId, FrameType.rst, Uint8Array.of(toRstCode(cause)));
      this.#move(stream, "rst", cause);
    }
    return this.#step();
  }

  consumed(streamId: number, byteLength: number, now: number): Step<MuxEvent> {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return EMPTY_STEP;
    const increment = stream.receiveWindow.consume(byteLength, now);
    if (increment === 0) return EMPTY_STEP;
    if (this.#peer === "sluice") this.#sendExtension({ kind: "window", streamId, increment });
    return this.#step();
  }

  writable(streamId: number): number {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return 0;
    if (stream.state !== "open" && stream.state !== "finishReceived") return 0;
    if (stream.sendWindow !== undefined) return stream.sendWindow;
    if (this.#role.side === "remote" || stream.dial === "done") return Number.POSITIVE_INFINITY;
    // A remote that is still dialling queues 50 frames, then stops reading for everybody; if the
    // dial fails with a full queue, it panics. Spec: pong 2.8, 2.9.
    return Math.max(0, this.#limits.earlyFrames - stream.earlyFrames) * REFERENCE_PAYLOAD;
  }

  hasWindow(_streamId: number): boolean {
    return this.#peer === "sluice";
  }

  end(_now: number): Step<MuxEvent> {
    this.#close(undefined);
    return this.#step();
  }

  // ---- frames of the peer ----

  #onFrame(frame: Frame, now: number): void {
    if (frame.streamId === 0) {
      if (frame.type === FrameType.set) this.#onSet(frame.payload, now);
      return; // nothing else has a meaning there, and pong-go answers nothing
    }
    if (this.#peer === "unknown") this.#becomeReference(now);
    const stream = this.#streams.get(frame.streamId);
    if (stream === undefined) {
      // Frames for a forgotten id are never answered, or two ends would play ping-pong.
      this.#onOpeningFrame(frame, now);
      return;
    }
    if (stream.dial === "pending" && this.#role.side === "local") this.#onDialled(stream, now);
    switch (frame.type) {
      case FrameType.data:
        this.#onData(stream, frame.payload, now);
        break;
      case FrameType.finish:
        this.#onFinish(stream, now);
        break;
      case FrameType.close:
        if (stream.state !== "finishReceived" && stream.state !== "ending") {
          this.#events.push({ type: "streamFinished", streamId: stream.id });
        }
        this.#move(stream, "closeReceived");
        break;
      case FrameType.rst:
        this.#move(stream, "rst", decodeRst(frame.payload));
        break;
      case FrameType.connect:
        break; // a repeated id: the old stream goes on, as at pong-go
      default: {
        const text = `pong frame type ${frame.type} on a live stream`;
        this.#send(stream.id, FrameType.rst, Uint8Array.of(RstCode.command));
        this.#move(stream, "rst", new StreamReset("ERR_PROTOCOL", text, RstCode.command));
      }
    }
  }

  #onOpeningFrame(frame: Frame, now: number): void {
    const refuse = (code: number): void => {
      this.#send(frame.streamId, FrameType.rst, Uint8Array.of(code));
    };
    switch (frame.type) {
      case FrameType.connect:
        break;
      case FrameType.bind:
      case FrameType.associate:
      case FrameType.relay:
        refuse(RstCode.command);
        return;
      default:
        return;
    }
    // DEVIATION(pong-go): its local dials for its remote; ours lends nothing unasked.
    if (this.#role.side === "local") return refuse(RstCode.rule);
    if (this.#state !== "open") return refuse(RstCode.forceClose);
    if (this.#streams.size >= this.#limits.maxStreams) return refuse(RstCode.serverError);
    let address: { host: string; port: number };
    try {
      address = decodeSocksAddress(frame.payload);
    } catch {
      return refuse(RstCode.addressType); // the stream's fault alone; the session goes on
    }
    const stream = this.#addStream(frame.streamId, now);
    if (this.#peerHello !== undefined) stream.sendWindow = this.#peerHello.initialWindow;
    const target: Target = { network: "tcp", ...address };
    this.#events.push({ type: "streamRequested", streamId: frame.streamId, target });
  }

  #onData(stream: PongStream, data: Uint8Array, now: number): void {
    if (data.byteLength === 0 || stream.state === "ending") return;
    if (stream.state === "finishReceived") {
      const error = new StreamReset("ERR_PROTOCOL", "data after FINISH", RstCode.serverError);
      this.#send(stream.id, FrameType.rst, Uint8Array.of(RstCode.serverError));
      this.#move(stream, "rst", error);
      return;
    }
    if (!stream.receiveWindow.receive(data.byteLength) && this.#peer === "sluice") {
      const error = new StreamReset("ERR_PROTOCOL", "data beyond the window", RstCode.serverError);
      this.#send(stream.id, FrameType.rst, Uint8Array.of(RstCode.serverError));
      this.#move(stream, "rst", error);
      return;
    }
    if (stream.state === "finishHeld") this.#armLinger(stream, now);
    if (stream.state === "finishSent" && this.#peer === "reference") this.#rearm(stream, now);
    this.#events.push({ type: "streamData", streamId: stream.id, data });
  }

  #onFinish(stream: PongStream, now: number): void {
    if (nextState(stream.state, "finishReceived") === undefined) return;
    if (stream.state !== "ending") {
      this.#events.push({ type: "streamFinished", streamId: stream.id });
    }
    const wasHeld = stream.state === "finishHeld";
    const awaitsClose = stream.state === "finishSent" && this.#awaitsClose();
    if (wasHeld) this.#send(stream.id, FrameType.close);
    this.#move(stream, awaitsClose ? "holdClose" : "finishReceived");
    if (awaitsClose) this.#rearm(stream, now);
    else if (stream.state === "finishReceived" && this.#peer === "reference") {
      // A pong-go local waits for ever for the end it was promised. Spec: pong 2.5.
      this.#deadlines.set(`stream ${stream.id}`, now + this.#limits.halfClosedMs);
    }
  }

  #onSet(payload: Uint8Array, now: number): void {
    const extension = this.#options.extensions ? decodeExtension(payload) : undefined;
    if (extension === undefined) return;
    if (extension.kind === "hello") {
      this.#onHello(extension, now);
      return;
    }
    if (this.#peer !== "sluice") return;
    switch (extension.kind) {
      case "ping":
        this.#sendExtension({ kind: "pong", nonce: extension.nonce });
        break;
      case "pong":
        if (this.#ping?.nonce === extension.nonce) this.#rttMs = now - this.#ping.sentAt;
        break;
      case "accepted": {
        const stream = this.#streams.get(extension.streamId);
        if (stream !== undefined && this.#role.side === "local") this.#onDialled(stream, now);
        break;
      }
      case "window":
        this.#onWindow(extension.streamId, extension.increment);
        break;
    }
  }

  #onHello(hello: Extract<Extension, { kind: "hello" }>, now: number): void {
    // A late hello still counts at the local: a Sluice remote says it before anything else, so no
    // stream has outrun a window yet. At a remote it comes first or not at all.
    if (this.#peer === "sluice") return;
    if (this.#peer === "reference" && this.#role.side === "remote") return;
    if (this.#options.peer === "v0.9.4" || this.#options.peer === "head") return;
    this.#peer = "sluice";
    this.#deadlines.clear("hello");
    const maxPayload = Math.max(REFERENCE_PAYLOAD, Math.min(MAX_PAYLOAD, hello.maxPayload));
    this.#peerHello = { maxPayload, initialWindow: hello.initialWindow };
    if (this.#role.side === "remote") this.#sendHello();
    else this.#rttMs = now - this.#startedAt;
    this.#events.push({ type: "ready", description: "sluice" });
    for (const stream of this.#streams.values()) {
      const wasWritable = this.writable(stream.id) > 0;
      stream.sendWindow = hello.initialWindow - stream.sentBytes;
      this.#deadlines.clear(`stream ${stream.id}`);
      if (stream.state === "finishHeld") {
        this.#send(stream.id, FrameType.finish);
        this.#move(stream, "sendFinish");
      } else if (stream.state === "ending") {
        this.#send(stream.id, FrameType.close);
        this.#move(stream, "sendClose");
      } else if (!wasWritable && stream.sendWindow > 0) {
        this.#events.push({ type: "streamWritable", streamId: stream.id });
      }
    }
  }

  #onWindow(streamId: number, increment: number): void {
    const stream = this.#streams.get(streamId);
    if (stream?.sendWindow === undefined) return;
    const wasEmpty = stream.sendWindow <= 0;
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_SEND_WINDOW) {
      this.#close(new ProtocolError(`window of stream ${streamId} exceeds ${MAX_SEND_WINDOW} bytes`));
    } else if (wasEmpty && stream.sendWindow > 0) {
      this.#events.push({ type: "streamWritable", streamId });
    }
  }

  // ---- moves ----

  #addStream(id: number, now: number): PongStream {
    const { initialWindowBytes: initial, maxWindowBytes: max } = this.#limits;
    const stream: PongStream = {
      id,
      state: "open",
      dial: "pending",
      sentBytes: 0,
      earlyFrames: 0,
      sendWindow: this.#peerHello?.initialWindow,
      receiveWindow: new ReceiveWindow({ initial, max }, this.#budget, now),
      crumbs: undefined,
    };
    this.#streams.set(id, stream);
    return stream;
  }

  /** The only place that assigns a state; reports the end of the stream when it is dead. */
  #move(stream: PongStream, signal: StreamSignal, error?: TunnelError): void {
    const next = nextState(stream.state, signal);
    if (next === undefined) return;
    const wasEnding = stream.state === "ending";
    stream.state = next;
    const { id: streamId } = stream;
    // The owner of an `ending` stream has let go of it: to them it ended when we began to wait.
    if ((next === "ending" || next === "dead") && !wasEnding) {
      this.#events.push({ type: "streamClosed", streamId, error });
    }
    if (next !== "dead") return;
    this.#streams.delete(streamId);
    stream.receiveWindow.release();
    this.#deadlines.clear(`stream ${streamId}`);
    this.#deadlines.clear(`hold ${streamId}`);
    this.#deadlines.clear(`crumbs ${streamId}`);
  }

  /** CLOSE toward a pong-go remote, now or when its dial cannot be running any more. */
  #endReference(stream: PongStream, now: number): void {
    if (stream.dial === "pending" || this.#peer === "unknown") {
      this.#move(stream, "holdClose");
      const name = `stream ${stream.id}` as const;
      if (!this.#deadlines.has(name)) this.#deadlines.set(name, now + this.#limits.dialGraceMs);
      return;
    }
    this.#send(stream.id, FrameType.close);
    this.#move(stream, "sendClose");
  }

  /** The remote's dial is over, by its word or by any frame on the stream. */
  #onDialled(stream: PongStream, now: number): void {
    if (stream.dial === "done") return;
    const wasBlocked = this.writable(stream.id) === 0;
    stream.dial = "done";
    this.#deadlines.clear(`stream ${stream.id}`);
    this.#deadlines.clear(`hold ${stream.id}`);
    if (stream.state === "ending") {
      this.#send(stream.id, FrameType.close);
      this.#move(stream, "sendClose");
      return;
    }
    if (stream.state === "finishHeld") this.#armLinger(stream, now);
    this.#events.push({ type: "streamAccepted", streamId: stream.id });
    if (wasBlocked && this.writable(stream.id) > 0) {
      this.#events.push({ type: "streamWritable", streamId: stream.id });
    }
  }

  #onStreamDeadline(name: Exclude<DeadlineName, "keepalive" | "hello">, now: number): void {
    const [kind, id] = name.split(" ");
    const stream = this.#streams.get(Number(id));
    if (stream === undefined) return;
    if (kind === "crumbs") this.#flushCrumbs(stream);
    else if (kind === "hold") this.#events.push({ type: "streamAccepted", streamId: stream.id });
    else if (stream.dial === "pending" && this.#role.side === "local") this.#onDialled(stream, now);
    else {
      const isIdle = stream.state === "finishReceived" || stream.state === "finishHeld";
      const text = "half-closed stream was idle for too long";
      this.#send(stream.id, FrameType.close);
      this.#move(stream, "expired", isIdle ? new PolicyError("ERR_IDLE_TIMEOUT", text) : undefined);
    }
  }

  /** No hello came: the peer is a pong-go, whose remote never says that a dial succeeded. */
  #becomeReference(now: number): void {
    this.#peer = "reference";
    this.#deadlines.clear("hello");
    this.#events.push({ type: "ready", description: "pong-go or another pong" });
    for (const stream of this.#streams.values()) {
      if (this.#role.side === "local") this.#acceptSoon(stream, now);
    }
  }

  #acceptSoon(stream: PongStream, now: number): void {
    const { holdMs } = this.#options;
    if (holdMs > 0) this.#deadlines.set(`hold ${stream.id}`, now + holdMs);
    else this.#events.push({ type: "streamAccepted", streamId: stream.id });
  }

  #awaitsClose(): boolean {
    return this.#role.side === "remote" && this.#peer === "reference";
  }

  #armLinger(stream: PongStream, now: number): void {
    this.#deadlines.set(`stream ${stream.id}`, now + this.#limits.lingerMs);
  }

  #rearm(stream: PongStream, now: number): void {
    this.#deadlines.set(`stream ${stream.id}`, now + this.#limits.closeWaitMs);
  }

  #keepAlive(now: number): void {
    const { keepaliveMs } = this.#options;
    const quietMs = now - this.#lastReceivedAt;
    if (quietMs < keepaliveMs || this.#peer !== "sluice") {
      const from = this.#peer === "sluice" ? this.#lastReceivedAt : now;
      this.#deadlines.set("keepalive", from + keepaliveMs);
    } else if (quietMs < 2 * keepaliveMs) {
      this.#ping = { nonce: this.#nonce++ >>> 0, sentAt: now };
      this.#sendExtension({ kind: "ping", nonce: this.#ping.nonce });
      this.#deadlines.set("keepalive", this.#lastReceivedAt + 2 * keepaliveMs);
    } else {
      const text = `peer said nothing for ${Math.round(quietMs)} ms, not even to our ping`;
      this.#close(new NetworkError("ERR_PEER_SILENT", text));
    }
  }

  #close(error: TunnelError | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#streams.clear();
    for (const name of this.#deadlines.take(Number.POSITIVE_INFINITY)) this.#deadlines.clear(name);
    this.#events.push({ type: "closed", error });
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  // ---- output ----

  #sendData(stream: PongStream, data: Uint8Array): void {
    const maxPayload = this.#peerHello?.maxPayload ?? REFERENCE_PAYLOAD;
    const minTail = this.#peer === "sluice" ? 0 : REFERENCE_MIN_PAYLOAD;
    const frames = encodeData(stream.id, data, maxPayload, minTail);
    if (stream.dial === "pending") stream.earlyFrames += Math.ceil(data.byteLength / maxPayload);
    for (const bytes of frames) this.#output.push(bytes);
  }

  /** QUIRK(pong-go HEAD): it drops reads of 30 bytes or less, so small writes wait for company. */
  #writeToHead(stream: PongStream, data: Uint8Array, now: number): void {
    const held = stream.crumbs;
    const all = held === undefined ? data : Buffer.concat([held, data]);
    stream.crumbs = undefined;
    if (all.byteLength >= REFERENCE_MIN_PAYLOAD) {
      this.#deadlines.clear(`crumbs ${stream.id}`);
      this.#sendData(stream, all);
    } else {
      stream.crumbs = all.slice();
      this.#deadlines.set(`crumbs ${stream.id}`, now + this.#limits.crumbsMs);
    }
  }

  #flushCrumbs(stream: PongStream): void {
    const { crumbs } = stream;
    stream.crumbs = undefined;
    if (crumbs !== undefined) this.#sendData(stream, crumbs);
  }

  #sendHello(): void {
    const { initialWindowBytes: initialWindow } = this.#limits;
    this.#sendExtension({ kind: "hello", maxPayload: MAX_PAYLOAD, initialWindow });
  }

  #sendExtension(extension: Extension): void {
    this.#send(0, FrameType.set, encodeExtension(extension));
  }

  #send(streamId: number, type: number, payload: Uint8Array = NO_BYTES): void {
    this.#output.push(...encodeFrame({ streamId, type, payload }));
  }

  #step(): Step<MuxEvent> {
    const events = this.#events;
    const output = this.#output;
    if (events.length > 0) this.#events = [];
    if (output.length > 0) this.#output = [];
    return events.length === 0 && output.length === 0 ? EMPTY_STEP : { events, output };
  }
}

const NO_BYTES = new Uint8Array(0);
const EMPTY_STEP: Step<MuxEvent> = { events: [], output: [] };

/** Odd ids run out here; the pool then dials a new connection. */
const LAST_STREAM_ID = 0xffff_fffd;

/** Longer CONNECT payloads vanish in pong-go. Spec: pong 1.4. */
const MAX_REFERENCE_ADDRESS_BYTES = 128;

/** A window nobody needs; more is a peer's mistake. */
const MAX_SEND_WINDOW = 0x7fff_ffff;
