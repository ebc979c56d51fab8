import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CongestionWindow } from "./congestion.ts";
import { DeliveryLimit } from "./delivery-limit.ts";
import { KCP_PROFILES } from "./kcp-options.ts";
import { Pacer } from "./pacer.ts";
import { PeerWindow } from "./peer-window.ts";
import { Reordering } from "./reordering.ts";
import { RttEstimator } from "./rtt.ts";

describe("kcp round trip", () => {
  test("starts with 200 ms and follows the samples between its bounds", () => {
    const rtt = new RttEstimator(KCP_PROFILES.vproxy);
    assert.equal(rtt.rtoMs, 200);
    assert.equal(rtt.roundTripMs, undefined);
    rtt.sample(100);
    assert.equal(rtt.roundTripMs, 100);
    assert.equal(rtt.rtoMs, 300);
    for (let count = 0; count < 100; count++) rtt.sample(100);
    assert.ok(Math.abs(rtt.rtoMs - 110) < 0.01, "what is steady needs little slack");
    for (let count = 0; count < 200; count++) rtt.sample(1);
    assert.equal(rtt.rtoMs, 30);
    for (let count = 0; count < 200; count++) rtt.sample(60_000);
    assert.equal(rtt.rtoMs, 60_000);
  });

  test("ignores what nobody can believe", () => {
    const rtt = new RttEstimator(KCP_PROFILES.vproxy);
    for (const ms of [-1, -2_000_000_000, 60_001, 2_000_000_000]) rtt.sample(ms);
    assert.equal(rtt.roundTripMs, undefined);
  });
});

describe("kcp pacer", () => {
  test("lets a burst pass and then so many per millisecond", () => {
    const pacer = new Pacer({ burstSegments: 10, segmentsPerMs: 2 }, 100);
    assert.equal(pacer.available(100), 10);
    pacer.take(10);
    assert.equal(pacer.available(100), 0);
    assert.equal(pacer.readyAt, 101);
    assert.equal(pacer.available(103), 6);
    assert.equal(pacer.available(1000), 10, "no more than a burst piles up");
    assert.equal(pacer.available(900), 10, "a clock that went back changes nothing");
  });

  test("goes slower when told, down to less than one per millisecond", () => {
    const pacer = new Pacer({ burstSegments: 100, segmentsPerMs: 50 }, 0);
    pacer.pace(0.1);
    assert.equal(pacer.available(0), 8);
    pacer.take(8);
    assert.equal(pacer.readyAt, 10);
    assert.equal(pacer.available(9), 0);
    assert.equal(pacer.available(10.001), 1);
    pacer.pace(1000);
    assert.equal(pacer.available(20), 100, "the options are the fastest it goes");
  });
});

describe("kcp delivery limit", () => {
  test("doubles while the line delivers everything", () => {
    const limit = new DeliveryLimit(0);
    assert.equal(limit.segments, 32);
    let now = 0;
    for (let round = 0; round < 6; round++) {
      now += 100;
      limit.roundTrip(100, now);
      assert.ok(limit.delivered(limit.segments, true, 100, now));
    }
    assert.equal(limit.segments, 32 * 2 ** 6);
  });

  test("keeps growing with a third of everything lost", () => {
    const limit = new DeliveryLimit(0);
    for (let now = 100; now <= 3000; now += 100) {
      limit.roundTrip(100, now);
      limit.delivered(Math.round(limit.segments * 0.66), true, 100, now);
    }
    assert.ok(limit.segments > 500);
  });

  test("stays near what arrives when the line gives no more and its queue swells", () => {
    const limit = new DeliveryLimit(0);
    limit.roundTrip(50, 0);
    for (let now = 200; now <= 5000; now += 200) {
      limit.roundTrip(200, now);
      limit.delivered(200, true, 200, now);
    }
    assert.equal(limit.segments, 50, "one per millisecond, for the 50 ms without a queue");
    assert.equal(limit.segmentsPerMs, 0.5);
  });

  test("learns nothing bad from rounds with little to send", () => {
    const limit = new DeliveryLimit(0);
    limit.roundTrip(100, 0);
    limit.delivered(500, true, 100, 100);
    const { segments } = limit;
    for (let now = 200; now < 3000; now += 100) limit.delivered(1, false, 100, now);
    assert.equal(limit.segments, segments);
  });

  test("forgets a shorter round trip of an old route", () => {
    const limit = new DeliveryLimit(0);
    limit.roundTrip(20, 0);
    for (let now = 100; now <= 30_000; now += 100) {
      limit.roundTrip(100, now);
      limit.delivered(100, true, 100, now);
    }
    assert.equal(limit.segments, 200);
  });
});

describe("kcp congestion window", () => {
  test("starts slowly, halves after a loss and then grows by one per round", () => {
    const window = new CongestionWindow();
    assert.equal(window.segments, 10);
    window.grow(10, 1000);
    assert.equal(window.segments, 20);
    window.shrink(20);
    assert.equal(window.segments, 10);
    window.grow(10, 1000);
    assert.equal(window.segments, 11);
    window.collapse();
    assert.equal(window.segments, 1);
    window.grow(1, 1000);
    assert.equal(window.segments, 2);
    window.grow(1_000_000, 50);
    assert.equal(window.segments, 50);
  });
});

describe("kcp peer window", () => {
  test("starts with 128 and ignores old news", () => {
    const window = new PeerWindow(KCP_PROFILES.vproxy, 0);
    assert.equal(window.segments, 128);
    window.update(50, 10);
    window.update(0, 9);
    assert.equal(window.segments, 50);
    window.update(0, 10);
    assert.equal(window.segments, 0);
  });

  test("asks only while something waits and there is no room", () => {
    const window = new PeerWindow(KCP_PROFILES.vproxy, 0);
    window.watch(true, 0);
    assert.equal(window.probeAt, undefined);
    window.update(0, 0);
    window.watch(false, 0);
    assert.equal(window.probeAt, undefined);
    window.watch(true, 100);
    window.watch(true, 200);
    assert.equal(window.probeAt, 7100);
    window.asked(7100);
    assert.equal(window.probeAt, 17_600);
    window.update(1, 0);
    window.watch(true, 8000);
    assert.equal(window.probeAt, undefined);
  });
});

describe("kcp reordering", () => {
  test("waits longer after mistakes, up to a quarter of the round trip, and forgets them", () => {
    const reordering = new Reordering();
    assert.equal(reordering.ms, 0);
    for (let count = 0; count < 20; count++) reordering.wasLate(100);
    assert.equal(reordering.ms, 25);
    for (let count = 0; count < 200; count++) reordering.wasRight();
    assert.equal(reordering.ms, 0);
  });
});
