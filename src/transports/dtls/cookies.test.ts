import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ManualClock } from "../../clock/manual-clock.ts";
import { COOKIE_BYTES, Cookies, SECRET_LIFE_MS } from "./cookies.ts";

const FROM = { host: "192.0.2.1", port: 40_000 };
const START = Buffer.from("fefd and a random and a session id");
const NONE = new Uint8Array(0);

describe("cookies", () => {
  test("accepts its own from where it was sent to, and from nowhere else", () => {
    const cookies = new Cookies(new ManualClock());
    const cookie = cookies.make({ start: START, cookie: NONE }, FROM);
    assert.equal(cookie.byteLength, COOKIE_BYTES);
    const shown = { start: START, cookie };
    assert.ok(cookies.accepts(shown, FROM));
    assert.ok(!cookies.accepts(shown, { ...FROM, port: 40_001 }));
    assert.ok(!cookies.accepts(shown, { ...FROM, host: "192.0.2.10" }));
    assert.ok(!cookies.accepts(shown, { host: "192.0.2.14", port: 0 }));
  });

  test("accepts it for no other hello, and no other cookie", () => {
    const cookies = new Cookies(new ManualClock());
    const cookie = cookies.make({ start: START, cookie: NONE }, FROM);
    const other = Uint8Array.from(START);
    other[5] = 0;
    assert.ok(!cookies.accepts({ start: other, cookie }, FROM));
    for (let at = 0; at < COOKIE_BYTES; at++) {
      const bent = Uint8Array.from(cookie);
      bent[at] = (bent[at] ?? 0) ^ 1;
      assert.ok(!cookies.accepts({ start: START, cookie: bent }, FROM));
    }
    for (const bytes of [NONE, cookie.subarray(1), Buffer.concat([cookie, Buffer.of(0)])]) {
      assert.ok(!cookies.accepts({ start: START, cookie: bytes }, FROM));
    }
    assert.ok(!new Cookies(new ManualClock()).accepts({ start: START, cookie }, FROM));
  });

  test("makes the same one until the secret is replaced, and takes it a little longer", () => {
    const clock = new ManualClock();
    const cookies = new Cookies(clock);
    const hello = { start: START, cookie: NONE };
    const cookie = cookies.make(hello, FROM);
    clock.advance(SECRET_LIFE_MS - 1);
    assert.deepEqual(cookies.make(hello, FROM), cookie);
    clock.advance(1);
    assert.notDeepEqual(cookies.make(hello, FROM), cookie);
    assert.ok(cookies.accepts({ start: START, cookie }, FROM));
    clock.advance(SECRET_LIFE_MS);
    assert.ok(!cookies.accepts({ start: START, cookie }, FROM));
  });

  test("takes no cookie from before a long silence", () => {
    const clock = new ManualClock();
    const cookies = new Cookies(clock);
    const cookie = cookies.make({ start: START, cookie: NONE }, FROM);
    clock.advance(2 * SECRET_LIFE_MS);
    assert.ok(!cookies.accepts({ start: START, cookie }, FROM));
  });
});
