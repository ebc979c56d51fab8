import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ChannelSignal, type ChannelState, nextState, TRANSITIONS } from "./channel-state.ts";

const STATES: readonly ChannelState[] = [
  "open",
  "finishHeld",
  "finishSent",
  "finishReceived",
  "dead",
];

/** Every state against every signal, written out: `-` where there is no move. Spec: linksocks 3.8. */
const EXPECTED: Readonly<Record<ChannelSignal, readonly (ChannelState | "-")[]>> = {
  //           open            finishHeld    finishSent finishReceived dead
  holdFinish: ["finishHeld", "-", "-", "-", "-"],
  sendFinish: ["finishSent", "finishSent", "-", "dead", "-"],
  finishReceived: ["finishReceived", "-", "dead", "-", "-"],
  end: ["dead", "dead", "dead", "dead", "-"],
  expired: ["dead", "dead", "dead", "dead", "-"],
};

describe("linksocks channel states", () => {
  for (const [signal, row] of Object.entries(EXPECTED)) {
    test(`move as the table says on ${signal}`, () => {
      for (const [index, state] of STATES.entries()) {
        const next = nextState(state, signal as ChannelSignal) ?? "-";
        assert.equal(next, row[index], `${state} on ${signal}`);
      }
    });
  }

  test("are all in the table", () => {
    assert.deepEqual(Object.keys(TRANSITIONS), STATES);
  });
});
