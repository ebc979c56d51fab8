import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type DatagramEnd,
  datagramPair,
  DatagramRecorder,
} from "../../../test/support/datagram-pair.ts";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { PacketRecorder } from "../../../test/support/packet-recorder.ts";
import { packetPair } from "../../../test/support/packet-pair.ts";
import { manualRuntime, turns } from "../../../test/support/test-client.ts";
import { NetworkError } from "../../errors.ts";
import { GodoxyAgent } from "./agent.ts";
import { GodoxyClient } from "./client.ts";
import { decodeHeader, encodeProbe } from "./header.ts";
import type { GodoxyClientLimits } from "./limits.ts";

describe("godoxy client, datagrams", () => {
  test("opens one session per target, and keeps what comes meanwhile", async () => {
    const { associate, dialled } = make();
    const packets = await associate();
    packets.send("one", "198.51.100.1", 53);
    packets.send("two", "198.51.100.1", 53);
    packets.send("other", "name.example", 443);
    await turns();
    assert.deepEqual(
      dialled.map(({ greeting }) => decodeHeader(greeting)),
      [
        { host: "198.51.100.1", port: "53", flags: 0 },
        { host: "name.example", port: "443", flags: 0 },
      ],
    );
    assert.deepEqual(dialled[0]?.agent.events, ["one", "two"]);
    assert.deepEqual(dialled[1]?.agent.events, ["other"]);
    dialled[1]?.agent.connection.send(Buffer.from("answer"));
    dialled[0]?.agent.connection.send(Buffer.from(""));
    assert.deepEqual(packets.events, ["answer < name.example:443", " < 198.51.100.1:53"]);
    packets.send("", "198.51.100.1", 53);
    assert.equal(dialled[0]?.agent.events.at(-1), "");
    packets.channel.close();
    assert.deepEqual(packets.events.at(-1), "close");
    assert.ok(dialled.every(({ near }) => near.isClosed));
  });

  test("bounds what waits for a handshake, in number and in bytes", async () => {
    const { associate, dialled } = make({ maxQueuedDatagrams: 3, maxQueuedBytes: 10 });
    const packets = await associate();
    for (const text of ["aaaa", "too many bytes", "b", "c", "d"]) packets.send(text, "a", 1);
    await turns();
    assert.deepEqual(dialled[0]?.agent.events, ["aaaa", "b", "c"]);
  });

  test("ends a silent session, and opens a new one when more comes", async () => {
    const { associate, dialled, runtime, client } = make();
    const packets = await associate();
    packets.send("x", "a", 1);
    await turns();
    runtime.clock.advance(119_999);
    dialled[0]?.agent.connection.send(Buffer.from("y"));
    runtime.clock.advance(119_999);
    assert.equal(dialled[0]?.near.isClosed, false);
    runtime.clock.advance(1);
    assert.equal(dialled[0]?.near.isClosed, true);
    assert.deepEqual(client.status().links, 0);
    packets.send("z", "a", 1);
    await turns();
    assert.deepEqual(dialled[1]?.agent.events, ["z"]);
    packets.channel.close();
    assert.equal(runtime.clock.pending, 0);
  });

  test("says once that an agent ended a session, and waits before the next", async () => {
    const { associate, dialled, runtime, log } = make();
    const packets = await associate();
    for (let round = 0; round < 3; round++) {
      packets.send("x", "a", 1);
      await turns();
      dialled[round]?.agent.connection.close();
      packets.send("lost", "a", 1);
      await turns();
      assert.equal(dialled.length, round + 1);
      runtime.clock.advance(1_000);
    }
    assert.deepEqual(packets.events, []);
    assert.equal(log.lines.length, 1);
    assert.match(log.text, /^info datagrams dropped .*"to":"a:1\/udp".*which never answered/);
  });

  test("survives what cannot be dialled, in bounded time", async () => {
    const { associate, runtime, log, fail, dialled } = make();
    const packets = await associate();
    fail(new NetworkError("ERR_DIAL_REFUSED", "agent:8890: refused"));
    packets.send("x", "a", 1);
    await turns();
    assert.match(log.text, /info datagrams dropped .*"reason":"agent:8890: refused"/);
    fail("silence");
    packets.send("x", "b", 1);
    await turns();
    runtime.clock.advance(10_000);
    await turns();
    assert.match(log.text, /no dtls session for b:1\/udp within 10000 ms/);
    packets.send("x", "h".repeat(256), 1);
    assert.match(log.text, /host name of 256 bytes exceeds 255/);
    fail(undefined);
    packets.send("x", "a", 1);
    await turns();
    assert.deepEqual(dialled[0]?.agent.events, ["x"]);
    packets.channel.close();
    assert.equal(runtime.clock.pending, 0);
  });

  test("bounds sessions: the longest silent one makes room", async () => {
    const { associate, dialled, runtime } = make({
      maxSessionsPerAssociation: 2,
      maxSessions: 3,
    });
    const packets = await associate();
    for (const host of ["a", "b"]) {
      packets.send("x", host, 1);
      runtime.clock.advance(10);
    }
    await turns();
    packets.send("y", "a", 1);
    packets.send("x", "c", 1);
    await turns();
    const closed = (): boolean[] => dialled.map(({ near }) => near.isClosed);
    assert.deepEqual(closed(), [false, true, false]);
    const others = await associate();
    others.send("x", "d", 1);
    await turns();
    others.send("x", "e", 1);
    await turns();
    assert.deepEqual(closed(), [false, true, false, true, false], "each out of its own");
    const thirds = await associate();
    thirds.send("x", "f", 1);
    await turns();
    assert.equal(dialled.length, 5, "others hold all there are");
  });

  test("drops and logs what is longer than a session carries", async () => {
    const { associate, dialled, log } = make();
    const packets = await associate();
    for (const size of [16_384, 16_385, 20_000]) packets.send("x".repeat(size), "a", 1);
    await turns();
    assert.deepEqual(
      dialled[0]?.agent.events.map(({ length }) => length),
      [16_384],
    );
    assert.equal(log.lines.length, 1);
    assert.match(log.text, /too long for DTLS .*"bytes":16385,"limit":16384/);
  });

  test("probes both transports, and tells apart what the agent can do", async () => {
    const { client, dialled } = make();
    const { signal } = new AbortController();
    const probing = client.probe({ signal });
    await turns();
    assert.deepEqual(dialled[0]?.greeting, encodeProbe());
    dialled[0]?.agent.connection.close();
    await probing;
    assert.equal(client.status().detail, "godoxy+dtls://agent:8890: UDP yes");
    await client.close(0);
    await assert.rejects(
      async () => await client.associate?.({ signal, metadata: METADATA }),
      /tunnel is closing/,
    );
  });

  test("ends associations when it closes", async () => {
    const { client, associate, dialled, runtime } = make();
    const packets = await associate();
    packets.send("x", "a", 1);
    await turns();
    await client.close(0);
    assert.equal(packets.events.at(-1), "close");
    assert.equal(dialled[0]?.near.isClosed, true);
    assert.equal(runtime.clock.pending, 0);
  });

  test("carries datagrams through our own agent, and its refusals", async () => {
    const runtime = manualRuntime();
    const [target, channel] = packetPair();
    const far = new PacketRecorder(target);
    const agent = new GodoxyAgent({
      name: "agent",
      runtime,
      logger: new LogRecorder(),
      onRequest: () => assert.fail("no stream"),
      onPacketRequest: (request) => {
        if (request.target?.port !== 53) {
          request.reject(new NetworkError("ERR_DNS", "unknown"));
          return;
        }
        const session = request.accept();
        session.attach({ onPacket: (packet) => channel.send(packet), onClose: () => {} });
        channel.attach({ onPacket: (packet) => session.send(packet), onClose: () => {} });
      },
    });
    const client = new GodoxyClient({
      name: "office",
      description: "godoxy+dtls://agent:8890",
      runtime,
      logger: new LogRecorder(),
      openDtls: async (greeting) => {
        const [near, theirs] = datagramPair();
        agent.acceptDatagrams(theirs, { name: "alice", key: "A" });
        near.send(greeting);
        return await Promise.resolve(near);
      },
    });
    const { signal } = new AbortController();
    const packets = new PacketRecorder(
      (await client.associate?.({ signal, metadata: METADATA })) ?? assert.fail(),
    );
    packets.send("question", "198.51.100.1", 53);
    packets.send("refused", "198.51.100.1", 54);
    await turns();
    assert.deepEqual(far.events, ["question < 198.51.100.1:53"]);
    far.send("answer", "198.51.100.1", 53);
    assert.deepEqual(packets.events, ["answer < 198.51.100.1:53"]);
    await client.probe({ signal });
    assert.equal(agent.sessionCount, 1);
    packets.channel.close();
    assert.equal(agent.sessionCount, 0);
  });
});

interface Dialled {
  readonly greeting: Uint8Array;
  readonly near: DatagramEnd;
  readonly agent: DatagramRecorder;
}

interface Made {
  readonly client: GodoxyClient;
  readonly runtime: ReturnType<typeof manualRuntime>;
  readonly log: LogRecorder;
  readonly dialled: Dialled[];
  readonly associate: () => Promise<PacketRecorder>;
  /** What the next dials come to. */
  readonly fail: (how: NetworkError | "silence" | undefined) => void;
}

function make(limits: Partial<GodoxyClientLimits> = {}): Made {
  const runtime = manualRuntime();
  const log = new LogRecorder();
  const dialled: Dialled[] = [];
  let failure: NetworkError | "silence" | undefined;
  const client = new GodoxyClient({
    name: "office",
    description: "godoxy+dtls://agent:8890",
    runtime,
    logger: {
      debug: () => {},
      info: (message, fields) => log.info(message, fields),
      warn: (message, fields) => log.warn(message, fields),
      error: (message, fields) => log.error(message, fields),
      child: () => log,
    },
    limits: { probeIntervalMs: 0, ...limits },
    openDtls: async (greeting, signal) => {
      if (failure === "silence") {
        return await new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        });
      }
      if (failure !== undefined) throw failure;
      const [near, far] = datagramPair({ names: ["here", "agent:8890"] });
      dialled.push({ greeting, near, agent: new DatagramRecorder(far) });
      return await Promise.resolve(near);
    },
  });
  return {
    client,
    runtime,
    log,
    dialled,
    associate: async () => {
      const { signal } = new AbortController();
      const channel = await client.associate?.({ signal, metadata: METADATA });
      return new PacketRecorder(channel ?? assert.fail("no associate"));
    },
    fail: (how) => (failure = how),
  };
}

const METADATA = { inbound: "test", source: "192.0.2.1:5000" };
