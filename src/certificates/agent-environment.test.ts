import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { vectorText } from "../../test/support/godoxy-certificates.ts";
import { ConfigError } from "../errors.ts";
import { agentEnvironment } from "./agent-environment.ts";
import { checkMaterial } from "./material.ts";

const CA = vectorText("agent-a", "ca.pair.txt");
const SERVER = vectorText("agent-a", "server.pair.txt");
const NOTHING = {
  ca: undefined,
  identity: undefined,
  name: undefined,
  port: undefined,
  skipsClientCertificates: undefined,
  containerRuntime: undefined,
};

describe("the environment of an agent", () => {
  test("that GoDoxy enrolled says everything, without the key of the CA", () => {
    const said = agentEnvironment({
      AGENT_NAME: "office",
      AGENT_PORT: "8890",
      AGENT_CA_CERT: CA,
      AGENT_SSL_CERT: SERVER,
      AGENT_SKIP_CLIENT_CERT_CHECK: "false",
      RUNTIME: "podman",
    });
    assert.deepEqual(said, {
      ca: vectorText("agent-a", "ca.pem"),
      identity: {
        cert: vectorText("agent-a", "server.pem"),
        key: vectorText("agent-a", "server.key"),
      },
      name: "office",
      port: 8_890,
      skipsClientCertificates: false,
      containerRuntime: "podman",
    });
    checkMaterial({ ca: said.ca, ...said.identity });
  });

  test("says nothing when nothing is in it, or nothing of ours", () => {
    assert.deepEqual(agentEnvironment({}), NOTHING);
    assert.deepEqual(
      agentEnvironment({ AGENT_NAME: "", AGENT_PORT: "", RUNTIME: "node" }),
      NOTHING,
    );
  });

  test("prefers the prefixes in GoDoxy's order, and skips what is empty", () => {
    const all = { AGENT_NAME: "c", GOPROXY_AGENT_NAME: "b", GODOXY_AGENT_NAME: "a" };
    assert.equal(agentEnvironment(all).name, "a");
    assert.equal(agentEnvironment({ ...all, GODOXY_AGENT_NAME: "" }).name, "b");
    assert.equal(agentEnvironment({ AGENT_NAME: "c", GOPROXY_AGENT_NAME: "" }).name, "c");
  });

  test("may have the CA's certificate without its key, encoded or not", () => {
    const [encoded = ""] = CA.split(";");
    const pem = vectorText("agent-a", "ca.pem");
    for (const text of [encoded, pem]) {
      assert.equal(agentEnvironment({ AGENT_CA_CERT: text }).ca, pem);
    }
  });

  test("has booleans as Go reads them", () => {
    const read = (text: string) =>
      agentEnvironment({ AGENT_SKIP_CLIENT_CERT_CHECK: text }).skipsClientCertificates;
    for (const text of ["1", "t", "T", "true", "TRUE", "True"]) assert.equal(read(text), true);
    for (const text of ["0", "f", "F", "false", "FALSE", "False"]) assert.equal(read(text), false);
    assert.throws(() => read("yes"), ConfigError);
  });

  for (const [env, message] of [
    [{ AGENT_PORT: "0" }, /^environment variable AGENT_PORT: "0" is no port$/],
    [
      { GODOXY_AGENT_PORT: "65536" },
      /^environment variable GODOXY_AGENT_PORT: "65536" is no port$/,
    ],
    [{ AGENT_CA_CERT: "x" }, /^environment variable AGENT_CA_CERT: no pair text and no PEM/],
    [
      { GOPROXY_AGENT_SSL_CERT: "x" },
      /^environment variable GOPROXY_AGENT_SSL_CERT: pair text has 0/,
    ],
    [
      { AGENT_SSL_CERT: `${SERVER}x` },
      /^environment variable AGENT_SSL_CERT: key of the pair is no b/,
    ],
  ] as const) {
    test(`is refused with ${Object.keys(env).join("")} broken, by its whole name`, () => {
      assert.throws(
        () => agentEnvironment(env),
        (thrown) => {
          assert.ok(thrown instanceof ConfigError, String(thrown));
          assert.match(thrown.message, message);
          return true;
        },
      );
    });
  }
});
