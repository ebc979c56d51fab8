import { decodeSocksAddress, encodeSocksAddress } from "../../address/socks-address.ts";
import type { Target } from "../../address/target.ts";
import {
  MisuseError,
  NetworkError,
  ProtocolError,
  toTunnelError,
  TunnelError,
} from "../../errors.ts";
import type { MuxEvent, MuxSession, Step } from "../../tunnel/session.ts";
import { encodeHeader, type Frame, FrameDecoder, FrameType, MAX_PAYLOAD } from "./codec.ts";
import { RstCode } from "./codes.ts";
import { decodeExtension, type Extension } from "./extension.ts";
import { Keepalive } from "./keepalive.ts";
import { PONG_DEFAULTS, type PongOptions } from "./options.ts";
import { EMPTY_STEP, Outgoing } from "./outgoing.ts";
import { Peer, type PeerKind, type PongRole } from "./peer.ts";
import { PongStreams } from "./streams.ts";

/**
 * One pong connection after its header: who the peer is, which streams there are, whether it lives.
 * What happens inside a stream is in `streams.ts`. Sans I/O.
 *
 * Spec: pong 1-2. Reference: pong-go `proxy/pong/pong.go`.
 */
export class PongSession implements MuxSession {
  readonly #role: PongRole;
  readonly #options: PongOptions;
  readonly #decoder = new FrameDecoder();
  readonly #peer: Peer;
  readonly #out: Outgoing;
  readonly #streams: PongStreams;
  readonly #keepalive: Keepalive;
  #isClosed = false;
  #hasHeard = false;
  #nextStreamId = 1;
  #startedAt = 0;
  /** When a peer that stays silent about itself is taken for a pong-go. */
  #helloDeadline: number | undefined;
  #keepaliveDeadline: number | undefined;

  constructor(role: PongRole, options: Partial<PongOptions> = {}) {
    this.#role = role;
    this.#options = { ...PONG_DEFAULTS, ...options };
    this.#peer = new Peer(role.side, this.#options.peer);
    this.#out = new Outgoing(this.#peer);
    this.#streams = new PongStreams(this.#options, this.#peer, this.#out);
    this.#keepalive = new Keepalive(this.#options.keepaliveMs);
  }

  /** Says the first words: a local's header and, unless switched off, its hello. */
  start(now: number): Step<MuxEvent> {
    this.#startedAt = now;
    this.#keepalive.heard(now);
    if (this.#role.side === "local") {
      this.#out.bytes(encodeHeader(this.#role.clientId));
      if (this.#speaksExtensions) {
        this.#sendHello();
        if (this.#peer.declared === "auto") {
          this.#helloDeadline = now + this.#options.helloWaitMs;
        }
      } else {
        this.#becomeReference(now);
      }
    }
    return this.#out.step();
  }

  get deadline(): number | undefined {
    const { deadline } = this.#streams;
    return earliest(this.#helloDeadline, this.#keepaliveDeadline, this.#idleDeadline, deadline);
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  get isOpen(): boolean {
    return !this.#isClosed && this.#nextStreamId <= LAST_STREAM_ID;
  }

  get peerKind(): PeerKind {
    return this.#peer.kind;
  }

  /** The latest round trip between two Sluice ends, ms. */
  get rttMs(): number | undefined {
    return this.#keepalive.rttMs;
  }

  /** Whether the peer ever said anything. */
  get hasHeard(): boolean {
    return this.#hasHeard;
  }

  receive(chunk: Uint8Array, now: number): Step<MuxEvent> {
    if (this.#isClosed) return EMPTY_STEP;
    this.#hasHeard = true;
    this.#keepalive.heard(now);
    try {
      for (const frame of this.#decoder.decode(chunk)) {
        this.#onFrame(frame, now);
        if (this.#isOver()) break;
      }
    } catch (thrown) {
      this.#close(toTunnelError(thrown, "ERR_PROTOCOL", "pong frame"));
    }
    return this.#out.step();
  }

  receiveEnd(_now: number): Step<MuxEvent> {
    if (this.#isClosed) return EMPTY_STEP;
    const lost = `connection ended with ${this.#streams.size} streams on it`;
    if (!this.#decoder.isBetweenFrames) {
      this.#close(new ProtocolError("connection ended inside a frame"));
    } else if (this.#streams.size > 0) {
      this.#close(new NetworkError("ERR_TUNNEL_LOST", lost));
    } else {
      this.#close(undefined);
    }
    return this.#out.step();
  }

  tick(now: number): Step<MuxEvent> {
    if (this.#isClosed) return EMPTY_STEP;
    if (this.#helloDeadline !== undefined && this.#helloDeadline <= now) this.#becomeReference(now);
    this.#streams.tick(now);
    if (this.#keepaliveDeadline !== undefined && this.#keepaliveDeadline <= now) {
      this.#keepAlive(now);
    }
    if (this.#idleDeadline !== undefined && this.#idleDeadline <= now) this.#close(undefined);
    return this.#out.step();
  }

  open(target: Target, now: number): { readonly streamId: number; readonly step: Step<MuxEvent> } {
    if (!this.isOpen) throw new MisuseError("pong session takes no new streams");
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2;
    const address = this.#addressOf(target);
    if (address instanceof TunnelError) {
      this.#out.event({ type: "streamClosed", streamId, error: address });
    } else {
      this.#out.frame(streamId, FrameType.connect, address);
      this.#streams.add(streamId, now);
    }
    return { streamId, step: this.#out.step() };
  }

  /** The payload of a CONNECT, or why the peer cannot be asked for the target. */
  #addressOf(target: Target): Uint8Array | TunnelError {
    if (target.network !== "tcp") {
      return new TunnelError("ERR_COMMAND_UNSUPPORTED", "pong carries tcp only");
    }
    let address: Uint8Array;
    try {
      address = encodeSocksAddress(target);
    } catch (cause) {
      const text = cause instanceof Error ? cause.message : String(cause);
      return new TunnelError("ERR_ADDRESS_UNSUPPORTED", text, { cause });
    }
    if (address.byteLength <= MAX_REFERENCE_ADDRESS_BYTES || this.#peer.kind === "sluice") {
      return address;
    }
    const text = `name of ${target.host.length} bytes exceeds the 124 a pong remote takes`;
    return new TunnelError("ERR_ADDRESS_UNSUPPORTED", text);
  }

  accept(streamId: number, _now: number): Step<MuxEvent> {
    this.#streams.accept(streamId);
    return this.#out.step();
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

  consumed(streamId: number, byteLength: number, now: number): Step<MuxEvent> {
    this.#streams.consumed(streamId, byteLength, now);
    return this.#out.step();
  }

  writable(streamId: number): number {
    return this.#streams.writable(streamId);
  }

  hasWindow(_streamId: number): boolean {
    return this.#peer.kind === "sluice";
  }

  end(_now: number): Step<MuxEvent> {
    this.#close(undefined);
    return this.#out.step();
  }

  #onFrame(frame: Frame, now: number): void {
    if (frame.streamId === 0) {
      if (frame.type === FrameType.set) this.#onSet(frame.payload, now);
      return; // nothing else has a meaning there, and pong-go answers nothing
    }
    if (this.#peer.kind === "unknown") this.#becomeReference(now);
    if (this.#streams.has(frame.streamId)) this.#streams.onFrame(frame, now);
    else this.#onOpeningFrame(frame, now);
  }

  /** Frames that open nothing are never answered for a forgotten id: two ends would play ping-pong. */
  #onOpeningFrame({ streamId, type, payload }: Frame, now: number): void {
    if (type === FrameType.associate || type === FrameType.relay) {
      // DEVIATION(pong-go): it opens a stream for these and drops it without a word.
      this.#out.rst(streamId, RstCode.command);
      return;
    }
    if (type !== FrameType.connect) return;
    if (this.#role.side === "local") {
      // DEVIATION(pong-go): its local dials for its remote; ours lends nothing unasked.
      this.#out.rst(streamId, RstCode.rule);
      return;
    }
    if (this.#streams.size >= this.#options.limits.maxStreams) {
      this.#out.rst(streamId, RstCode.serverError);
      return;
    }
    try {
      const target: Target = { network: "tcp", ...decodeSocksAddress(payload) };
      this.#streams.add(streamId, now);
      this.#out.event({ type: "streamRequested", streamId, target });
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown;
      this.#out.rst(streamId, RstCode.addressType); // that stream's fault alone
    }
  }

  #onSet(payload: Uint8Array, now: number): void {
    const extension = this.#speaksExtensions ? decodeExtension(payload) : undefined;
    if (extension?.kind === "hello") this.#onHello(extension, now);
    if (extension === undefined || this.#peer.kind !== "sluice") return;
    switch (extension.kind) {
      case "hello":
        break;
      case "ping":
        this.#out.extension({ kind: "pong", nonce: extension.nonce });
        break;
      case "pong":
        this.#keepalive.answered(extension.nonce, now);
        break;
      case "accepted":
        this.#streams.onAccepted(extension.streamId, now);
        break;
      case "window":
        if (!this.#streams.onWindow(extension.streamId, extension.increment)) {
          this.#close(new ProtocolError(`window of stream ${extension.streamId} is absurd`));
        }
        break;
    }
  }

  #onHello(hello: Extract<Extension, { kind: "hello" }>, now: number): void {
    // A late hello still counts at the local: a Sluice remote says it before anything else, so no
    // stream has outrun a window yet. At a remote it comes first or not at all.
    const isTooLate = this.#peer.kind === "reference" && this.#role.side === "remote";
    if (this.#peer.kind === "sluice" || isTooLate) return;
    this.#helloDeadline = undefined;
    this.#peer.becomeSluice(hello);
    this.#keepaliveDeadline = this.#keepalive.nextLook(now);
    if (this.#role.side === "remote") this.#sendHello();
    else this.#keepalive.measured(now - this.#startedAt);
    this.#out.event({ type: "ready", description: "sluice" });
    this.#streams.onSluice();
  }

  #becomeReference(now: number): void {
    this.#helloDeadline = undefined;
    this.#peer.becomeReference();
    this.#out.event({ type: "ready", description: "pong-go" });
    this.#streams.onReference(now);
  }

  /** Only another Sluice answers pings; toward others the transport's own means have to do. */
  #keepAlive(now: number): void {
    const verdict = this.#keepalive.look(now);
    if (verdict === "dead") {
      const quiet = Math.round(this.#keepalive.quietMs(now));
      const text = `peer said nothing for ${quiet} ms, not even to our ping`;
      this.#close(new NetworkError("ERR_PEER_SILENT", text));
      return;
    }
    if (verdict !== "wait") this.#out.extension({ kind: "ping", nonce: verdict.nonce });
    this.#keepaliveDeadline = this.#keepalive.nextLook(now);
  }

  #close(error: TunnelError | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#helloDeadline = undefined;
    this.#keepaliveDeadline = undefined;
    this.#streams.clear();
    this.#out.event({ type: "closed", error });
  }

  /** Asked anew after each frame, which may have closed the session. */
  #isOver(): boolean {
    return this.#isClosed;
  }

  /** As both ends of pong-go do. A Sluice keeps its connections, and proves by pings that it lives. */
  get #idleDeadline(): number | undefined {
    const { idleMs } = this.#options;
    if (this.#role.side === "local" || this.#peer.kind === "sluice" || this.#isClosed)
      return undefined;
    if (idleMs === 0 || this.#streams.size > 0) return undefined;
    return this.#keepalive.lastHeardAt + idleMs;
  }

  get #speaksExtensions(): boolean {
    const { extensions, peer } = this.#options;
    return extensions && peer !== "v0.9.4" && peer !== "head";
  }

  #sendHello(): void {
    const { initialWindowBytes: initialWindow } = this.#options.limits;
    this.#out.extension({ kind: "hello", maxPayload: MAX_PAYLOAD, initialWindow });
  }
}

function earliest(...times: readonly (number | undefined)[]): number | undefined {
  let first: number | undefined;
  for (const time of times) {
    if (time !== undefined && (first === undefined || time < first)) first = time;
  }
  return first;
}

/** Odd ids end here; the pool then dials a new connection. */
const LAST_STREAM_ID = 0xffff_fffd;

/** Longer CONNECT payloads vanish in pong-go. Spec: pong 1.4. */
const MAX_REFERENCE_ADDRESS_BYTES = 128;
