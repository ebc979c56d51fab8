import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { Target } from "../../src/address/target.ts";
import { NetworkError } from "../../src/errors.ts";
import { GodoxyAgent } from "../../src/protocols/godoxy/agent.ts";
import { GodoxyClient } from "../../src/protocols/godoxy/client.ts";
import { decodeHeader, HEADER_BYTES } from "../../src/protocols/godoxy/header.ts";
import { splice } from "../../src/relay/splice.ts";
import { connectionPair } from "../../src/tunnel/connection-pair.ts";
import type { Request } from "../../src/tunnel/request.ts";
import { assertBytes } from "../support/hex.ts";
import { LogRecorder } from "../support/log-recorder.ts";
import { Recorder } from "../support/recorder.ts";
import { manualRuntime } from "../support/test-client.ts";
import { turns } from "../support/turns.ts";
import {
  type GodoxyConn,
  type GodoxyLine,
  type GodoxyTranscript,
  has,
  readGodoxy,
  saidBy,
} from "./godoxy-transcript.ts";

/** Scenarios whose agent is the original, and those whose client is. */
const AGENT = [
  "tcp-bad-headers",
  "tcp-destination-closes-first",
  "tcp-echo",
  "tcp-header-coalesced-and-split",
  "tcp-header-truncated",
  "tcp-health-probe",
  "tcp-ipv6-destination",
  "tcp-refused-and-unresolvable-target",
  "tcp-resets",
];
const CLIENT = [
  "tcp-destination-closes-first",
  "tcp-echo",
  "tcp-health-probe",
  "tcp-ipv6-destination",
  "tcp-reference-client-to-foreign-server",
  "tcp-refused-and-unresolvable-target",
];

/**
 * Every recording of the original over TLS, its plaintext played against our agent and our client.
 *
 * Where we differ, on purpose:
 * - ENDS: the original relays no end of stream and no reset, ours relays both at once, each way.
 * - CLOSES: the original closes its socket over unread bytes, which the kernel turns into RST; ours
 *   ends in order.
 * - PROBE: the original's prober asks and leaves at once; ours listens first, in case the agent refuses
 *   its certificate, and waits for the agent's end, so that its answer is one.
 */
describe("GoDoxy over TLS, against the original's recordings", () => {
  test("leaves out only what is settled below the streams", () => {
    const files = readdirSync(join(import.meta.dirname, "../vectors/godoxy"));
    const names = files.filter((file) => file.startsWith("tcp-")).map((file) => file.slice(0, -6));
    const skipped = names.filter((name) => !AGENT.includes(name) && !CLIENT.includes(name));
    assert.deepEqual(skipped.toSorted(), [
      "tcp-alpn", // which protocol a connection carries: the listener's choice
      "tcp-client-certificate-rejected", // no connection comes out of these handshakes
    ]);
  });

  for (const name of AGENT) {
    test(`agent does as in ${name}`, async () => {
      for (const conn of readGodoxy(name).conns) await playAgent(conn, `${name} ${conn.conn}`);
    });
  }

  for (const name of CLIENT) {
    test(`client does as in ${name}`, async () => {
      const transcript: GodoxyTranscript = readGodoxy(name);
      assert.equal(transcript.capturedFrom.client, "reference");
      for (const conn of transcript.conns) await playClient(conn, `${name} ${conn.conn}`);
    });
  }
});

/** Plays the client and the destination of a recording; the agent is ours. */
async function playAgent(conn: GodoxyConn, what: string): Promise<void> {
  const runtime = manualRuntime();
  const logger = new LogRecorder();
  const requests: Request[] = [];
  const [far, near] = connectionPair(runtime);
  const destination = new Recorder(far);
  far.resume();
  const reaches = has(conn, { leg: "destination", event: "open" });
  const agent = new GodoxyAgent({
    name: "agent",
    runtime,
    logger,
    onRequest: (request) => {
      requests.push(request);
      if (reaches) splice(request.accept(), near, { clock: runtime.clock, onClose: () => {} });
      else request.reject(new NetworkError("ERR_DIAL_REFUSED", "refused"));
    },
  });
  const [peer, ours] = connectionPair(runtime);
  const client = new Recorder(peer);
  peer.resume();
  agent.accept(ours, { name: "client", key: "key" });

  const started = conn.lines[0]?.at ?? 0;
  for (const line of conn.lines) {
    runtime.clock.advance(Math.max(0, line.at - started - runtime.clock.now()));
    play(line);
    await turns();
    heard(line);
  }
  assertBytes(client.bytes, saidBy(conn, "server", "tunnel"), `${what}: to the client`);
  assertBytes(destination.bytes, saidBy(conn, "client", "destination"), `${what}: to the target`);
  const [request] = requests;
  if (reaches) assert.deepEqual(request?.target, targetOf(conn), `${what}: target`);
  else if (WITHOUT_DIAL.test(what)) assert.deepEqual(requests, [], `${what}: no dial`);
  if (!reaches) assert.equal(agent.streamCount, 0, `${what}: nothing is left`);
  await agent.close(0);
  await turns(10);
  assert.equal(agent.streamCount, 0, `${what}: nothing is left`);

  function play(line: GodoxyLine): void {
    if (line.leg === "tunnel" && line.from === "client") {
      if (line.event === "data") peer.write([line.bytes]);
      if (line.event === "end") peer.finish();
      if (line.event === "reset") peer.reset(new NetworkError("ERR_CONNECTION_RESET", "reset"));
    }
    if (line.leg === "destination" && line.from === "server") {
      if (line.event === "data") far.write([line.bytes]);
      if (line.event === "end") far.finish();
      if (line.event === "reset") far.reset(new NetworkError("ERR_CONNECTION_RESET", "reset"));
    }
  }

  /** What must be there by now; ENDS makes ours earlier than the recording. */
  function heard({ leg, from, event, at }: GodoxyLine): void {
    const isOver = (one: Recorder): boolean => {
      return one.events.some((said) => said === "end" || said.startsWith("close"));
    };
    const when = `${what} at ${at}`;
    if (leg === "tunnel" && from === "server" && event === "end") {
      assert.ok(isOver(client), `${when}: the agent ends`);
    }
    if (leg === "destination" && from === "server" && event === "end") {
      assert.ok(client.events.includes("end"), `${when}: ENDS, the target's reaches the client`);
    }
    if (leg === "destination" && from === "server" && event === "reset") {
      assert.match(client.events.join(), /close ERR_/, `${when}: ENDS, the reset too`);
    }
    if (!reaches || leg !== "tunnel" || from !== "client") return;
    if (event === "end")
      assert.ok(isOver(destination), `${when}: ENDS, the client's at the target`);
    if (event === "reset") {
      assert.match(destination.events.join(), /close ERR_/, `${when}: ENDS, the reset too`);
    }
  }
}

/** Plays the agent of a recording; the client is ours. */
async function playClient(conn: GodoxyConn, what: string): Promise<void> {
  const sent = saidBy(conn, "client", "tunnel");
  const header = decodeHeader(sent.slice(0, HEADER_BYTES));
  if (header.port === "" && header.flags === 0) return; // nobody can ask us for no port
  const runtime = manualRuntime();
  const [far, near] = connectionPair(runtime);
  const agent = new Recorder(far);
  far.resume();
  const client = new GodoxyClient({
    name: "client",
    description: "godoxy+tls://agent:8890",
    openTls: () => Promise.resolve(near),
    runtime,
    logger: new LogRecorder(),
  });
  const { signal } = new AbortController();
  if (header.flags === 1) {
    const probing = client.probe({ signal });
    await turns();
    assert.equal(agent.bytes.byteLength, 0, `${what}: PROBE, it listens before it asks`);
    runtime.clock.advance(50);
    await turns();
    assertBytes(agent.bytes, sent, `${what}: probe`);
    assert.deepEqual(agent.events, [], `${what}: PROBE, it waits`);
    far.close();
    await probing;
    await client.close(0);
    return;
  }
  const target: Target = { network: "tcp", host: header.host, port: Number(header.port) };
  const metadata = { inbound: "test", source: "192.0.2.1:1" };
  const stream = await client.open(target, { signal, metadata });
  const user = new Recorder(stream);
  stream.resume();
  let isFirst = true;
  for (const { leg, from, event, bytes } of conn.lines) {
    if (leg !== "tunnel") continue;
    const isHeader = isFirst && event === "data";
    if (event === "data") isFirst = false;
    if (from === "server") {
      if (event === "data") far.write([bytes]);
      if (event === "end") far.finish();
    } else {
      // The header is the client's own affair.
      if (event === "data" && !isHeader) stream.write([bytes]);
      if (event === "end") stream.finish();
    }
    await turns();
  }
  assertBytes(agent.bytes, sent, `${what}: to the agent`);
  assertBytes(user.bytes, saidBy(conn, "server", "tunnel"), `${what}: to the user`);
  const ends = { from: "client", leg: "tunnel", event: "end" } as const;
  assert.equal(agent.events.includes("end"), has(conn, ends), `${what}: end`);
  assert.equal(user.events.includes("end"), has(conn, { ...ends, from: "server" }), `${what}: end`);
  const closing = client.close(0);
  await turns(10);
  await closing;
}

function targetOf(conn: GodoxyConn): Target {
  const { host, port } = decodeHeader(saidBy(conn, "client", "tunnel").slice(0, HEADER_BYTES));
  // An empty host is the agent's own machine.
  return { network: "tcp", host: host === "" ? "localhost" : host, port: Number(port) };
}

/** Where the header itself is refused or asks for nothing, nothing may be dialled. */
const WITHOUT_DIAL = /bad-headers|truncated|probe|target 3$/;
