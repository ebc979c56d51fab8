import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SlabPool } from "../../src/bytes/slab-pool.ts";
import { ManualClock } from "../../src/clock/manual-clock.ts";
import type { TunnelError } from "../../src/errors.ts";
import { PongClient } from "../../src/protocols/pong/client.ts";
import { PongServer } from "../../src/protocols/pong/server.ts";
import { PongSession } from "../../src/protocols/pong/session.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import { connectionPair } from "../../src/tunnel/connection-pair.ts";
import { silentLogger } from "../../src/tunnel/logger.ts";
import type { Request } from "../../src/tunnel/request.ts";
import type { Runtime } from "../../src/tunnel/runtime.ts";
import { assertBytes } from "../support/hex.ts";
import { cutFrames, frame, joinFrames, Type } from "./pong-frames.ts";
import { readTranscript, sentBytes } from "./transcript.ts";

describe("pong golden transcripts of whole links", () => {
  test("replays probe-unknown-client-id as the remote", async () => {
    const transcript = readTranscript("pong", "probe-unknown-client-id");
    const clock = new ManualClock();
    const requests: Request[] = [];
    const server = new PongServer({
      name: "remote",
      clients: [{ name: "alice", id: transcript.clientId }],
      runtime: testRuntime(clock),
      logger: silentLogger,
      onRequest: (request) => requests.push(request),
    });
    const links = [1, 2, 3, 4].map((conn) => {
      const [ours, theirs] = connectionPair(testRuntime(clock));
      server.accept(theirs);
      const heard = listen(ours);
      ours.write([sentBytes(transcript, { layer: "tcp", from: "client", conn })]);
      return heard;
    });
    await turns();
    // 1: an unknown id. 3: the same, with frames behind it. 2: version 9, which pong-go takes
    // (spec 1.1); a version we do not know is refused here.
    assert.deepEqual(
      links.map(({ isEnded }) => isEnded),
      [true, true, true, false],
    );
    assert.deepEqual(requests, []);
    // 4: half a header. pong-go waits for ever (spec 2.7), ours 10 s.
    clock.advance(9_999);
    await turns();
    assert.equal(links[3]?.isEnded, false);
    clock.advance(1);
    await turns();
    assert.equal(links[3]?.isEnded, true);
    for (const { received } of links) assertBytes(received, new Uint8Array(0));
    assert.equal(clock.pending, 0);
  });

  test("replays probe-unknown-client-id as the local", async () => {
    const clock = new ManualClock();
    const client = new PongClient({
      name: "home",
      clientId: new Uint8Array(16),
      runtime: testRuntime(clock),
      logger: silentLogger,
      dialer: {
        description: "pong+memory",
        dial: () => {
          const [ours, theirs] = connectionPair(testRuntime(clock));
          listen(theirs);
          theirs.close(); // not a byte: all there is to see of a wrong id
          return Promise.resolve(ours);
        },
      },
    });
    const refused = assert.rejects(client.open(TARGET, { signal: NEVER, metadata: METADATA }), {
      code: "ERR_AUTH",
      hint: /client id/,
    });
    await turns();
    assert.equal(client.status().state, "down");
    await refused;
    await client.close(0);
    assert.equal(clock.pending, 0);
  });

  test("replays tcp-three-streams-two-per-connection as the local's pool", async () => {
    const transcript = readTranscript("pong", "tcp-three-streams-two-per-connection");
    const { clientId } = transcript;
    const clock = new ManualClock();
    const remotes: Heard[] = [];
    const client = new PongClient({
      name: "home",
      clientId,
      runtime: testRuntime(clock),
      logger: silentLogger,
      session: { extensions: false },
      pool: { maxStreams: 2, spare: 0 },
      dialer: {
        description: "pong+memory",
        dial: () => {
          const [ours, theirs] = connectionPair(testRuntime(clock));
          remotes.push(listen(theirs));
          return Promise.resolve(ours);
        },
      },
    });
    const sent = [1, 2].map((conn) =>
      sentBytes(transcript, { layer: "tcp", from: "client", conn }),
    );
    const wishes = sent.flatMap((bytes) => cutFrames(bytes.subarray(17)).frames);
    const { payload } = wishes[0] ?? frame(Type.connect, 1);
    const target = { ...TARGET, port: Buffer.from(payload).readUInt16BE(5) };
    for (const { type, payload: data } of wishes) {
      if (type !== Type.data) continue;
      const opened = client.open(target, { signal: NEVER, metadata: METADATA });
      await turns();
      const stream = await opened;
      stream.write([data]);
      await turns();
    }
    assert.equal(remotes.length, 2);
    for (const [index, { received }] of remotes.entries()) {
      assertBytes(received, sent[index] ?? new Uint8Array(0));
    }
    await client.close(0);
    await turns();
    clock.advance(5000);
  });

  test("replays tcp-socks-udp-associate as a local that says what it cannot do", async () => {
    const { clientId } = readTranscript("pong", "tcp-socks-udp-associate");
    const session = new PongSession({ side: "local", clientId });
    session.start(0);
    const { step } = session.open({ network: "udp", host: "127.0.0.1", port: 53 }, 0);
    assert.deepEqual(step.output, []);
    const [event] = step.events;
    assert.ok(event?.type === "streamClosed");
    assert.equal(event.error?.code, "ERR_COMMAND_UNSUPPORTED");
    assert.equal(session.streamCount, 0);
  });

  test("replays probe-malformed-lengths as a remote whose neighbours live on", async () => {
    const transcript = readTranscript("pong", "probe-malformed-lengths");
    const clock = new ManualClock();
    const server = new PongServer({
      name: "remote",
      clients: [{ name: "alice", id: transcript.clientId }],
      runtime: testRuntime(clock),
      logger: silentLogger,
      onRequest: (request) => void request.accept(),
    });
    const [first, second] = [1, 2].map((conn) => {
      const [ours, theirs] = connectionPair(testRuntime(clock));
      server.accept(theirs);
      const heard = listen(ours);
      ours.write([sentBytes(transcript, { layer: "tcp", from: "client", conn })]);
      return heard;
    });
    await turns();
    // The short CONNECT costs its stream, the impossible length its connection; nobody else's.
    assertBytes(first?.received ?? [], joinFrames([frame(Type.rst, 1, 8)]));
    assert.equal(first?.isEnded, false);
    assert.equal(second?.error?.code, "ERR_PROTOCOL");
    assert.equal(server.linkCount, 1);
    await server.close(0);
  });
});

interface Heard {
  readonly received: Uint8Array[];
  isEnded: boolean;
  error: TunnelError | undefined;
}

function listen(connection: Connection): Heard {
  const heard: Heard = { received: [], isEnded: false, error: undefined };
  connection.attach({
    onData: (chunk) => heard.received.push(chunk.slice()),
    onEnd: () => {
      heard.isEnded = true;
    },
    onDrain: () => {},
    onClose: (error) => {
      heard.isEnded = true;
      heard.error = error;
    },
  });
  connection.resume();
  return heard;
}

function testRuntime(clock: ManualClock): Runtime {
  return { clock, random: () => 0.5, slabs: new SlabPool() };
}

/** Lets everything that waits for a turn of the event loop have it. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const TARGET = { network: "tcp", host: "127.0.0.1", port: 80 } as const;
const METADATA = { inbound: "test", source: "test" };
const NEVER = new AbortController().signal;
