import assert from "node:assert/strict";
import { formatTarget, type Target } from "../../src/address/target.ts";
import type { TunnelError } from "../../src/errors.ts";
import {
  decodeGoaway,
  encodeFrame,
  type Frame,
  FrameDecoder,
  FrameFlag,
  FrameType,
} from "../../src/protocols/vproxy/tunnel/frames.ts";
import type { TunnelSide, VproxyTunnelOptions } from "../../src/protocols/vproxy/tunnel/options.ts";
import { VproxyTunnelSession } from "../../src/protocols/vproxy/tunnel/tunnel-session.ts";
import type { MuxEvent, Step } from "../../src/tunnel/session.ts";

/**
 * One tunnel session behind its handshake, with its clock, driven by hand. What it says and reports
 * is kept as short texts: `PSH 1 40`, `closed 1 ERR_STREAM_RESET`.
 */
export class TunnelEnd {
  readonly session: VproxyTunnelSession;
  now = 0;
  /** What the connection below claims to hold. */
  unsentBytes = 0;
  /** Everything reported, in order. */
  readonly log: MuxEvent[] = [];
  /** Bytes said and not taken by {@link carry} yet. */
  wire: Uint8Array[] = [];
  readonly #decoder = new FrameDecoder({ maxFrameBytes: 0xff_ffff });
  #events: string[] = [];
  #frames: Frame[] = [];

  constructor(side: TunnelSide, tuning: Tuning = {}) {
    this.session = new VproxyTunnelSession(side, {
      ...tuning,
      target: TARGET,
      unsentBytes: () => this.unsentBytes,
    });
    this.#take(this.session.start(0));
    assert.deepEqual(this.events(), ["ready vproxy tunnel"]);
  }

  open(): number {
    const { streamId, step } = this.session.open(TARGET, this.now);
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
  hear(type: keyof typeof FrameType | number, id = 0, flags = 0, payload: Uint8Array = NONE): void {
    const code = typeof type === "number" ? type : FrameType[type];
    this.receive(Buffer.concat(encodeFrame({ type: code, flags, streamId: id, payload })));
  }

  hearSyn(id: number): void {
    this.hear("headers", id);
  }

  hearRst(id: number): void {
    this.hear("headers", id, FrameFlag.end);
  }

  hearFin(id: number): void {
    this.hear("data", id, FrameFlag.end);
  }

  hearData(id: number, text: string): void {
    this.hear("data", id, 0, Buffer.from(text));
  }

  /** Lets time pass, with every deadline on the way. */
  pass(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const { deadline } = this.session;
      if (deadline === undefined || deadline > until) break;
      assert.ok(deadline > this.now || this.now === 0, `a deadline that was due at ${deadline}`);
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

  /** The frames said since the last time this was asked. */
  frames(): Frame[] {
    const frames = this.#frames;
    this.#frames = [];
    return frames;
  }

  /** The same as short texts. */
  said(): string[] {
    return this.frames().map(nameFrame);
  }

  #take({ events, output }: Step<MuxEvent>): void {
    for (const event of events) {
      this.log.push(event);
      this.#events.push(nameEvent(event));
    }
    for (const bytes of output) this.wire.push(bytes);
    for (const bytes of output) this.#frames.push(...this.#decoder.decode(bytes.slice()));
  }
}

/** Options of a session under test. */
type Tuning = Omit<VproxyTunnelOptions, "target" | "unsentBytes">;

/** A client and a server that have shaken hands, both at time 0. */
export function tunnelPair(
  clientTuning: Tuning = {},
  serverTuning: Tuning = {},
): { readonly client: TunnelEnd; readonly server: TunnelEnd } {
  return {
    client: new TunnelEnd("client", clientTuning),
    server: new TunnelEnd("server", serverTuning),
  };
}

/** Carries everything either end says to the other until both are quiet. */
export function carry(client: TunnelEnd, server: TunnelEnd): void {
  while (client.wire.length > 0 || server.wire.length > 0) {
    const [up, down] = [client.wire, server.wire];
    client.wire = [];
    server.wire = [];
    for (const chunk of up) server.receive(chunk);
    for (const chunk of down) client.receive(chunk);
  }
}

/** `SYN 1`, `PSH 1 40`, `PSH-GZIP 1 39`, `FIN 1`, `PING 1`, `GOAWAY handshake timed out`. */
export function nameFrame({ type, flags, streamId, payload }: Frame): string {
  const isEnd = (flags & FrameFlag.end) !== 0;
  const id = Buffer.from(payload.subarray(0, 8)).toString("hex").replace(/^0+/, "");
  switch (type) {
    case FrameType.headers:
      return `${isEnd ? "RST" : "SYN"} ${streamId}`;
    case FrameType.data:
      if (payload.byteLength === 0 && isEnd) return `FIN ${streamId}`;
      return `PSH${isEnd ? "-FIN" : ""}${flags & FrameFlag.gzip ? "-GZIP" : ""} ${streamId} ${payload.byteLength}`;
    case FrameType.ping:
      return `${isEnd ? "PONG" : "PING"} ${id}`;
    case FrameType.goaway:
      return `GOAWAY ${decodeGoaway(payload)}`;
    default:
      return `TYPE ${type}`;
  }
}

function nameEvent(event: MuxEvent): string {
  const errorOf = (error: TunnelError | undefined): string => (error ? ` ${error.code}` : "");
  switch (event.type) {
    case "ready":
      return `ready ${event.description}`;
    case "streamRequested":
      return `requested ${event.streamId} ${formatTarget(event.target)}`;
    case "streamAccepted":
      return `accepted ${event.streamId}`;
    case "streamData":
      return `data ${event.streamId} ${Buffer.from(event.data).toString("latin1").slice(0, 40)}`;
    case "streamFinished":
      return `finished ${event.streamId}`;
    case "streamClosed":
      return `closed ${event.streamId}${errorOf(event.error)}`;
    case "closed":
      return `over${errorOf(event.error)}`;
    case "streamWritable":
    case "packetsRequested":
    case "packetReceived":
    case "message":
      return assert.fail(`a tunnel has no ${event.type}`);
  }
}

/** What a server of these tests announces. */
export const TARGET: Target = { network: "tcp", host: "example.com", port: 80 };

const NONE = new Uint8Array(0);
