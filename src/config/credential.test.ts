import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import * as fc from "fast-check";
import {
  type Credential,
  formatCredential,
  parseCredential,
  parsePemSource,
} from "./credential.ts";

/** A credential with its secret laid open, so that it can be compared. */
const open = (credential: Credential): unknown =>
  credential.kind === "literal"
    ? { kind: "literal", secret: credential.secret.reveal() }
    : credential;

describe("a credential", () => {
  test("is a reference or the secret itself", () => {
    assert.deepEqual(parseCredential("env:TOKEN"), { kind: "env", name: "TOKEN" });
    assert.deepEqual(parseCredential("file:/run/token"), { kind: "file", path: "/run/token" });
    assert.deepEqual(parseCredential("cmd:pass show vpn"), {
      kind: "cmd",
      command: "pass show vpn",
    });
    assert.deepEqual(open(parseCredential("hunter2")), { kind: "literal", secret: "hunter2" });
    assert.deepEqual(open(parseCredential("a:b")), { kind: "literal", secret: "a:b" });
  });

  test("refuses references that name nothing", () => {
    assert.throws(() => parseCredential(""), /credential is empty/);
    assert.throws(() => parseCredential("env:"), /"env:" names nothing: write env:NAME/);
    assert.throws(() => parseCredential("file: "), /"file:" names nothing/);
    assert.throws(() => parseCredential("env:A-B"), /"A-B" is no name of an environment variable/);
    assert.throws(() => parseCredential("x".repeat(65_537)), /65537 characters exceeds 65536/);
  });

  test("hides a literal secret when it is written or inspected", () => {
    const credential = parseCredential("hunter2");
    assert.equal(formatCredential(credential), "***");
    assert.equal(formatCredential(credential, { reveal: true }), "hunter2");
    assert.doesNotMatch(inspect(credential, { depth: 9 }) + JSON.stringify(credential), /hunter2/);
  });

  test("reads back what it writes", () => {
    const text = fc.oneof(
      fc.string({ minLength: 1 }).filter((word) => !/^(env|file|cmd):/.test(word)),
      fc.stringMatching(/^env:[A-Z_][A-Z0-9_]{0,9}$/),
      fc.stringMatching(/^(file|cmd):[!-~]{1,20}$/),
    );
    fc.assert(
      fc.property(text, (written) => {
        assert.equal(formatCredential(parseCredential(written), { reveal: true }), written);
      }),
    );
  });

  test("takes a bare word for a path where PEM text is wanted", () => {
    assert.deepEqual(parsePemSource("server.pem"), { kind: "file", path: "server.pem" });
    assert.deepEqual(parsePemSource("file:server.pem"), { kind: "file", path: "server.pem" });
    assert.deepEqual(parsePemSource("env:KEY"), { kind: "env", name: "KEY" });
    assert.equal(parsePemSource("-----BEGIN PRIVATE KEY-----\n…").kind, "literal");
    assert.equal(
      parsePemSource("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0t;LS0tLS1CRUdJTiBF").kind,
      "literal",
    );
    assert.throws(() => parsePemSource(""), /path is empty/);
  });
});
