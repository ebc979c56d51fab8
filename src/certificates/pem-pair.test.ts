import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { vectorText } from "../../test/support/godoxy-certificates.ts";
import { ConfigError } from "../errors.ts";
import { issueCertificate, makeAuthority } from "./authority.ts";
import { checkMaterial } from "./material.ts";
import { formatPemPair, isPairText, parsePemPair, pemPart } from "./pem-pair.ts";

const PAIR = vectorText("agent-a", "server.pair.txt");
const [CERT = "", KEY = ""] = PAIR.split(";");

describe("pair texts", () => {
  test("of the original are read, and written as they were", () => {
    for (const agent of ["agent-a", "agent-b"] as const) {
      for (const name of ["ca", "server", "client"]) {
        const text = vectorText(agent, `${name}.pair.txt`);
        const pair = parsePemPair(text);
        assert.equal(pair.cert, vectorText(agent, `${name}.pem`));
        assert.equal(pair.key, vectorText(agent, `${name}.key`));
        checkMaterial(pair);
        assert.equal(formatPemPair(pair), text);
        assert.deepEqual(parsePemPair(`\n${text}\n`), pair);
      }
    }
  });

  test("of ours are one line, and are read back", () => {
    const ca = makeAuthority({ now: new Date() });
    for (const pair of [ca, issueCertificate(ca, "client", { now: new Date() })]) {
      const text = formatPemPair(pair);
      assert.match(text, /^[A-Za-z0-9+/]+={0,2};[A-Za-z0-9+/]+={0,2}$/);
      assert.ok(isPairText(text));
      assert.deepEqual(parsePemPair(text), pair);
    }
  });

  for (const [what, text, message] of [
    ["without a semicolon", CERT, /^pair text has 0 semicolons, want one/],
    ["with two", `${PAIR};`, /^pair text has 2 semicolons/],
    ["without a key", `${CERT};`, /^key of the pair is empty$/],
    ["without a certificate", `;${KEY}`, /^certificate of the pair is empty$/],
    [
      "with halves the wrong way round",
      `${KEY};${CERT}`,
      /^certificate of the pair is no PEM of a/,
    ],
    ["with a certificate for a key", `${CERT};${CERT}`, /^key of the pair is no PEM of a key$/],
    ["in base64url", PAIR.replace("=", "-"), /^(certificate|key) of the pair is no base64$/],
    ["without padding", PAIR.replace(/=+$/, ""), /^key of the pair is no base64$/],
    ["with line breaks", PAIR.replace(/^.{64}/, "$&\n"), /^certificate of the pair is no base64$/],
    ["too long", `${"A".repeat(65_540)};${KEY}`, /has 65540 characters, at most 65536$/],
  ] as const) {
    test(`are refused ${what}, and nothing of them is told`, () => {
      assert.throws(() => parsePemPair(text), isConfigError(message));
    });
  }

  test("of garbage give nothing but errors of the configuration", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (some, more) => {
        assert.throws(() => parsePemPair(`${some};${more}`), ConfigError);
      }),
    );
  });
});

describe("the wanted part", () => {
  test("of a pair is one of its halves", () => {
    assert.equal(pemPart(PAIR, "cert"), vectorText("agent-a", "server.pem"));
    assert.equal(pemPart(PAIR, "key"), vectorText("agent-a", "server.key"));
  });

  test("of PEM is all of it", () => {
    const pem = vectorText("agent-a", "server.pem");
    for (const text of [pem, `${pem}${vectorText("agent-a", "server.key")}`, "# notes\n", ""]) {
      assert.equal(pemPart(text, "cert"), text);
      assert.equal(pemPart(text, "key"), text);
    }
  });

  test("of a certificate that is encoded alone is that certificate, and no key", () => {
    assert.equal(pemPart(`${CERT}\n`, "cert"), vectorText("agent-a", "server.pem"));
    assert.throws(() => pemPart(CERT, "key"), isConfigError(/has a certificate and no key$/));
  });

  test("of a zip is not to be had, and the error says what to do", () => {
    const zip = vectorText("agent-a", "agent.zip");
    assert.throws(
      () => pemPart(zip, "cert"),
      (thrown) => thrown instanceof ConfigError && thrown.hint?.includes("store=") === true,
    );
  });
});

function isConfigError(message: RegExp): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof ConfigError, String(thrown));
    assert.match(thrown.message, message);
    assert.ok(!thrown.message.includes(KEY.slice(40, 60)));
    return true;
  };
}
