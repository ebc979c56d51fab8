import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type LogLine,
  manualRuntime,
  memoryClient,
  recordingLogger,
  TestClient,
  turns,
} from "../../../test/support/test-client.ts";
import type { ManualClock } from "../../clock/manual-clock.ts";
import type { HandshakeLimits } from "../../tunnel/inbound.ts";
import { createMixedInbound } from "./inbound.ts";

describe("mixed inbound", () => {
  test("tells protocols apart by every first byte there is", async () => {
    for (let byte = 0; byte < 256; byte++) {
      const { connect, seen, lines } = make();
      const client = connect();
      await client.send(Uint8Array.of(byte, 0x01, 0x00));
      const letter = /^[A-Za-z]$/.test(String.fromCharCode(byte));
      const expected = byte === 5 ? "socks5" : byte === 4 ? "socks4" : letter ? "http" : undefined;
      assert.equal(seen[0]?.protocol, expected, `byte ${byte}`);
      if (expected === undefined) {
        assert.deepEqual(client.events, ["end"]);
        assert.match(String(lines[0]?.fields["reason"]), new RegExp(`first byte ${byte} `));
      } else {
        assert.equal(seen[0]?.handed.text, String.fromCharCode(byte, 1, 0), "nothing is lost");
        assert.deepEqual(lines, []);
      }
    }
  });

  test("names what a TLS client did wrong", async () => {
    const { connect, lines } = make();
    await connect().send(Uint8Array.of(0x16, 0x03, 0x01));
    assert.match(String(lines[0]?.fields["hint"]), /TLS/);
  });

  test("closes who says nothing in time", async () => {
    const { connect, lines, clock } = make({ handshakeTimeoutMs: 500 });
    const client = connect();
    clock.advance(500);
    await turns();
    assert.deepEqual(client.events, ["end"]);
    assert.equal(lines[0]?.fields["phase"], "first byte");
    assert.equal(clock.pending, 0);
  });

  test("stays bounded under 10,000 half-open connections", async () => {
    const { connect, seen } = make({ maxHandshakes: 100 });
    const clients = Array.from({ length: 10_000 }, () => connect());
    await turns();
    assert.equal(clients.filter(({ events }) => events.length === 0).length, 100);
    const late = connect();
    await late.send("GET");
    assert.equal(seen[0]?.protocol, "http");
  });
});

function make(limits: HandshakeLimits = {}): {
  connect: () => TestClient;
  seen: { protocol: string; handed: TestClient }[];
  lines: LogLine[];
  clock: ManualClock;
} {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  const seen: { protocol: string; handed: TestClient }[] = [];
  const serve = createMixedInbound(
    {
      socks5: (connection) =>
        void seen.push({ protocol: "socks5", handed: new TestClient(connection) }),
      socks4: (connection) =>
        void seen.push({ protocol: "socks4", handed: new TestClient(connection) }),
      http: (connection) =>
        void seen.push({ protocol: "http", handed: new TestClient(connection) }),
    },
    { name: "mixed test", runtime, logger, ...limits },
  );
  const connect = (): TestClient => {
    const [client, connection] = memoryClient(runtime);
    serve(connection);
    return client;
  };
  return { connect, seen, lines, clock: runtime.clock };
}
