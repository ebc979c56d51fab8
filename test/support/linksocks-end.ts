import assert from "node:assert/strict";
import { formatHostPort, formatTarget, type Target } from "../../src/address/target.ts";
import type { TunnelError } from "../../src/errors.ts";
import { encodeMessage, parseMessage } from "../../src/protocols/linksocks/codec.ts";
import { parseHello } from "../../src/protocols/linksocks/extension.ts";
import type { ControlMessage, Message } from "../../src/protocols/linksocks/messages.ts";
import type { LinkSocksOptions, LinkSocksRole } from "../../src/protocols/linksocks/options.ts";
import { LinkSocksSession } from "../../src/protocols/linksocks/session.ts";
import type { Packet } from "../../src/tunnel/packets.ts";
import type { MuxEvent, Step } from "../../src/tunnel/session.ts";

/** Names of parts. */
export type RoleName = "client" | "server" | "provider" | "both";

/** The parts a LinkSocks session plays. */
export const ROLES: Readonly<Record<RoleName, LinkSocksRole>> = {
  /** A forward client or a connector. */
  client: { takesStreams: false, opensStreams: true },
  /** A server that dials targets for its clients. */
  server: { takesStreams: true, opensStreams: false },
  provider: { takesStreams: true, opensStreams: false, isProvider: true },
  both: { takesStreams: true, opensStreams: true },
};

/** What a scripted peer says: a message, its channel given by its number. */
export type Words = Message extends infer Each
  ? Each extends { readonly channelId: string }
    ? Omit<Each, "channelId"> & { readonly channel: number }
    : Each
  : never;

/**
 * One LinkSocks session with its clock, driven by hand. What it says and reports is kept as short
 * texts: `DATA 1 40`, `closed 1 ERR_DIAL_REFUSED`. Channels it opens are named 1, 2, 3 on the wire
 * too; a scripted peer may name its own as it likes.
 */
export class LinkSocksEnd {
  readonly session: LinkSocksSession;
  now = 0;
  /** Everything reported, in order. */
  readonly log: MuxEvent<ControlMessage>[] = [];
  /** Messages said and not taken by {@link carry} yet. */
  wire: Uint8Array[] = [];
  #events: string[] = [];
  #said: string[] = [];

  constructor(role: RoleName, options: Partial<LinkSocksOptions> = {}) {
    let count = 0;
    const newId = (): string => channelName(++count);
    this.session = new LinkSocksSession(ROLES[role], { newId, ...options });
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

  openPackets(): number {
    const { streamId, step } = this.session.openPackets(this.now);
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

  sendPacket(id: number, packet: Packet): void {
    this.#take(this.session.sendPacket(id, packet, this.now));
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

  send(message: ControlMessage): void {
    this.#take(this.session.send(message));
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

  /** Hears a message of a scripted peer. */
  hear(words: Words): void {
    if (!("channel" in words)) {
      this.receive(encodeMessage(words));
      return;
    }
    const { channel, ...rest } = words;
    this.receive(encodeMessage({ ...rest, channelId: channelName(channel) }));
  }

  hearConnect(channel: number, target: Target = TARGET): void {
    const { host, port } = target;
    this.hear({ type: "connect", protocol: "tcp", channel, host, port });
  }

  /** The exit's answer: nothing for yes. */
  hearAnswer(channel: number, error?: string): void {
    this.hear({ type: "connectResponse", channel, error });
  }

  hearData(channel: number, data: Uint8Array | number, compression = 0): void {
    const payload = typeof data === "number" ? new Uint8Array(data) : data;
    this.hear({ type: "data", protocol: "tcp", channel, compression, payload });
  }

  hearDisconnect(channel: number, error = ""): void {
    this.hear({ type: "disconnect", channel, error });
  }

  hearHello(windowBytes: number = 256 * 1024): void {
    const text = `sluice_hello:version=1,window=${windowBytes}`;
    this.hear({ type: "log", level: "debug", text });
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

  /** What was said since the last time this was asked. */
  said(): string[] {
    const said = this.#said;
    this.#said = [];
    return said;
  }

  #take({ events, output }: Step<MuxEvent<ControlMessage>>): void {
    for (const event of events) {
      this.log.push(event);
      this.#events.push(describeEvent(event));
    }
    for (const bytes of output) {
      this.wire.push(bytes);
      this.#said.push(describe(bytes));
    }
  }
}

/** A client and a server that heard nothing of each other yet, both at time 0. */
export function linksocksPair(
  clientOptions: Partial<LinkSocksOptions> = {},
  serverOptions: Partial<LinkSocksOptions> = {},
): { readonly client: LinkSocksEnd; readonly server: LinkSocksEnd } {
  return {
    client: new LinkSocksEnd("client", clientOptions).start(),
    server: new LinkSocksEnd("server", serverOptions).start(),
  };
}

/** Carries everything either end says to the other until both are quiet. */
export function carry(one: LinkSocksEnd, other: LinkSocksEnd): void {
  while (one.wire.length > 0 || other.wire.length > 0) {
    const [up, down] = [one.wire, other.wire];
    one.wire = [];
    other.wire = [];
    for (const chunk of up) other.receive(chunk);
    for (const chunk of down) one.receive(chunk);
  }
}

/** The wire's name for the channel with this number. */
export function channelName(number: number): string {
  return number.toString(16).padStart(32, "0");
}

/** `DATA 1 40`, `DISCONNECT 1 EOF`, `WINDOW 1 131072`. */
function describe(bytes: Uint8Array): string {
  const message = parseMessage(bytes);
  assert.ok(message.type !== "malformed", "we never send what is malformed");
  const number = "channelId" in message ? Number.parseInt(message.channelId, 16) : 0;
  switch (message.type) {
    case "connect": {
      if (message.protocol !== "tcp") return `CONNECT ${number} ${message.protocol}`;
      return `CONNECT ${number} ${formatHostPort(message.host, message.port)}`;
    }
    case "connectResponse":
      return `ANSWER ${number} ${message.error ?? "ok"}`.trimEnd();
    case "data": {
      const gzip = message.compression === 1 ? " gzip" : "";
      if (message.protocol !== "udp") return `DATA ${number} ${message.payload.byteLength}${gzip}`;
      const { source, target } = message;
      const [from, to] = [source, target].map(({ host, port }) => formatHostPort(host, port));
      return `PACKET ${number} ${message.payload.byteLength} from ${from} to ${to}`;
    }
    case "disconnect":
      return `DISCONNECT ${number} ${message.error}`.trimEnd();
    case "finish":
      return `FINISH ${number}`;
    case "window":
      return `WINDOW ${number} ${message.increment}`;
    case "log":
      return parseHello(message) === undefined ? `LOG ${message.text}` : "HELLO";
    default:
      return message.type.toUpperCase();
  }
}

function describeEvent(event: MuxEvent<ControlMessage>): string {
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
      return `packets requested ${event.streamId}`;
    case "packetReceived": {
      const { host, port, data } = event.packet;
      return `packet ${event.streamId} ${formatHostPort(host, port)} ${data.byteLength}`;
    }
    case "message":
      return `message ${event.message.type}`;
    case "closed":
      return `over${errorOf(event.error)}`;
  }
}

/** Where channels of these tests want to go. */
export const TARGET: Target = { network: "tcp", host: "example.com", port: 80 };
