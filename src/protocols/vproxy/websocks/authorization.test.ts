import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { TunnelError } from "../../../errors.ts";
import { Authorizations, authorizationOf, isCredentialText } from "./authorization.ts";

// The vector of the specification, section 1.3.
const MINUTE = 1_546_300_800_000;
const VECTOR = "Basic YWxpY2U6NFBKUzBZb0p6UnF6di90TTRvTzBiU3QyaSs1blpXUzBBUGRsMyt0blBmZz0=";

const USERS = new Map([
  ["alice", "pasSw0rD"],
  ["bob", "secret"],
]);

describe("a minute's authorization", () => {
  test("is that of the specification, throughout the minute", () => {
    for (const offset of [0, 1, 59_999]) {
      assert.equal(authorizationOf("alice", "pasSw0rD", MINUTE + offset), VECTOR);
    }
    assert.notEqual(authorizationOf("alice", "pasSw0rD", MINUTE + 60_000), VECTOR);
    assert.notEqual(authorizationOf("alice", "pasSw0rD", MINUTE - 1), VECTOR);
  });

  test("is right for three minutes, and tells which", () => {
    for (const [aheadMs, offsetMs] of [
      [-120_000, undefined],
      [-60_001, undefined],
      [-60_000, 60_000],
      [0, 0],
      [59_999, 0],
      [60_000, -60_000],
      [119_999, -60_000],
      [120_000, undefined],
    ] as const) {
      const found = check(new Authorizations(USERS), VECTOR, MINUTE + aheadMs);
      assert.equal(found instanceof TunnelError ? undefined : found.offsetMs, offsetMs);
    }
  });

  test("is judged for each of several users", () => {
    const authorizations = new Authorizations(USERS);
    for (const [user, password] of USERS) {
      const found = check(authorizations, authorizationOf(user, password, MINUTE));
      assert.deepEqual(found, { user, offsetMs: 0 });
    }
    for (const [user, password] of [
      ["alice", "secret"],
      ["carol", "pasSw0rD"],
      ["", ""],
      ["carol", ""],
      ["ALICE", "pasSw0rD"],
    ] as const) {
      assertRefused(check(authorizations, authorizationOf(user, password, MINUTE)), /^wrong user/);
    }
  });

  test("holds names and passwords of any letters but the colon", () => {
    const text = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 30 })
      .filter(isCredentialText);
    fc.assert(
      fc.property(text, text, fc.nat(2 ** 42), (user, password, unixMs) => {
        const authorizations = new Authorizations(new Map([[user, password]]));
        const found = check(authorizations, authorizationOf(user, password, unixMs), unixMs);
        assert.deepEqual(found, { user, offsetMs: 0 });
      }),
    );
    assert.ok(!isCredentialText("a:b"));
    assert.ok(!isCredentialText(" a"));
    assert.ok(!isCredentialText(""));
  });

  test("is refused in any other form, and says why to the log", () => {
    const authorizations = new Authorizations(USERS);
    const encoded = VECTOR.slice("Basic ".length);
    for (const [header, reason] of [
      [undefined, /^no Authorization header$/],
      ["", /no base64/],
      [encoded, /no base64/],
      [`basic ${encoded}`, /no base64/],
      [`Bearer ${encoded}`, /no base64/],
      ["Basic !!!", /no base64/],
      [`Basic ${encoded.slice(0, 5)}`, /no base64/],
      [`Basic ${Buffer.from("alice").toString("base64")}`, /not user:hash/],
      [`Basic ${Buffer.from("alice:x:y").toString("base64")}`, /not user:hash/],
      [`Basic ${Buffer.from("alice:pasSw0rD").toString("base64")}`, /^wrong user/],
    ] as const) {
      assertRefused(check(authorizations, header), reason);
    }
  });

  test("never throws, whatever a header says", () => {
    const authorizations = new Authorizations(USERS);
    const header = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }).map((text) => `Basic ${Buffer.from(text).toString("base64")}`),
    );
    fc.assert(fc.property(header, (text) => assertRefused(check(authorizations, text), /./)));
  });

  test("hints at the clock when the password is right for another time", () => {
    const authorizations = new Authorizations(USERS);
    for (const [minutes, words] of [
      [-7, /7 minutes behind ours/],
      [15, /15 minutes ahead of ours/],
      [16, /check user and password/],
    ] as const) {
      const header = authorizationOf("alice", "pasSw0rD", MINUTE + minutes * 60_000);
      const found = check(authorizations, header);
      assert.ok(found instanceof TunnelError);
      assert.match(found.hint ?? "", words);
    }
    const unknown = check(authorizations, authorizationOf("carol", "", MINUTE + 300_000));
    assert.match(unknown instanceof TunnelError ? (unknown.hint ?? "") : "", /check user/);
  });
});

describe("the guard against replays", () => {
  test("takes one header on many connections of one source for as long as it is right", () => {
    const authorizations = new Authorizations(USERS);
    for (const ms of [0, 15_000, 59_000, 61_000, 119_000]) {
      for (const port of [1, 2, 3]) {
        assertUser(check(authorizations, VECTOR, MINUTE + ms, `192.0.2.1:${port}`));
      }
    }
  });

  test("takes it from several sources within a minute, and from those ever after", () => {
    const authorizations = new Authorizations(USERS);
    assertUser(check(authorizations, VECTOR, MINUTE + 1_000, "192.0.2.1:1"));
    assertUser(check(authorizations, VECTOR, MINUTE + 50_000, "192.0.2.2:1"));
    assertUser(check(authorizations, VECTOR, MINUTE + 119_000, "192.0.2.2:2"));
  });

  test("refuses it from another source more than a minute after it was first seen", () => {
    const authorizations = new Authorizations(USERS);
    assertUser(check(authorizations, VECTOR, MINUTE, "192.0.2.1:1"));
    const late = check(authorizations, VECTOR, MINUTE + 60_001, "198.51.100.1:1");
    assertRefused(late, /used from another address before/);
    assertUser(check(authorizations, VECTOR, MINUTE + 60_001, "192.0.2.1:9"));
  });

  test("takes a late header that nobody showed before: clocks may be a minute off", () => {
    const authorizations = new Authorizations(USERS);
    assertUser(check(authorizations, VECTOR, MINUTE + 119_000, "192.0.2.1:1"));
  });

  test("knows an IPv6 host by its network, and an IPv4 one in either spelling", () => {
    const authorizations = new Authorizations(USERS);
    assertUser(check(authorizations, VECTOR, MINUTE, "[2001:db8::1]:1"));
    assertUser(check(authorizations, VECTOR, MINUTE, "192.0.2.1:1"));
    assertUser(check(authorizations, VECTOR, MINUTE + 70_000, "[2001:db8::2]:1"));
    assertUser(check(authorizations, VECTOR, MINUTE + 70_000, "[::ffff:192.0.2.1]:1"));
    assertRefused(check(authorizations, VECTOR, MINUTE + 70_000, "[2001:db8:0:1::1]:1"), /used/);
    assertRefused(check(authorizations, VECTOR, MINUTE + 70_000, "pipe"), /used/);
  });

  test("forgets what no minute makes right any more, and all when the clock goes back", () => {
    const authorizations = new Authorizations(USERS);
    for (let minute = 0; minute < 100; minute++) {
      const now = MINUTE + minute * 60_000;
      assertUser(check(authorizations, authorizationOf("bob", "secret", now), now));
      assert.ok(authorizations.size <= 4, `${authorizations.size} remembered`);
    }
    assertUser(check(authorizations, authorizationOf("bob", "secret", MINUTE), MINUTE));
    assert.equal(authorizations.size, 1);
  });

  test("does not remember wrong ones", () => {
    const authorizations = new Authorizations(USERS);
    for (let at = 0; at < 1_000; at++)
      check(authorizations, authorizationOf(`u${at}`, "x", MINUTE));
    assert.equal(authorizations.size, 0);
  });
});

function check(
  authorizations: Authorizations,
  header: string | undefined,
  unixMs = MINUTE,
  source = "192.0.2.1:5000",
): ReturnType<Authorizations["check"]> {
  return authorizations.check(header, { source, unixMs });
}

function assertRefused(found: ReturnType<Authorizations["check"]>, reason: RegExp): void {
  assert.ok(found instanceof TunnelError);
  assert.equal(found.code, "ERR_AUTH");
  assert.match(found.message, reason);
}

function assertUser(found: ReturnType<Authorizations["check"]>): void {
  assert.ok(!(found instanceof TunnelError), found instanceof TunnelError ? found.message : "");
}
