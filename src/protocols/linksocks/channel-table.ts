import { Deadlines } from "../../clock/deadlines.ts";
import type { TunnelError } from "../../errors.ts";
import { ReceiveWindow, type WindowBudget } from "../../tunnel/receive-window.ts";
import { type Channel, type ChannelSignal, nextState } from "./channel-state.ts";
import { dataHeader } from "./codec.ts";
import type { ChannelId } from "./messages.ts";
import type { LinkSocksOptions } from "./options.ts";
import type { Outgoing } from "./outgoing.ts";

/** What a new channel is. */
export interface NewChannel extends Pick<Channel, "channelId" | "protocol" | "side"> {
  /** What the peer grants at first; `undefined`: a channel without windows. */
  readonly sendWindow: number | undefined;
}

/** Which channels a session has, by number and by name, and until when each of them waits. */
export class ChannelTable {
  readonly #options: LinkSocksOptions;
  readonly #out: Outgoing;
  readonly #channels = new Map<number, Channel>();
  readonly #byName = new Map<ChannelId, Channel>();
  /** One a channel; what it stands for follows from the channel's state. */
  readonly #deadlines = new Deadlines<number>();
  readonly #budget: WindowBudget;
  #nextId = 1;

  constructor(options: LinkSocksOptions, out: Outgoing) {
    this.#options = options;
    this.#out = out;
    this.#budget = { remaining: options.linkWindowBytes };
  }

  get size(): number {
    return this.#channels.size;
  }

  /** The earliest deadline, or `undefined` when nothing waits. */
  get deadline(): number | undefined {
    return this.#deadlines.next;
  }

  all(): Iterable<Channel> {
    return this.#channels.values();
  }

  get(id: number): Channel | undefined {
    return this.#channels.get(id);
  }

  named(channelId: ChannelId): Channel | undefined {
    return this.#byName.get(channelId);
  }

  /** A number that no channel has or had. */
  nextId(): number {
    return this.#nextId++;
  }

  add({ channelId, protocol, side, sendWindow }: NewChannel, now: number): Channel {
    const isExtended = sendWindow !== undefined;
    const channel: Channel = {
      id: this.nextId(),
      channelId,
      protocol,
      side,
      header: dataHeader(channelId),
      receiveWindow: isExtended ? new ReceiveWindow(this.#options, this.#budget, now) : undefined,
      state: "open",
      dial: "pending",
      sendWindow: sendWindow ?? Number.POSITIVE_INFINITY,
      earlyPackets: [],
    };
    this.#channels.set(channel.id, channel);
    this.#byName.set(channelId, channel);
    return channel;
  }

  /** Forgets every channel without a word. */
  clear(): void {
    this.#channels.clear();
    this.#byName.clear();
    this.#deadlines.take(Number.POSITIVE_INFINITY);
  }

  /** Sets or moves the deadline of a channel. */
  wait({ id }: Channel, until: number): void {
    this.#deadlines.set(id, until);
  }

  waitNoMore({ id }: Channel): void {
    this.#deadlines.clear(id);
  }

  isWaiting({ id }: Channel): boolean {
    return this.#deadlines.has(id);
  }

  /** Channels whose deadline passed; it is gone. */
  *due(now: number): Generator<Channel> {
    for (const id of this.#deadlines.take(now)) {
      const channel = this.#channels.get(id);
      if (channel !== undefined) yield channel;
    }
  }

  /** The only place that assigns a state; reports the end of the channel. @returns whether it moved */
  move(channel: Channel, signal: ChannelSignal, error?: TunnelError): boolean {
    const next = nextState(channel.state, signal);
    if (next === undefined) return false;
    channel.state = next;
    if (next !== "dead") return true;
    this.#channels.delete(channel.id);
    this.#byName.delete(channel.channelId);
    this.#deadlines.clear(channel.id);
    channel.receiveWindow?.release();
    this.#out.event({ type: "streamClosed", streamId: channel.id, error });
    return true;
  }
}
