import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { agentEnvironment } from "../../src/certificates/agent-environment.ts";
import { issueCertificate } from "../../src/certificates/authority.ts";
import { readStore, writeStore } from "../../src/certificates/certificate-store.ts";
import type { CertificateMaterial } from "../../src/certificates/material.ts";
import { formatPemPair, parsePemPair } from "../../src/certificates/pem-pair.ts";
import {
  VECTOR_TIME,
  type VectorAgent,
  vectorPath,
  vectorText,
} from "../support/godoxy-certificates.ts";
import { shakeHands } from "../support/mutual-tls.ts";

// Node's TLS judges by the machine's clock.
const skip = new Date() < VECTOR_TIME ? "the clock is earlier than the certificates" : false;

/** An agent as the original enrols it: by its environment. */
function enrolledAgent(agent: VectorAgent): CertificateMaterial {
  const { ca, identity } = agentEnvironment({
    AGENT_CA_CERT: vectorText(agent, "ca.pair.txt"),
    AGENT_SSL_CERT: vectorText(agent, "server.pair.txt"),
  });
  return { ca, ...identity };
}

function enrolledClient(agent: VectorAgent): CertificateMaterial {
  return readStore(readFileSync(vectorPath(agent, "agent.zip")));
}

describe("an agent that the original enrolled", { skip }, () => {
  test("and the store of the original meet", async () => {
    for (const agent of ["agent-a", "agent-b"] as const) {
      assert.equal(await shakeHands(enrolledAgent(agent), enrolledClient(agent)), "godoxy.agent");
    }
  });

  test("and the store of another agent do not, though their CAs have one name", async () => {
    const said = await shakeHands(enrolledAgent("agent-a"), enrolledClient("agent-b"));
    assert.notEqual(said, "godoxy.agent");
  });

  test("meets a store of ours with a certificate of its CA, and its store an agent of ours", async () => {
    const ca = parsePemPair(vectorText("agent-a", "ca.pair.txt"));
    const now = VECTOR_TIME;
    const client = issueCertificate(ca, "client", { now });
    const store = readStore(writeStore({ ca: ca.cert, ...client }));
    assert.equal(await shakeHands(enrolledAgent("agent-a"), store), "godoxy.agent");
    const server = parsePemPair(formatPemPair(issueCertificate(ca, "server", { now })));
    const agent = { ca: ca.cert, ...server };
    assert.equal(await shakeHands(agent, enrolledClient("agent-a")), "godoxy.agent");
  });
});
