import type { HostPort } from "../../address/socks-address.ts";
import {
  MisuseError,
  NetworkError,
  PolicyError,
  ProtocolError,
  toTunnelError,
  type TunnelError,
} from "../../errors.ts";
import type { Packet } from "../../tunnel/packets.ts";
import { type Channel, nextState } from "./channel-state.ts";
import { ChannelTable, type NewChannel } from "./channel-table.ts";
import { MAX_TEXT_BYTES } from "./codec.ts";
import {
  connectError,
  disconnectError,
  END_OF_STREAM,
  isOrderly,
  toErrorText,
} from "./error-texts.ts";
import { MAX_SEND_WINDOW } from "./extension.ts";
import type {
  ChannelId,
  ConnectResponse,
  DataTcp,
  DataUdp,
  DataUnknown,
  Disconnect,
  Window,
} from "./messages.ts";
import type { LinkSocksOptions } from "./options.ts";
import type { Outgoing } from "./outgoing.ts";
import { inflate, splitPayload } from "./payload.ts";

/** The channels of one session: what each message and command does to one of them. */
export class LinkSocksChannels {
  readonly #options: LinkSocksOptions;
  readonly #out: Outgoing;
  readonly #table: ChannelTable;

  constructor(options: LinkSocksOptions, out: Outgoing) {
    this.#options = options;
    this.#out = out;
    this.#table = new ChannelTable(options, out);
  }

  get size(): number {
    return this.#table.size;
  }

  get deadline(): number | undefined {
    return this.#table.deadline;
  }

  /** A number for a channel that will never be, because its target cannot be asked for. */
  nextId(): number {
    return this.#table.nextId();
  }

  named(channelId: ChannelId): Channel | undefined {
    return this.#table.named(channelId);
  }

  hasWindow(id: number): boolean {
    return this.#table.get(id)?.receiveWindow !== undefined;
  }

  /** A channel we opened, or were asked for. */
  add(wish: NewChannel, now: number): Channel {
    const channel = this.#table.add(wish, now);
    if (channel.side === "exit") return channel;
    this.#table.wait(channel, now + this.#options.connectTimeoutMs);
    if (this.#options.fastOpen) {
      channel.dial = "assumed";
      this.#out.event({ type: "streamAccepted", streamId: channel.id });
    }
    return channel;
  }

  /** Tells the peer that every channel is over. */
  endAll(cause: TunnelError): void {
    for (const channel of this.#table.all()) this.#sayEnd(channel, toErrorText(cause));
  }

  /** The session is over; its owner reports that for all channels at once. */
  clear(): void {
    this.#table.clear();
  }

  /**
   * Exit: the target was reached.
   *
   * @param settleMs how long to say nothing more, because the way to the SOCKS side may mix it up
   */
  accept(id: number, settleMs: number, now: number): void {
    const channel = this.#table.get(id);
    if (channel?.side !== "exit" || channel.dial !== "pending") return;
    const { channelId } = channel;
    this.#out.message({ type: "connectResponse", channelId, error: undefined });
    channel.dial = "settling";
    // Datagrams that waited are delivered once their owner had the time to take the association.
    if (settleMs > 0 || channel.earlyPackets.length > 0) this.#table.wait(channel, now + settleMs);
    else this.#settled(channel, now);
  }

  write(id: number, data: Uint8Array): void {
    const channel = this.#table.get(id);
    if (channel === undefined) return; // it ended while the bytes were on their way
    const room = this.writable(id);
    if (data.byteLength > room) {
      throw new MisuseError(`write of ${data.byteLength} bytes exceeds ${room}`);
    }
    channel.sendWindow -= data.byteLength;
    const { maxPayloadBytes, maxPlainPayloadBytes } = this.#options;
    const pieceBytes = channel.receiveWindow ? maxPayloadBytes : maxPlainPayloadBytes;
    for (const message of splitPayload(channel.header, data, { ...this.#options, pieceBytes })) {
      this.#out.bytes(message);
    }
    this.#options.memory.recycle(data);
  }

  sendPacket(id: number, { host, port, data: payload }: Packet): void {
    const channel = this.#table.get(id);
    if (channel?.protocol !== "udp" || Buffer.byteLength(host) > MAX_TEXT_BYTES) return;
    const { channelId, protocol, side } = channel;
    const [source, target] =
      side === "socks" ? [NO_ADDRESS, { host, port }] : [{ host, port }, NO_ADDRESS];
    const compression = 0;
    this.#out.message({ type: "data", protocol, channelId, compression, payload, source, target });
  }

  finish(id: number, now: number): void {
    const channel = this.#table.get(id);
    if (channel?.protocol !== "tcp") return;
    const { channelId, side, dial, receiveWindow } = channel;
    if (receiveWindow !== undefined) {
      if (nextState(channel.state, "sendFinish") === undefined) return;
      this.#out.message({ type: "finish", channelId });
      this.#table.move(channel, "sendFinish");
    } else if (side === "exit" && dial === "done") {
      this.#disconnectAtEnd(channel, now);
    } else if (this.#table.move(channel, "holdFinish") && dial === "done") {
      // The reference closes both ways at a Disconnect: the answer to come would be lost. Spec: 3.8.
      this.#awaitQuiet(channel, now);
    }
  }

  close(id: number): void {
    const channel = this.#table.get(id);
    if (channel === undefined) return;
    this.#sayEnd(channel, channel.protocol === "tcp" ? END_OF_STREAM : "");
    this.#table.move(channel, "end");
  }

  reset(id: number, cause: TunnelError): void {
    const channel = this.#table.get(id);
    if (channel !== undefined) this.fail(channel, cause);
  }

  consumed(id: number, byteLength: number, now: number): void {
    const channel = this.#table.get(id);
    const increment = channel?.receiveWindow?.consume(byteLength, now) ?? 0;
    if (channel === undefined || increment === 0 || channel.state === "finishReceived") return;
    this.#out.message({ type: "window", channelId: channel.channelId, increment });
  }

  writable(id: number): number {
    const channel = this.#table.get(id);
    if (channel?.state !== "open" && channel?.state !== "finishReceived") return 0;
    if (channel.protocol !== "tcp") return 0;
    if (channel.dial === "done") return channel.sendWindow;
    // What comes before the ConnectResponse gets lost in a reference that relays. Spec: 3.4.
    return channel.side === "socks" && channel.receiveWindow !== undefined ? channel.sendWindow : 0;
  }

  onConnectResponse(channel: Channel, { error }: ConnectResponse, now: number): void {
    if (channel.side === "exit") return;
    if (error === undefined) {
      this.#reached(channel, now);
    } else {
      this.#table.move(channel, "end", connectError(error));
    }
  }

  onData(channel: Channel, data: DataTcp | DataUdp | DataUnknown, now: number): void {
    if (data.protocol !== channel.protocol) {
      this.fail(channel, new ProtocolError(`${data.protocol} data on ${channel.protocol}`));
      return;
    }
    // It proves that the target was reached: the answer may come behind it. Spec: linksocks 3.3.
    this.#reached(channel, now);
    let payload: Uint8Array;
    try {
      payload = inflate(data, this.#options.maxInflatedBytes);
    } catch (thrown) {
      this.fail(channel, toTunnelError(thrown, "ERR_PROTOCOL", "payload"));
      return;
    }
    if (data.protocol === "udp") this.#onPacket(channel, data, payload);
    else this.#onBytes(channel, payload, now);
  }

  onFinish(channel: Channel, now: number): void {
    if (channel.receiveWindow === undefined) {
      this.fail(channel, new ProtocolError("Finish on a channel that has none"));
      return;
    }
    this.#reached(channel, now);
    if (nextState(channel.state, "finishReceived") === undefined) return;
    this.#out.event({ type: "streamFinished", streamId: channel.id });
    this.#table.move(channel, "finishReceived");
  }

  onWindow(channel: Channel, { increment }: Window): void {
    const wasWritable = this.writable(channel.id) > 0;
    channel.sendWindow += increment; // where there is none, it stays infinite
    if (channel.receiveWindow !== undefined && channel.sendWindow > MAX_SEND_WINDOW) {
      this.fail(channel, new ProtocolError("window of the channel is absurd"));
    } else if (!wasWritable && this.writable(channel.id) > 0) {
      this.#out.event({ type: "streamWritable", streamId: channel.id });
    }
  }

  onDisconnect(channel: Channel, { error: text }: Disconnect, now: number): void {
    const { id, channelId, protocol, side, receiveWindow } = channel;
    // An exit that ends in order had reached its target, whether or not its answer came before.
    if (text === END_OF_STREAM) this.#reached(channel, now);
    // An exit that cannot half-close waits for this. Nobody answers it.
    if (side === "socks" && receiveWindow === undefined) {
      this.#out.message({ type: "disconnect", channelId, error: "" });
    }
    const isUnanswered = side === "socks" && channel.dial !== "done";
    if (!isOrderly(text) || isUnanswered) {
      this.#table.move(channel, "end", isUnanswered ? connectError(text) : disconnectError(text));
      return;
    }
    if (protocol === "tcp" && channel.state !== "finishReceived") {
      this.#out.event({ type: "streamFinished", streamId: id });
    }
    this.#table.move(channel, "end");
  }

  /** Ends a channel hard, as our owner wants or because the peer broke its rules. */
  fail(channel: Channel, cause: TunnelError): void {
    this.#sayEnd(channel, toErrorText(cause));
    this.#table.move(channel, "end", cause);
  }

  tick(now: number): void {
    for (const channel of this.#table.due(now)) this.#expired(channel, now);
  }

  #expired(channel: Channel, now: number): void {
    if (channel.dial === "settling") {
      this.#settled(channel, now);
    } else if (channel.dial !== "done") {
      const text = `exit did not answer within ${this.#options.connectTimeoutMs} ms`;
      this.fail(channel, new NetworkError("ERR_DIAL_TIMEOUT", text));
    } else if (channel.state === "finishHeld") {
      const text = "half-closed channel was idle for too long";
      this.#sayEnd(channel, END_OF_STREAM);
      this.#table.move(channel, "expired", new PolicyError("ERR_IDLE_TIMEOUT", text));
    } else {
      // The peer was told the end, and had its time to say what was on the way.
      this.#out.event({ type: "streamFinished", streamId: channel.id });
      this.#table.move(channel, "expired");
    }
  }

  /** The target was reached, by the exit's word or by whatever only an exit that reached it says. */
  #reached(channel: Channel, now: number): void {
    const { id, dial, side } = channel;
    if (side === "exit") {
      if (dial === "settling") this.#settled(channel, now);
      return;
    }
    if (dial === "done") return;
    const wasWritable = this.writable(id) > 0;
    channel.dial = "done";
    this.#table.waitNoMore(channel);
    if (dial === "pending") this.#out.event({ type: "streamAccepted", streamId: id });
    if (channel.state === "finishHeld") this.#awaitQuiet(channel, now);
    if (!wasWritable) this.#becameWritable(channel);
  }

  /** Exit: nothing can overtake our answer any more. */
  #settled(channel: Channel, now: number): void {
    channel.dial = "done";
    this.#table.waitNoMore(channel);
    for (const packet of channel.earlyPackets) {
      this.#out.event({ type: "packetReceived", streamId: channel.id, packet });
    }
    channel.earlyPackets = [];
    if (channel.state === "finishHeld") this.#disconnectAtEnd(channel, now);
    else this.#becameWritable(channel);
  }

  #becameWritable({ id }: Channel): void {
    if (this.writable(id) > 0) this.#out.event({ type: "streamWritable", streamId: id });
  }

  /** Exit toward a peer that cannot half-close: the target ended, which is all there is to say. */
  #disconnectAtEnd(channel: Channel, now: number): void {
    if (!this.#table.move(channel, "sendFinish")) return;
    const { channelId } = channel;
    this.#out.message({ type: "disconnect", channelId, error: END_OF_STREAM });
    this.#awaitQuiet(channel, now);
  }

  #awaitQuiet(channel: Channel, now: number): void {
    this.#table.wait(channel, now + this.#options.halfCloseGraceMs);
  }

  #onBytes(channel: Channel, data: Uint8Array, now: number): void {
    const { id, state, receiveWindow } = channel;
    if (state === "finishReceived") {
      this.fail(channel, new ProtocolError("data after Finish"));
      return;
    }
    if (receiveWindow?.receive(data.byteLength, now) === false) {
      this.fail(channel, new ProtocolError("data beyond the window"));
      return;
    }
    if (this.#table.isWaiting(channel)) this.#awaitQuiet(channel, now);
    if (data.byteLength > 0) this.#out.event({ type: "streamData", streamId: id, data });
  }

  #onPacket(channel: Channel, { source, target }: DataUdp, data: Uint8Array): void {
    const { id, side, dial, earlyPackets } = channel;
    const address = side === "socks" ? source : target;
    if (address.host === "") return; // nobody could say where it comes from or goes
    // A copy: the message's memory is used again.
    const packet = { ...address, data: data.slice() };
    if (side === "socks" || dial === "done") {
      this.#out.event({ type: "packetReceived", streamId: id, packet });
    } else if (earlyPackets.length < this.#options.earlyPackets) {
      earlyPackets.push(packet);
    }
  }

  /** Tells the peer that the channel is over, in the form that it expects, unless it knows. */
  #sayEnd({ channelId, side, dial, state, receiveWindow }: Channel, error: string): void {
    if (side === "exit" && dial === "pending") {
      this.#out.message({ type: "connectResponse", channelId, error });
    } else if (state !== "finishSent" || receiveWindow !== undefined) {
      this.#out.message({ type: "disconnect", channelId, error });
    }
  }
}

const NO_ADDRESS: HostPort = { host: "", port: 0 };
