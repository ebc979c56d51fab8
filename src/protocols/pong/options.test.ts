import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { REFERENCE_PAYLOAD } from "./codec.ts";
import { PONG_DEFAULTS } from "./options.ts";

const { limits } = PONG_DEFAULTS;

describe("pong defaults", () => {
  test("fit the integers of the wire", () => {
    assert.ok(limits.initialWindowBytes > 0 && limits.initialWindowBytes < 2 ** 31);
    assert.ok(limits.maxWindowBytes >= limits.initialWindowBytes);
    assert.ok(limits.maxWindowBytes < 2 ** 31);
  });

  test("let no early data overrun a Sluice that introduces itself late", () => {
    assert.ok(limits.earlyFrames * REFERENCE_PAYLOAD <= limits.initialWindowBytes);
  });

  test("stay under what makes pong-go stall, panic or leak", () => {
    assert.ok(limits.earlyFrames < 50, "its queue holds 50 frames");
    assert.ok(limits.dialGraceMs > 10_000, "its dial takes up to 10 s");
  });

  test("ask before any common middlebox forgets the connection", () => {
    assert.ok(PONG_DEFAULTS.keepaliveMs > 0 && PONG_DEFAULTS.keepaliveMs <= 30_000);
  });

  test("find the peer out by themselves", () => {
    assert.equal(PONG_DEFAULTS.extensions, true);
    assert.equal(PONG_DEFAULTS.peer, "auto");
    assert.equal(PONG_DEFAULTS.holdMs, 0);
  });
});
