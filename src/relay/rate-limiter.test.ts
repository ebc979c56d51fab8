import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "../clock/manual-clock.ts";
import { limiterKey, RateLimiter } from "./rate-limiter.ts";

describe("rate limiter", () => {
  test("blocks after a burst of failures and forgives one at a time", () => {
    const clock = new ManualClock();
    const limiter = new RateLimiter({ clock, burst: 3, forgiveMs: 1_000 });
    limiter.recordFailure("a");
    limiter.recordFailure("a");
    assert.equal(limiter.blockedForMs("a"), 0);
    limiter.recordFailure("a");
    assert.equal(limiter.blockedForMs("a"), 1_000);
    assert.equal(limiter.blockedForMs("b"), 0);
    clock.advance(400);
    assert.equal(limiter.blockedForMs("a"), 600);
    clock.advance(600);
    assert.equal(limiter.blockedForMs("a"), 0);
    limiter.recordFailure("a");
    assert.equal(limiter.blockedForMs("a"), 1_000);
  });

  test("never blocks for longer than one wait, however often a key fails", () => {
    const clock = new ManualClock();
    const limiter = new RateLimiter({ clock, burst: 3, forgiveMs: 1_000 });
    for (let at = 0; at < 1_000; at++) limiter.recordFailure("a");
    assert.equal(limiter.blockedForMs("a"), 1_000);
  });

  test("forgives everything on success", () => {
    const clock = new ManualClock();
    const limiter = new RateLimiter({ clock, burst: 1 });
    limiter.recordFailure("a");
    assert.ok(limiter.blockedForMs("a") > 0);
    limiter.recordSuccess("a");
    assert.equal(limiter.blockedForMs("a"), 0);
    assert.equal(limiter.size, 0);
  });

  test("remembers a bounded number of keys, those that failed last", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(50), fc.nat(3_000)), { maxLength: 200 }), (steps) => {
        const clock = new ManualClock();
        const limiter = new RateLimiter({ clock, burst: 1, forgiveMs: 1_000, maxKeys: 8 });
        for (const [key, ms] of steps) {
          limiter.recordFailure(`${key}`);
          assert.ok(limiter.size <= 8);
          assert.equal(limiter.blockedForMs(`${key}`), 1_000);
          clock.advance(ms);
        }
      }),
    );
  });

  test("drops what is forgiven without being asked", () => {
    const clock = new ManualClock();
    const limiter = new RateLimiter({ clock, burst: 2, forgiveMs: 1_000 });
    for (let at = 0; at < 100; at++) limiter.recordFailure(`${at}`);
    clock.advance(1_000);
    limiter.recordFailure("new");
    assert.equal(limiter.size, 1);
    assert.equal(clock.pending, 0);
  });

  test("counts an IPv6 network as one, and IPv4 however it is written", () => {
    const cases = [
      ["127.0.0.1:80", "127.0.0.1"],
      ["127.0.0.1", "127.0.0.1"],
      ["[::ffff:10.0.0.1]:5", "10.0.0.1"],
      ["[2001:db8:1:2:3::4]:80", "2001:db8:1:2::/64"],
      ["2001:db8:1:2:ffff::", "2001:db8:1:2::/64"],
      ["[fe80::1%eth0]:80", "fe80::/64"],
      ["/run/sluice.sock", "/run/sluice.sock"],
    ];
    for (const [endpoint = "", key] of cases) assert.equal(limiterKey(endpoint), key);
  });
});
