import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Keepalive } from "./keepalive.ts";

describe("pong keepalive", () => {
  test("waits, asks, and gives up at twice the interval", () => {
    const keepalive = new Keepalive(1_000);
    keepalive.heard(500);
    assert.equal(keepalive.nextLook(500), 1_500);
    assert.equal(keepalive.look(1_499), "wait");
    assert.deepEqual(keepalive.look(1_500), { nonce: 0 });
    assert.equal(keepalive.nextLook(1_500), 2_500);
    assert.equal(keepalive.look(2_500), "dead");
    assert.equal(keepalive.quietMs(2_500), 2_000);
  });

  test("starts anew with every word of the peer", () => {
    const keepalive = new Keepalive(1_000);
    keepalive.heard(0);
    assert.deepEqual(keepalive.look(1_000), { nonce: 0 });
    keepalive.heard(1_999);
    assert.equal(keepalive.look(2_000), "wait");
    assert.equal(keepalive.nextLook(2_000), 2_999);
    assert.deepEqual(keepalive.look(2_999), { nonce: 1 });
  });

  test("measures the round trip of the ping that is out, and of no other", () => {
    const keepalive = new Keepalive(1_000);
    keepalive.heard(0);
    assert.equal(keepalive.rttMs, undefined);
    keepalive.answered(0, 5);
    assert.equal(keepalive.rttMs, undefined, "nothing was asked");
    keepalive.look(1_000);
    keepalive.answered(7, 1_020);
    assert.equal(keepalive.rttMs, undefined);
    keepalive.answered(0, 1_040);
    assert.equal(keepalive.rttMs, 40);
    keepalive.measured(3);
    assert.equal(keepalive.rttMs, 3);
  });

  test("takes one answer per ping", () => {
    const keepalive = new Keepalive(1_000);
    keepalive.heard(0);
    keepalive.look(1_000);
    keepalive.answered(0, 1_040);
    keepalive.answered(0, 9_999);
    assert.equal(keepalive.rttMs, 40);
  });

  test("never looks when switched off", () => {
    assert.equal(new Keepalive(0).nextLook(1e9), undefined);
  });
});
