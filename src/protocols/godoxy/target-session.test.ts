import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type DatagramEnd,
  datagramPair,
  DatagramRecorder,
} from "../../../test/support/datagram-pair.ts";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { PacketRecorder } from "../../../test/support/packet-recorder.ts";
import { manualRuntime, turns } from "../../../test/support/test-client.ts";
import { DatagramSessions } from "./datagram-sessions.ts";
import { DEFAULT_CLIENT_LIMITS, type GodoxyClientLimits } from "./limits.ts";

describe("godoxy client, sessions that nobody answers", () => {
  test("replaces one that its agent may have forgotten, and loses nothing of what is sent", async () => {
    const { clock, packets, agents, sessions } = make();
    packets.send("0", "a", 1);
    await turns();
    agents[0]?.connection.send(Buffer.from("answer"));
    clock.advance(60_000);
    packets.send("1", "a", 1);
    for (let second = 1; second <= 30; second++) {
      assert.equal(agents.length, 1);
      clock.advance(1_000);
      packets.send(`${second + 1}`, "a", 1);
    }
    await turns();
    assert.equal(sessions.size, 1);
    assert.deepEqual(agents[0]?.events.at(-1), "close");
    assert.deepEqual(agents[1]?.events, ["31"]);
    packets.send("32", "a", 1);
    assert.deepEqual(agents[1]?.events, ["31", "32"]);
    agents[1]?.connection.send(Buffer.from("answer"));
    assert.deepEqual(packets.events, ["answer < a:1", "answer < a:1"]);
  });

  test("leaves alone what is answered now and then, and what sends nothing", async () => {
    const { clock, packets, agents } = make();
    for (let round = 0; round < 5; round++) {
      packets.send("question", "a", 1);
      await turns();
      clock.advance(29_999);
      packets.send("again", "a", 1);
      agents[0]?.connection.send(Buffer.from("answer"));
      clock.advance(60_000);
    }
    assert.equal(agents.length, 1);
  });

  test("keeps all of them when told to", async () => {
    const { clock, packets, agents } = make({ sessionAnswerMs: 0 });
    for (let round = 0; round < 5; round++) {
      packets.send("report", "a", 1);
      await turns();
      clock.advance(60_000);
    }
    assert.equal(agents.length, 1);
  });
});

function make(limits: Partial<GodoxyClientLimits> = {}) {
  const runtime = manualRuntime();
  const agents: DatagramRecorder[] = [];
  const sessions = new DatagramSessions({
    name: "office",
    description: "godoxy+dtls://agent:8890",
    runtime,
    logger: new LogRecorder(),
    limits: { ...DEFAULT_CLIENT_LIMITS, ...limits },
    openDtls: async () => {
      const [near, far]: [DatagramEnd, DatagramEnd] = datagramPair();
      agents.push(new DatagramRecorder(far));
      return await Promise.resolve(near);
    },
    metadata: { inbound: "test", source: "192.0.2.1:5000" },
    budget: { used: 0 },
    onFailure: () => assert.fail("nothing failed"),
    onClosed: () => {},
  });
  return { clock: runtime.clock, packets: new PacketRecorder(sessions), agents, sessions };
}
