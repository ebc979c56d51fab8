import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { CertificateFactory } from "../../test/support/certificates.ts";
import { vectorPath, vectorText } from "../../test/support/godoxy-certificates.ts";
import { ConfigError } from "../errors.ts";
import { inspect, type Inspected } from "./inspect.ts";

const read = (name: string): readonly Inspected[] =>
  inspect(readFileSync(vectorPath("agent-a", name)));

const CLIENT = {
  kind: "certificate",
  subject: "O=GoDoxy, OU=Client, CN=godoxy.agent",
  issuer: "O=GoDoxy, CN=godoxy.agent",
  names: ["DNS:godoxy.agent"],
  notBefore: new Date("2026-11-20T16:22:16Z"),
  notAfter: new Date("3026-11-20T16:22:16Z"),
  usages: ["digitalSignature", "clientAuth"],
  isCa: false,
  keyType: "EC prime256v1",
};

describe("inspection of certificates", () => {
  test("finds what is in PEM", () => {
    const [found, ...more] = read("client.pem");
    assert.deepEqual(more, []);
    assert.ok(found?.kind === "certificate");
    assert.deepEqual(found, { ...CLIENT, entry: undefined, pin: found.pin });
    assert.deepEqual(read("client.key"), [
      {
        kind: "key",
        entry: undefined,
        keyType: "EC prime256v1",
        pin: found.pin,
        belongsToCertificate: undefined,
      },
    ]);
  });

  test("finds what is in pairs and stores, and which key belongs where", () => {
    assert.deepEqual(shape(read("client.pair.txt")), [
      ["first half", "O=GoDoxy, OU=Client, CN=godoxy.agent"],
      ["second half", true],
    ]);
    assert.deepEqual(shape(read("agent.zip")), [
      ["ca.pem", "O=GoDoxy, CN=godoxy.agent"],
      ["cert.pem", "O=GoDoxy, OU=Client, CN=godoxy.agent"],
      ["key.pem", true],
    ]);
    const [half = ""] = vectorText("agent-a", "ca.pair.txt").split(";");
    assert.equal(shape(inspect(Buffer.from(half))).length, 1);
    const mixed = vectorText("agent-a", "server.pem") + vectorText("agent-a", "client.key");
    assert.deepEqual(shape(inspect(Buffer.from(mixed)))[1], [undefined, false]);
    const chain = vectorText("agent-a", "server.pem") + vectorText("agent-a", "ca.pem");
    assert.equal(inspect(Buffer.from(chain)).length, 2);
  });

  const skip =
    spawnSync("openssl", ["version"]).error === undefined ? false : "openssl is not installed";
  test("agrees with openssl on pins, of every kind of key", { skip }, () => {
    using factory = new CertificateFactory();
    for (const keyType of ["ec", "rsa", "ed25519"] as const) {
      const identity = factory.make({ keyType });
      const pins = inspect(Buffer.from(identity.cert + identity.key)).map(({ pin }) => pin);
      assert.deepEqual(pins, [factory.pin(identity), factory.pin(identity)]);
    }
  });

  for (const [what, text, message] of [
    ["nothing", "", /^holds no certificate and no key$/],
    ["text", "hello", /^holds no certificate and no key$/],
    [
      "a broken certificate",
      vectorText("agent-a", "ca.pem").replace("MII", "XX"),
      /cannot be read$/,
    ],
    ["a broken key", vectorText("agent-a", "ca.key").slice(0, 90), /key that cannot be read$/],
    ["half a pair", `${vectorText("agent-a", "ca.pair.txt")}=`, /^key of the pair is no base64$/],
    ["half a zip", "PK\u0003\u0004", /^store is no zip/],
    [
      "a locked key",
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
      /locked by a passphrase$/,
    ],
  ] as const) {
    test(`says what is wrong with ${what}`, () => {
      assert.throws(
        () => inspect(Buffer.from(text)),
        (thrown) => {
          assert.ok(thrown instanceof ConfigError, String(thrown));
          assert.match(thrown.message, message);
          return true;
        },
      );
    });
  }
});

function shape(found: readonly Inspected[]): readonly unknown[] {
  return found.map((one) => [
    one.entry,
    one.kind === "certificate" ? one.subject : one.belongsToCertificate,
  ]);
}
