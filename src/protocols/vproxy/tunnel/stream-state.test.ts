import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { nextState, type StreamSignal, type StreamState, TRANSITIONS } from "./stream-state.ts";

const STATES: readonly StreamState[] = [
  "synSent",
  "established",
  "finSent",
  "finReceived",
  "ending",
  "leaving",
  "dead",
];

/**
 * Every state against every signal, written out: `-` where there is no move. Spec: vproxy 3.8.
 */
const EXPECTED: Readonly<Record<StreamSignal, readonly (StreamState | "-")[]>> = {
  //                synSent        established    finSent    finReceived ending  leaving dead
  synAckReceived: ["established", "-", "-", "-", "-", "-", "-"],
  sendFin: ["finSent", "finSent", "-", "dead", "-", "-", "-"],
  holdFin: ["-", "-", "-", "leaving", "-", "-", "-"],
  finReceived: ["dead", "finReceived", "dead", "dead", "dead", "-", "-"],
  sendClose: ["ending", "ending", "ending", "-", "-", "-", "-"],
  sendRst: ["dead", "dead", "dead", "dead", "dead", "-", "-"],
  holdRst: ["-", "leaving", "leaving", "leaving", "-", "-", "-"],
  rstReceived: ["dead", "dead", "dead", "dead", "dead", "dead", "-"],
  expired: ["dead", "-", "-", "-", "dead", "dead", "-"],
};

describe("vproxy stream states", () => {
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

  test("all end by an RST of the peer", () => {
    for (const state of STATES.filter((it) => it !== "dead")) {
      assert.equal(nextState(state, "rstReceived"), "dead", state);
    }
  });

  test("wait for the clock where nobody here waits for the peer", () => {
    for (const state of ["synSent", "ending", "leaving"] as const) {
      assert.equal(nextState(state, "expired"), "dead", state);
    }
  });
});
