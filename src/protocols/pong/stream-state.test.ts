import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { nextState, type StreamSignal, type StreamState, TRANSITIONS } from "./stream-state.ts";

const STATES: readonly StreamState[] = [
  "open",
  "finishHeld",
  "finishSent",
  "finishReceived",
  "ending",
  "dead",
];

/**
 * Every state against every signal, written out: `-` where there is no move. Spec: pong 2.3-2.5.
 */
const EXPECTED: Readonly<Record<StreamSignal, readonly (StreamState | "-")[]>> = {
  //               open              finishHeld    finishSent finishReceived ending     dead
  sendFinish: ["finishSent", "finishSent", "-", "dead", "-", "-"],
  holdFinish: ["finishHeld", "-", "-", "-", "-", "-"],
  finishReceived: ["finishReceived", "dead", "dead", "-", "ending", "-"],
  sendClose: ["dead", "dead", "dead", "dead", "dead", "-"],
  holdClose: ["ending", "ending", "ending", "ending", "-", "-"],
  closeReceived: ["dead", "dead", "dead", "dead", "dead", "-"],
  rst: ["dead", "dead", "dead", "dead", "dead", "-"],
  expired: ["-", "dead", "dead", "dead", "dead", "-"],
};

describe("pong stream states", () => {
  for (const [signal, row] of Object.entries(EXPECTED)) {
    test(`move as the table says on ${signal}`, () => {
      for (const [index, state] of STATES.entries()) {
        const next = nextState(state, signal as StreamSignal) ?? "-";
        assert.equal(next, row[index], `${state} on ${signal}`);
      }
    });
  }

  test("are all in the table", () => {
    assert.deepEqual(Object.keys(TRANSITIONS), STATES);
  });

  test("all lead to the end, by a word of either side or by the clock", () => {
    for (const state of STATES) {
      if (state === "dead") continue;
      for (const signal of ["sendClose", "closeReceived", "rst"] as const) {
        assert.equal(nextState(state, signal), "dead", `${state} on ${signal}`);
      }
      if (state !== "open") assert.equal(nextState(state, "expired"), "dead", state);
    }
  });
});
