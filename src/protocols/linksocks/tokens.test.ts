import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { isAnonymousHash, randomToken, TokenTable } from "./tokens.ts";

describe("linksocks tokens", () => {
  test("finds a token by itself and by its hash", () => {
    const tokens = new TokenTable();
    const forward = tokens.add({ kind: "forward", name: "alice", origin: "configuration", secret });
    assert.equal(tokens.find(secret), forward);
    assert.equal(tokens.findByHash(sha256(secret)), forward);
  });

  test("finds nothing under a hash in capitals, a hash of the hash, or a wrong length", () => {
    const tokens = new TokenTable();
    tokens.add({ kind: "forward", name: "alice", origin: "configuration", secret });
    const hash = sha256(secret);
    for (const wrong of [hash.toUpperCase(), sha256(hash), hash.slice(1), `${hash}0`, ""]) {
      assert.equal(tokens.findByHash(wrong), undefined);
    }
    assert.equal(tokens.find(hash), undefined, "a hash is no token");
    assert.equal(tokens.find(""), undefined);
  });

  test("keeps all kinds in one namespace, with the reference's texts", () => {
    const tokens = new TokenTable();
    const reverse = tokens.add({
      kind: "reverse",
      name: "office",
      origin: "configuration",
      autonomy: false,
      secret,
    });
    assert.throws(
      () => tokens.add({ kind: "forward", name: "x", origin: "api", secret }),
      /^ConfigError: token already exists$/,
    );
    assert.throws(
      () => tokens.add({ kind: "connector", name: "x", origin: "api", reverse, secret }),
      /^ConfigError: connector token already exists$/,
    );
  });

  test("keeps anonymous to itself", () => {
    const tokens = new TokenTable();
    assert.throws(
      () => tokens.add({ kind: "forward", name: "x", origin: "api", secret: "anonymous" }),
      /: 'anonymous' is reserved and cannot be used as a token$/,
    );
    // Spec 2.2.
    assert.ok(isAnonymousHash("2f183a4e64493af3f377f745eda502363cd3e7ef6e4d266d444758de0a85fcc8"));
    assert.ok(!isAnonymousHash(sha256(secret)));
  });

  test("makes 16 hexadecimal digits when no token is given", () => {
    const tokens = new TokenTable();
    const made = tokens.add({ kind: "forward", name: "x", origin: "api" });
    assert.match(made.secret, /^[0-9a-f]{16}$/);
    assert.equal(tokens.find(made.secret), made);
    assert.notEqual(randomToken(), randomToken());
  });

  test("refuses tokens that no Auth message could carry", () => {
    const tokens = new TokenTable();
    const add = (text: string): unknown =>
      tokens.add({ kind: "forward", name: "x", origin: "api", secret: text });
    assert.throws(() => add("ä".repeat(128)), /token of 256 bytes exceeds 255/);
    add("ä".repeat(127));
  });

  test("takes so many tokens and no more", () => {
    const tokens = new TokenTable({ maxTokens: 2 });
    const first = tokens.add({ kind: "forward", name: "a", origin: "api" });
    tokens.add({ kind: "forward", name: "b", origin: "api" });
    assert.throws(() => tokens.add({ kind: "forward", name: "c", origin: "api" }), {
      code: "ERR_LIMIT",
    });
    assert.ok(tokens.remove(first));
    tokens.add({ kind: "forward", name: "c", origin: "api" });
    assert.equal(tokens.size, 2);
  });

  test("removes a token by identity, so that a name used again is safe", () => {
    const tokens = new TokenTable();
    const first = tokens.add({ kind: "forward", name: "a", origin: "api", secret });
    assert.ok(tokens.remove(first));
    const second = tokens.add({ kind: "forward", name: "b", origin: "api", secret });
    assert.ok(!tokens.remove(first));
    assert.equal(tokens.find(secret), second);
    assert.deepEqual([...tokens], [second]);
  });
});

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

const secret = "vector-forward-token";
