import type { ReceiveWindow } from "../../tunnel/receive-window.ts";

/**
 * Where a stream stands on the wire. `finishHeld`: our side ended, but a pong-go remote would take
 * FINISH for an abort, so it was not told. `ending`: nobody here uses the stream any more, but the
 * peer has to speak first, or a deadline to pass, before the id is free.
 */
export type StreamState =
  | "open"
  | "finishHeld"
  | "finishSent"
  | "finishReceived"
  | "ending"
  | "dead";

/** What moves a stream: commands of ours, frames of the peer, and its deadline. */
export type StreamSignal =
  | "sendFinish"
  | "holdFinish"
  | "finishReceived"
  | "sendClose"
  | "holdClose"
  | "closeReceived"
  | "rst"
  | "expired";

type Moves = Readonly<Partial<Record<StreamSignal, StreamState>>>;

const GONE = { sendClose: "dead", closeReceived: "dead", rst: "dead" } as const;

/**
 * Every legal move. No entry: ignored when the peer asks, misuse when we do.
 *
 * Spec: pong 2.3-2.5. Which of `sendFinish` and `holdFinish`, `sendClose` and `holdClose` applies
 * depends on the peer: see `session.ts`.
 */
export const TRANSITIONS: Readonly<Record<StreamState, Moves>> = {
  open: {
    sendFinish: "finishSent",
    holdFinish: "finishHeld",
    finishReceived: "finishReceived",
    holdClose: "ending",
    ...GONE,
  },
  finishHeld: {
    sendFinish: "finishSent",
    finishReceived: "dead",
    holdClose: "ending",
    expired: "dead",
    ...GONE,
  },
  finishSent: { finishReceived: "dead", holdClose: "ending", expired: "dead", ...GONE },
  finishReceived: { sendFinish: "dead", holdClose: "ending", expired: "dead", ...GONE },
  ending: { finishReceived: "ending", expired: "dead", ...GONE },
  dead: {},
};

/** The state after `signal`, or `undefined` when the table has no such move. */
export function nextState(state: StreamState, signal: StreamSignal): StreamState | undefined {
  return TRANSITIONS[state][signal];
}

/** One stream of a session. Only `session.ts` changes it. */
export interface PongStream {
  readonly id: number;
  state: StreamState;
  /** Whether the target was reached; `assumed`: nobody said so, but its owner may go on. */
  dial: "pending" | "assumed" | "done";
  /** Bytes we sent; the peer's window counts from the first. */
  sentBytes: number;
  /** DATA frames sent while a reference remote may still be dialling. */
  earlyFrames: number;
  /** Bytes the peer still takes; `undefined` while it has no windows. */
  sendWindow: number | undefined;
  readonly receiveWindow: ReceiveWindow;
  /** Small data held back for pong-go HEAD, which drops it. */
  crumbs: Uint8Array | undefined;
}
