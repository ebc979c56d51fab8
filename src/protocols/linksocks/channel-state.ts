import type { Packet } from "../../tunnel/packets.ts";
import type { ReceiveWindow } from "../../tunnel/receive-window.ts";
import type { ChannelId } from "./messages.ts";

/**
 * Where a channel stands. `finishHeld`: our side ended, but the peer cannot half-close, or may not
 * be told yet. `finishSent`: the peer was told that we send no more; one that cannot half-close was
 * told so by a Disconnect, and may still say what was on its way.
 */
export type ChannelState = "open" | "finishHeld" | "finishSent" | "finishReceived" | "dead";

/** What moves a channel. `end`: a Disconnect or a refusal of either side. `expired`: its deadline. */
export type ChannelSignal = "holdFinish" | "sendFinish" | "finishReceived" | "end" | "expired";

type Moves = Readonly<Partial<Record<ChannelSignal, ChannelState>>>;

/**
 * Every legal move. No entry: ignored.
 *
 * Spec: linksocks 3.8. Only channels between two Sluice ends see `finishReceived`.
 */
export const TRANSITIONS: Readonly<Record<ChannelState, Moves>> = {
  open: {
    holdFinish: "finishHeld",
    sendFinish: "finishSent",
    finishReceived: "finishReceived",
    end: "dead",
    expired: "dead",
  },
  finishHeld: { sendFinish: "finishSent", end: "dead", expired: "dead" },
  finishSent: { finishReceived: "dead", end: "dead", expired: "dead" },
  finishReceived: { sendFinish: "dead", end: "dead", expired: "dead" },
  dead: {},
};

/** The state after `signal`, or `undefined` when the table has no such move. */
export function nextState(state: ChannelState, signal: ChannelSignal): ChannelState | undefined {
  return TRANSITIONS[state][signal];
}

/** One channel of a session. Only `channels.ts` changes it. */
export interface Channel {
  /** Its number on our side. */
  readonly id: number;
  /** Its name on the wire. */
  readonly channelId: ChannelId;
  readonly protocol: "tcp" | "udp";
  /** `socks`: we asked for the target. `exit`: we were asked. */
  readonly side: "socks" | "exit";
  /** What its Data messages begin with. */
  readonly header: Uint8Array;
  /** Present between two Sluice ends; see `extension.ts`. */
  readonly receiveWindow: ReceiveWindow | undefined;
  state: ChannelState;
  /**
   * Whether the target was reached. `assumed`: nobody said so, but our owner may go on. `settling`:
   * we said so a moment ago, and what follows too closely could overtake it.
   */
  dial: "pending" | "assumed" | "settling" | "done";
  /** Bytes the peer still takes; `Infinity` when it has no windows. */
  sendWindow: number;
  /** Datagrams that came before somebody takes them. */
  earlyPackets: Packet[];
}
