import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { vectorPath, vectorText } from "../../test/support/godoxy-certificates.ts";
import { systemClock } from "../clock/clock.ts";
import { parsePemSource } from "../config/credential.ts";
import { ConfigError } from "../errors.ts";
import { createSecrets } from "./secrets.ts";

describe("PEM secrets", () => {
  const pair = vectorText("agent-a", "client.pair.txt");
  const secrets = createSecrets(systemClock, { PAIR: pair, CUT: pair.slice(0, -1) });

  test("are read from GoDoxy's pairs, wherever those stand", async () => {
    for (const text of ["env:PAIR", vectorPath("agent-a", "client.pair.txt"), pair]) {
      const source = parsePemSource(text);
      assert.equal(await secrets.pem(source, "cert", "cert"), vectorText("agent-a", "client.pem"));
      assert.equal(await secrets.pem(source, "key", "key"), vectorText("agent-a", "client.key"));
    }
  });

  test("are read from PEM, as ever", async () => {
    const source = parsePemSource(vectorPath("agent-a", "client.pem"));
    const pem = vectorText("agent-a", "client.pem").trim();
    assert.equal(await secrets.pem(source, "cert", "cert"), pem);
    assert.equal(await secrets.pem(source, "cert"), pem);
    assert.equal(await secrets.pem(undefined, "cert", "cert"), undefined);
  });

  for (const [text, message] of [
    ["env:CUT", /^key of x: key of the pair is no base64$/],
    [vectorPath("agent-a", "agent.zip"), /^key of x: is a zip store, not PEM$/],
  ] as const) {
    test(`are refused with their name in front: ${String(message)}`, async () => {
      await assert.rejects(secrets.pem(parsePemSource(text), "key of x", "key"), (thrown) => {
        assert.ok(thrown instanceof ConfigError);
        assert.match(thrown.message, message);
        return true;
      });
    });
  }
});
