import assert from "node:assert/strict";
import { decodeSocksAddress } from "../../src/address/socks-address.ts";
import { formatHostPort, formatTarget, type Target } from "../../src/address/target.ts";
import type { TunnelError } from "../../src/errors.ts";
import {
  encodeFrame,
  type Frame,
  FrameDecoder,
  FrameType,
  HEADER_BYTES,
} from "../../src/protocols/pong/codec.ts";
import {
  decodeExtension,
  encodeExtension,
  type Extension,
} from "../../src/protocols/pong/extension.ts";
import {
  PONG_DEFAULTS,
  type PongLimits,
  type PongOptions,
} from "../../src/protocols/pong/options.ts";
import { PongSession } from "../../src/protocols/pong/session.ts";
import type { MuxEvent, Step } from "../../src/tunnel/session.ts";

/** Options of a session under test; single limits may be left out. */
export type PongEndOptions = Partial<Omit<PongOptions, "limits">> & {
  readonly limits?: Partial<PongLimits>;
};

/**
 * One pong session with its clock, driven by hand. What it says and reports is kept as short
 * texts: `DATA 1 40`, `closed 1 ERR_DIAL_REFUSED`.
 */
export class PongEnd {
  readonly session: PongSession;
  now = 0;
  /** Everything reported, in order. */
  readonly log: MuxEvent[] = [];
  /** Bytes said and not taken by {@link carry} yet. */
  wire: Uint8Array[] = [];
  readonly #decoder = new FrameDecoder();
  #headerMissing: number;
  #events: string[] = [];
  #frames: Frame[] = [];

  constructor(side: "local" | "remote", { limits, ...options }: PongEndOptions = {}) {
    const role = side === "local" ? { side, clientId: new Uint8Array(16).fill(0xc1) } : { side };
    this.#headerMissing = side === "local" ? HEADER_BYTES : 0;
    this.session = new PongSession(role, {
      idleMs: 0, // tests of streams let hours pass; those of idle connections say when to end
      ...options,
      limits: { ...PONG_DEFAULTS.limits, ...limits },
    });
  }

  start(): this {
    this.#take(this.session.start(this.now));
    return this;
  }

  open(target: Target = TARGET): number {
    const { streamId, step } = this.session.open(target, this.now);
    this.#take(step);
    return streamId;
  }

  accept(id: number): void {
    this.#take(this.session.accept(id, this.now));
  }

  write(id: number, data: Uint8Array | number): void {
    const bytes = typeof data === "number" ? new Uint8Array(data) : data;
    this.#take(this.session.write(id, bytes, this.now));
  }

  finish(id: number): void {
    this.#take(this.session.finish(id, this.now));
  }

  close(id: number): void {
    this.#take(this.session.close(id, this.now));
  }

  reset(id: number, cause: TunnelError): void {
    this.#take(this.session.reset(id, cause, this.now));
  }

  consumed(id: number, byteLength: number): void {
    this.#take(this.session.consumed(id, byteLength, this.now));
  }

  end(): void {
    this.#take(this.session.end(this.now));
  }

  receive(bytes: Uint8Array): void {
    this.#take(this.session.receive(bytes, this.now));
  }

  receiveEnd(): void {
    this.#take(this.session.receiveEnd(this.now));
  }

  /** Hears a frame of a scripted peer. */
  hear(type: keyof typeof FrameType | number, id: number, payload: Uint8Array | number = 0): void {
    const bytes = typeof payload === "number" ? new Uint8Array(payload) : payload;
    const code = typeof type === "number" ? type : FrameType[type];
    this.receive(Buffer.concat(encodeFrame({ streamId: id, type: code, payload: bytes })));
  }

  /** Hears an extension of a scripted Sluice. */
  hearExtension(extension: Extension): void {
    this.hear("set", 0, encodeExtension(extension));
  }

  hearHello(initialWindow: number = 256 * 1024): void {
    this.hearExtension({ kind: "hello", maxPayload: 65_528, initialWindow });
  }

  /** Lets time pass, with every deadline on the way. */
  pass(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const { deadline } = this.session;
      if (deadline === undefined || deadline > until) break;
      this.now = Math.max(this.now, deadline);
      this.#take(this.session.tick(this.now));
    }
    this.now = until;
  }

  /** What was reported since the last time this was asked. */
  events(): string[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** The frames said since the last time this was asked, without the connection header. */
  frames(): Frame[] {
    const frames = this.#frames;
    this.#frames = [];
    return frames;
  }

  /** The same as short texts. */
  said(): string[] {
    return this.frames().map(describeFrame);
  }

  #take({ events, output }: Step<MuxEvent>): void {
    for (const event of events) {
      this.log.push(event);
      this.#events.push(describeEvent(event));
    }
    for (const bytes of output) {
      this.wire.push(bytes);
      const skip = Math.min(this.#headerMissing, bytes.byteLength);
      this.#headerMissing -= skip;
      this.#frames.push(...this.#decoder.decode(bytes.subarray(skip).slice()));
    }
  }
}

/** A local and a remote that heard nothing of each other yet, both at time 0. */
export function pongPair(
  localOptions: PongEndOptions = {},
  remoteOptions: PongEndOptions = {},
): { readonly local: PongEnd; readonly remote: PongEnd } {
  const local = new PongEnd("local", localOptions).start();
  const remote = new PongEnd("remote", remoteOptions).start();
  local.wire = cutHeader(local.wire);
  return { local, remote };
}

/** Carries everything either end says to the other until both are quiet. */
export function carry(local: PongEnd, remote: PongEnd): void {
  while (local.wire.length > 0 || remote.wire.length > 0) {
    const [up, down] = [local.wire, remote.wire];
    local.wire = [];
    remote.wire = [];
    for (const chunk of up) remote.receive(chunk);
    for (const chunk of down) local.receive(chunk);
  }
}

/** `DATA 1 40`, `RST 1 5`, `WINDOW 1 131072`. */
export function describeFrame({ streamId, type, payload }: Frame): string {
  switch (type) {
    case FrameType.set:
      return describeExtension(payload);
    case FrameType.connect: {
      const { host, port } = decodeSocksAddress(payload);
      return `CONNECT ${streamId} ${formatHostPort(host, port)}`;
    }
    case FrameType.data:
      return `DATA ${streamId} ${payload.byteLength}`;
    case FrameType.finish:
      return `FINISH ${streamId}`;
    case FrameType.close:
      return `CLOSE ${streamId}`;
    case FrameType.rst:
      return `RST ${streamId} ${[...payload].join(" ")}`.trimEnd();
    default:
      return `TYPE ${type} ${streamId}`;
  }
}

function describeExtension(payload: Uint8Array): string {
  const extension = decodeExtension(payload);
  switch (extension?.kind) {
    case "hello":
      return "HELLO";
    case "ping":
    case "pong":
      return `${extension.kind.toUpperCase()} ${extension.nonce}`;
    case "accepted":
      return `ACCEPTED ${extension.streamId}`;
    case "window":
      return `WINDOW ${extension.streamId} ${extension.increment}`;
    case undefined:
      return "SET ?";
  }
}

function describeEvent(event: MuxEvent): string {
  const errorOf = (error: TunnelError | undefined): string => (error ? ` ${error.code}` : "");
  switch (event.type) {
    case "ready":
      return `ready ${event.description}`;
    case "streamRequested":
      return `requested ${event.streamId} ${formatTarget(event.target)}`;
    case "streamAccepted":
      return `accepted ${event.streamId}`;
    case "streamData":
      return `data ${event.streamId} ${event.data.byteLength}`;
    case "streamFinished":
      return `finished ${event.streamId}`;
    case "streamWritable":
      return `writable ${event.streamId}`;
    case "streamClosed":
      return `closed ${event.streamId}${errorOf(event.error)}`;
    case "packetsRequested":
    case "packetReceived":
    case "message":
      return assert.fail(`pong has no ${event.type}`);
    case "closed":
      return `over${errorOf(event.error)}`;
  }
}

function cutHeader(wire: readonly Uint8Array[]): Uint8Array[] {
  return [Buffer.concat(wire).subarray(HEADER_BYTES)].filter(({ byteLength }) => byteLength > 0);
}

/** Where streams of these tests want to go. */
export const TARGET: Target = { network: "tcp", host: "example.com", port: 80 };
