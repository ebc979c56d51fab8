import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type LogLine,
  manualRuntime,
  memoryClient,
  type TestClient,
  recordingLogger,
  turns,
} from "../../test/support/test-client.ts";
import type { ByteReader, Parser } from "../bytes/byte-reader.ts";
import type { ManualClock } from "../clock/manual-clock.ts";
import { ProtocolError } from "../errors.ts";
import { Handshakes, peekFirstByte } from "./handshakes.ts";
import type { HandshakeLimits } from "./inbound.ts";

describe("handshakes", () => {
  test("run to the end and free their slot", async () => {
    const { connect, handshakes, done, lines, clock } = make();
    const client = connect();
    assert.equal(handshakes.size, 1);
    await client.send("ab");
    assert.deepEqual(done, ["a", "b"]);
    assert.equal(handshakes.size, 0);
    assert.deepEqual(lines, []);
    assert.equal(clock.pending, 0);
  });

  test("log what failed with its peer, phase and age, and close", async () => {
    const { connect, lines, clock, handshakes } = make();
    const client = connect();
    await client.send("a");
    clock.advance(40);
    await client.send("!");
    assert.deepEqual(client.events, ["end"]);
    assert.equal(handshakes.size, 0);
    assert.equal(lines.length, 1);
    const { level, message, fields } = lines[0] ?? assert.fail();
    assert.equal(`${level} ${message}`, "warn test handshake failed");
    const { inbound, peer, phase, reason, code, elapsedMs } = fields;
    assert.deepEqual([inbound, peer, phase], ["an inbound", "192.0.2.1:5000", "second"]);
    assert.deepEqual([reason, code, elapsedMs], ["exclaimed", "ERR_PROTOCOL", 40]);
  });

  test("end in time however slowly bytes drip", async () => {
    const { connect, lines, clock } = make({ handshakeTimeoutMs: 1_000 });
    const client = connect();
    clock.advance(900);
    await client.send("a");
    clock.advance(99);
    assert.deepEqual(client.events, []);
    clock.advance(1);
    await turns();
    assert.deepEqual(client.events, ["end"]);
    assert.equal(lines[0]?.fields["code"], "ERR_HANDSHAKE_TIMEOUT");
    assert.equal(lines[0]?.fields["phase"], "second");
    assert.equal(clock.pending, 0);
  });

  test("take a silent goodbye for a port check", async () => {
    const { connect, lines } = make();
    connect().connection.close();
    await turns();
    assert.deepEqual(
      lines.map(({ level }) => level),
      ["debug"],
    );
  });

  test("end the oldest past the limit, with one line a second", async () => {
    const { connect, lines, handshakes, clock } = make({ maxHandshakes: 10 });
    const clients = Array.from({ length: 1_000 }, () => connect());
    await turns();
    assert.equal(handshakes.size, 10);
    assert.equal(clients.filter(({ events }) => events.includes("close ERR_LIMIT")).length, 990);
    assert.deepEqual(clients.at(-1)?.events, []);
    assert.equal(lines.length, 1);
    clock.advance(1_000);
    connect();
    assert.equal(lines[1]?.fields["handshakes"], 990);
  });
});

function make(limits: HandshakeLimits = {}): {
  connect: () => TestClient;
  handshakes: Handshakes;
  done: string[];
  lines: LogLine[];
  clock: ManualClock;
} {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  const handshakes = new Handshakes("test", { name: "an inbound", runtime, logger, ...limits });
  const done: string[] = [];
  const connect = (): TestClient => {
    const [client, connection] = memoryClient(runtime);
    handshakes.serve(connection, async (read) => {
      for (const phase of ["first", "second"]) done.push(await read(phase, readLetter));
    });
    return client;
  };
  return { connect, handshakes, done, lines, clock: runtime.clock };
}

function* readLetter(reader: ByteReader): Parser<string> {
  yield* peekFirstByte(reader);
  const letter = String.fromCharCode(yield* reader.readByte());
  if (letter === "!") throw new ProtocolError("exclaimed");
  return letter;
}
