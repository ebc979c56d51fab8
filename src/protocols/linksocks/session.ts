import type { Target } from "../../address/target.ts";
import { MisuseError, NetworkError, ProtocolError, TunnelError } from "../../errors.ts";
import type { Packet } from "../../tunnel/packets.ts";
import type { MuxSession, Step } from "../../tunnel/session.ts";
import type { Channel } from "./channel-state.ts";
import { LinkSocksChannels } from "./channels.ts";
import { parseMessage } from "./codec.ts";
import { problemOf, spelledHost, targetOf } from "./connect.ts";
import { toErrorText } from "./error-texts.ts";
import { type Hello, helloOf, parseHello } from "./extension.ts";
import { fromUuid } from "./message-reader.ts";
import {
  type ChannelId,
  type ChannelMessage,
  type ConnectTcp,
  type ConnectUdp,
  type ConnectUnknown,
  type ControlMessage,
  type Log,
  type Malformed,
  type Message,
  MessageType,
  type Window,
} from "./messages.ts";
import {
  LINKSOCKS_DEFAULTS,
  type LinkSocksOptions,
  type LinkSocksRole,
  type SessionOptions,
} from "./options.ts";
import { EMPTY_STEP, type LinkSocksEvent, Outgoing } from "./outgoing.ts";

/** What a Connect asks for. */
type Wish = Omit<ConnectTcp, "type" | "channelId"> | Omit<ConnectUdp, "type" | "channelId">;

/** A new channel's number, and what opening it caused. */
interface Opening {
  readonly streamId: number;
  readonly step: Step<LinkSocksEvent>;
}

/**
 * One LinkSocks WebSocket after its login: which channels there are, and what the peer is. What
 * happens inside a channel is in `channels.ts`. Sans I/O; every chunk in and out is one message.
 *
 * Spec: linksocks 1, 3. Reference: linksocks `relay.go`, `server.go`, `client.go`.
 */
export class LinkSocksSession implements MuxSession<ControlMessage> {
  readonly #role: LinkSocksRole;
  readonly #options: LinkSocksOptions;
  readonly #out = new Outgoing();
  readonly #channels: LinkSocksChannels;
  /** The peer's hello, when it is another Sluice. */
  #peer: Hello | undefined;
  /** The mark that precedes the Connect of an extended channel; see `extension.ts`. */
  #mark: Window | undefined;
  #malformedCount = 0;
  #isClosed = false;

  constructor(role: LinkSocksRole, options: SessionOptions) {
    this.#role = role;
    this.#options = { ...LINKSOCKS_DEFAULTS, ...options };
    this.#channels = new LinkSocksChannels(this.#options, this.#out);
  }

  /** Says the first words after the login: our hello, unless extensions are off. */
  start(_now: number): Step<LinkSocksEvent> {
    const { extensions, initialWindowBytes } = this.#options;
    if (extensions) this.#out.message(helloOf({ windowBytes: initialWindowBytes }));
    return this.#out.step();
  }

  /**
   * Sends a message of the client's or server's own.
   *
   * @throws ConfigError when it holds a token of more than 255 bytes
   */
  send(message: ControlMessage): Step<LinkSocksEvent> {
    if (this.#isClosed) return EMPTY_STEP;
    this.#out.message(message);
    return this.#out.step();
  }

  get deadline(): number | undefined {
    return this.#channels.deadline;
  }

  get streamCount(): number {
    return this.#channels.size;
  }

  get isOpen(): boolean {
    return !this.#isClosed && this.#role.opensStreams;
  }

  receive(chunk: Uint8Array, now: number): Step<LinkSocksEvent> {
    if (this.#isClosed) return EMPTY_STEP;
    const message = parseMessage(chunk, this.#options.maxMessageBytes);
    const mark = this.#mark;
    this.#mark = undefined; // it counts for the very next message
    if (message.type === "malformed") this.#onMalformed(message);
    else this.#onMessage(message, mark, now);
    return this.#out.step();
  }

  receiveEnd(_now: number): Step<LinkSocksEvent> {
    if (this.#isClosed) return EMPTY_STEP;
    const count = this.#channels.size;
    const text = `connection ended with ${count} channels on it`;
    this.#close(count === 0 ? undefined : new NetworkError("ERR_TUNNEL_LOST", text));
    return this.#out.step();
  }

  tick(now: number): Step<LinkSocksEvent> {
    if (this.#isClosed) return EMPTY_STEP;
    this.#channels.tick(now);
    return this.#out.step();
  }

  open(target: Target, now: number): Opening {
    const problem = problemOf(target);
    return problem === undefined
      ? this.#open({ protocol: "tcp", host: spelledHost(target.host), port: target.port }, now)
      : this.#refuseToOpen(problem);
  }

  openPackets(now: number): Opening {
    return this.#open({ protocol: "udp" }, now);
  }

  accept(streamId: number, now: number): Step<LinkSocksEvent> {
    // QUIRK(linksocks): its server passes on an answer and what follows it in any order. Spec: 3.3.
    const isMixedUp = this.#role.isProvider === true && this.#peer === undefined;
    this.#channels.accept(streamId, isMixedUp ? this.#options.firstDataHoldMs : 0, now);
    return this.#out.step();
  }

  write(streamId: number, data: Uint8Array, _now: number): Step<LinkSocksEvent> {
    this.#channels.write(streamId, data);
    return this.#out.step();
  }

  sendPacket(streamId: number, packet: Packet, _now: number): Step<LinkSocksEvent> {
    this.#channels.sendPacket(streamId, packet);
    return this.#out.step();
  }

  finish(streamId: number, now: number): Step<LinkSocksEvent> {
    this.#channels.finish(streamId, now);
    return this.#out.step();
  }

  close(streamId: number, _now: number): Step<LinkSocksEvent> {
    this.#channels.close(streamId);
    return this.#out.step();
  }

  reset(streamId: number, cause: TunnelError, _now: number): Step<LinkSocksEvent> {
    this.#channels.reset(streamId, cause);
    return this.#out.step();
  }

  consumed(streamId: number, byteLength: number, now: number): Step<LinkSocksEvent> {
    this.#channels.consumed(streamId, byteLength, now);
    return this.#out.step();
  }

  writable(streamId: number): number {
    return this.#channels.writable(streamId);
  }

  hasWindow(streamId: number): boolean {
    return this.#channels.hasWindow(streamId);
  }

  end(_now: number): Step<LinkSocksEvent> {
    if (this.#isClosed) return EMPTY_STEP;
    this.#channels.endAll(new TunnelError("ERR_SHUTDOWN", "the other end closes the link"));
    this.#close(undefined);
    return this.#out.step();
  }

  #open(wish: Wish, now: number): Opening {
    if (!this.isOpen) throw new MisuseError("LinkSocks session takes no new channels");
    const { protocol } = wish;
    const channelId = this.#newId();
    const peer = protocol === "tcp" ? this.#peer : undefined;
    const { initialWindowBytes: increment } = this.#options;
    if (peer !== undefined) this.#out.message({ type: "window", channelId, increment });
    this.#out.message({ type: "connect", channelId, ...wish });
    const sendWindow = peer?.windowBytes;
    const { id } = this.#channels.add({ channelId, protocol, side: "socks", sendWindow }, now);
    return { streamId: id, step: this.#out.step() };
  }

  #refuseToOpen(error: TunnelError): Opening {
    if (!this.isOpen) throw new MisuseError("LinkSocks session takes no new channels");
    const streamId = this.#channels.nextId();
    this.#out.event({ type: "streamClosed", streamId, error });
    return { streamId, step: this.#out.step() };
  }

  #newId(): ChannelId {
    const text = this.#options.newId();
    const digits = fromUuid(text);
    if (digits === undefined) throw new MisuseError(`${text} is no UUID`);
    return digits;
  }

  #onMessage(message: Message, mark: Window | undefined, now: number): void {
    switch (message.type) {
      case "connect":
        this.#onConnect(message, mark, now);
        break;
      case "connectResponse":
      case "data":
      case "disconnect":
      case "finish":
      case "window":
        this.#onChannelMessage(message, now);
        break;
      case "log":
        this.#onLog(message);
        break;
      case "partners":
      case "connector":
      case "connectorResponse":
      case "directCapabilities":
      case "directRendezvous":
      case "directStatus":
        this.#out.event({ type: "message", message });
        break;
      case "auth":
      case "authResponse":
      case "unknown":
        break; // the login is over; a type we do not know is ignored, as everybody does
    }
  }

  #onChannelMessage(
    message: Exclude<ChannelMessage, { readonly type: "connect" }>,
    now: number,
  ): void {
    const channel = this.#channels.named(message.channelId);
    if (channel === undefined) {
      this.#onUnknownChannel(message);
      return;
    }
    switch (message.type) {
      case "connectResponse":
        this.#channels.onConnectResponse(channel, message, now);
        break;
      case "data":
        this.#channels.onData(channel, message, now);
        break;
      case "disconnect":
        this.#channels.onDisconnect(channel, message, now);
        break;
      case "finish":
        this.#channels.onFinish(channel, now);
        break;
      case "window":
        this.#channels.onWindow(channel, message);
        break;
    }
  }

  /** Late words are normal, and ignored; but an exit that just reached its target has to let go. */
  #onUnknownChannel(message: Exclude<ChannelMessage, { readonly type: "connect" }>): void {
    const { type, channelId } = message;
    if (type === "window" && this.#peer !== undefined) {
      this.#mark = message;
    } else if (type === "connectResponse" && message.error === undefined) {
      this.#out.message({ type: "disconnect", channelId, error: "" });
    }
  }

  #onConnect(
    connect: ConnectTcp | ConnectUdp | ConnectUnknown,
    mark: Window | undefined,
    now: number,
  ): void {
    const { channelId } = connect;
    if (this.#channels.named(channelId) !== undefined) return; // the old channel goes on
    const target = this.#judge(connect);
    if (target instanceof TunnelError) {
      this.#refuse(channelId, target);
      return;
    }
    const protocol = target === undefined ? "udp" : "tcp";
    const isMarked = protocol === "tcp" && mark?.channelId === channelId;
    const sendWindow = isMarked ? mark.increment : undefined;
    const channel = this.#channels.add({ channelId, protocol, side: "exit", sendWindow }, now);
    this.#announce(channel, target);
  }

  #announce({ id: streamId }: Channel, target: Target | undefined): void {
    if (target === undefined) this.#out.event({ type: "packetsRequested", streamId });
    else this.#out.event({ type: "streamRequested", streamId, target });
  }

  /** What is asked for; `undefined`: an association; or why not. */
  #judge(connect: ConnectTcp | ConnectUdp | ConnectUnknown): Target | TunnelError | undefined {
    const { maxStreams } = this.#options;
    // DEVIATION(linksocks): its client says nothing, and its server obeys everybody. Spec: 3.3, 7.2.
    if (!this.#role.takesStreams) {
      return new TunnelError("ERR_POLICY_DENIED", "this end takes no connections");
    }
    if (this.#channels.size >= maxStreams) {
      return new TunnelError("ERR_LIMIT", `${maxStreams} channels are open already`);
    }
    return targetOf(connect);
  }

  #refuse(channelId: ChannelId, why: TunnelError): void {
    this.#out.message({ type: "connectResponse", channelId, error: toErrorText(why) });
  }

  #onLog(log: Log): void {
    const hello = parseHello(log);
    if (hello === undefined) {
      this.#out.event({ type: "message", message: log });
    } else if (this.#options.extensions && this.#peer === undefined) {
      this.#peer = hello;
      this.#out.event({ type: "ready", description: "sluice" });
    }
  }

  /** DEVIATION(linksocks): there the whole WebSocket dies of it. Spec: 1.1. */
  #onMalformed({ messageType, channelId, error }: Malformed): void {
    const channel = channelId === undefined ? undefined : this.#channels.named(channelId);
    if (channel !== undefined) {
      this.#channels.fail(channel, error);
    } else if (channelId !== undefined) {
      if (messageType === MessageType.connect) this.#refuse(channelId, error);
    } else if (++this.#malformedCount > this.#options.maxMalformed) {
      const text = `${this.#malformedCount} malformed messages, the last: ${error.message}`;
      this.#close(new ProtocolError(text, { cause: error }));
    }
  }

  #close(error: TunnelError | undefined): void {
    this.#isClosed = true;
    this.#channels.clear();
    this.#out.event({ type: "closed", error });
  }
}
