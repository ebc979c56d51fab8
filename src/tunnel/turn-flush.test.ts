import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ManualClock } from "../clock/manual-clock.ts";
import { TurnFlush } from "./turn-flush.ts";

describe("TurnFlush", () => {
  test("flushes what one event wrote together, behind that event", async () => {
    const { flush, count } = counted();
    flush.soon();
    flush.soon();
    assert.equal(count(), 0);
    await microtasks();
    assert.equal(count(), 1);
  });

  test("flushes what many events wrote in a short time together, at the end of their turn", async () => {
    const { flush, count } = counted();
    flush.soon();
    await microtasks();
    for (let event = 0; event < 3; event++) {
      flush.soon();
      await microtasks();
    }
    assert.equal(count(), 1);
    await turn();
    assert.equal(count(), 2);
  });

  test("keeps what is written while it flushes for the end of the turn", async () => {
    let flushes = 0;
    const flush: TurnFlush = new TurnFlush(new ManualClock(), () => {
      flushes++;
      if (flushes === 1) flush.soon();
    });
    flush.soon();
    await microtasks();
    assert.equal(flushes, 1);
    await turn();
    assert.equal(flushes, 2);
  });

  test("does not wait when the last flush is a while ago", async () => {
    const { flush, count, clock } = counted();
    for (let event = 1; event <= 3; event++) {
      flush.soon();
      await microtasks();
      assert.equal(count(), event);
      clock.advance(0.1);
    }
  });
});

function counted(): {
  readonly flush: TurnFlush;
  readonly count: () => number;
  readonly clock: ManualClock;
} {
  let flushes = 0;
  const clock = new ManualClock();
  return { flush: new TurnFlush(clock, () => void flushes++), count: () => flushes, clock };
}

async function microtasks(): Promise<void> {
  for (let at = 0; at < 3; at++) await Promise.resolve();
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
