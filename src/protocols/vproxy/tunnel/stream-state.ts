/**
 * Where a stream stands on the wire. `ending`: nobody here uses it any more and our FIN has left,
 * but the peer may still speak. `leaving`: it is over but for a last frame of ours that must not
 * arrive together with what we sent before.
 */
export type StreamState =
  | "synSent"
  | "established"
  | "finSent"
  | "finReceived"
  | "ending"
  | "leaving"
  | "dead";

/**
 * What moves a stream: frames of ours and of the peer, and the clock. `hold…` is the same as
 * `send…`, only that the frame has to wait.
 */
export type StreamSignal =
  | "synAckReceived"
  | "sendFin"
  | "holdFin"
  | "finReceived"
  | "sendClose"
  | "sendRst"
  | "holdRst"
  | "rstReceived"
  | "expired";

type Moves = Readonly<Partial<Record<StreamSignal, StreamState>>>;

const HARD = { sendRst: "dead", rstReceived: "dead" } as const;

/**
 * Every legal move. No entry: ignored when the peer asks, and nothing to do when we do.
 *
 * Spec: vproxy 3.8. There a stream is known until its owner closes it; here until both sides are
 * done, so that bytes nobody wants any more can be answered with RST. `sendClose` after the peer's
 * FIN is `sendFin` or `holdFin`.
 */
export const TRANSITIONS: Readonly<Record<StreamState, Moves>> = {
  synSent: {
    synAckReceived: "established",
    // DEVIATION(vproxy): it closes both ways here; ours goes on reading, which the peer expects.
    sendFin: "finSent",
    finReceived: "dead",
    sendClose: "ending",
    expired: "dead",
    ...HARD,
  },
  established: {
    sendFin: "finSent",
    finReceived: "finReceived",
    sendClose: "ending",
    holdRst: "leaving",
    ...HARD,
  },
  finSent: { finReceived: "dead", sendClose: "ending", holdRst: "leaving", ...HARD },
  finReceived: {
    sendFin: "dead",
    holdFin: "leaving",
    finReceived: "dead",
    holdRst: "leaving",
    ...HARD,
  },
  ending: { finReceived: "dead", expired: "dead", ...HARD },
  leaving: { rstReceived: "dead", expired: "dead" },
  dead: {},
};

/** The state after `signal`, or `undefined` when the table has no such move. */
export function nextState(state: StreamState, signal: StreamSignal): StreamState | undefined {
  return TRANSITIONS[state][signal];
}
