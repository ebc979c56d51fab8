import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks, singleBytes } from "../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import {
  type LogLine,
  manualRuntime,
  memoryClient,
  TestClient,
  recordingLogger,
  turns,
} from "../../../test/support/test-client.ts";
import type { ManualClock } from "../../clock/manual-clock.ts";
import { type ErrorCode, NetworkError, TunnelError } from "../../errors.ts";
import { Logins } from "../../tunnel/logins.ts";
import type { Request } from "../../tunnel/request.ts";
import { createSocks5Inbound, type Socks5InboundOptions } from "./inbound.ts";
import { REPLY_OF } from "./reply-of.ts";

const CONNECT = hex("05 01 00 03 06 6f726967696e 0050");
const SUCCESS = hex("05 00 00 01 00000000 0000");

describe("socks5 inbound", () => {
  test("turns a CONNECT into a request and answers when it is accepted", async () => {
    const { connect, requests, lines } = make();
    const client = connect();
    await client.send(hex("05 01 00"));
    assertBytes(client.bytes, hex("05 00"));
    await client.send(CONNECT);
    assertBytes(client.bytes, hex("05 00"), "nothing more before the answer");
    const request = requests[0] ?? assert.fail();
    assert.deepEqual(request.target, { network: "tcp", host: "origin", port: 80 });
    const metadata = { inbound: "socks test", source: "192.0.2.1:5000", user: undefined };
    assert.deepEqual(request.metadata, metadata);
    const target = new TestClient(request.accept());
    await client.send("to the target");
    assert.equal(target.text, "to the target");
    await target.send("to the client");
    assertBytes(client.bytes, [hex("05 00"), SUCCESS, Buffer.from("to the client")]);
    assert.deepEqual(lines, []);
  });

  test("understands the whole dialogue in any chunking, with data behind it", async () => {
    const wire = Buffer.concat([hex("05 02 00 02"), CONNECT, Buffer.from("GET /")]);
    const chunkings = fc.sample(fc.infiniteStream(fc.nat(7)), 20);
    for (const chunks of [singleBytes(wire), ...chunkings.map((s) => randomChunks(wire, s))]) {
      const { connect, requests } = make();
      const client = connect();
      for (const chunk of chunks) {
        client.connection.write([chunk]);
        await turns(1);
      }
      await turns();
      const accepted = new TestClient((requests[0] ?? assert.fail()).accept());
      await turns();
      assert.equal(accepted.text, "GET /");
      assertBytes(client.bytes, [hex("05 00"), SUCCESS]);
    }
  });

  test("answers every failure with the code of the table", async () => {
    const expected: Readonly<Record<ErrorCode, number>> = {
      ERR_CONFIG: 1,
      ERR_LISTEN: 1,
      ERR_CREDENTIAL: 1,
      ERR_MISUSE: 1,
      ERR_ABORTED: 1,
      ERR_CLOSED: 1,
      ERR_POLICY_DENIED: 2,
      ERR_ROUTE_BLOCKED: 2,
      ERR_LIMIT: 1,
      ERR_SLOW_READER: 1,
      ERR_IDLE_TIMEOUT: 6,
      ERR_SHUTDOWN: 1,
      ERR_TUNNEL_DOWN: 3,
      ERR_TUNNEL_LOST: 3,
      ERR_PEER_SILENT: 3,
      ERR_HANDSHAKE_TIMEOUT: 6,
      ERR_TLS: 1,
      ERR_AUTH: 1,
      ERR_REFUSED_FOR_GOOD: 1,
      ERR_PROTOCOL: 1,
      ERR_STREAM_RESET: 1,
      ERR_COMMAND_UNSUPPORTED: 7,
      ERR_ADDRESS_UNSUPPORTED: 8,
      ERR_DNS: 4,
      ERR_DIAL_REFUSED: 5,
      ERR_DIAL_TIMEOUT: 6,
      ERR_DIAL_HOST_UNREACHABLE: 4,
      ERR_DIAL_NETWORK_UNREACHABLE: 3,
      ERR_DIAL_FAILED: 1,
      ERR_CONNECTION_RESET: 5,
    };
    assert.deepEqual(REPLY_OF, expected);
    for (const error of Object.keys(expected).map((code) => new TunnelError(toCode(code), "x"))) {
      const { connect, requests } = make();
      const client = connect();
      await client.send(hex("05 01 00"), CONNECT);
      (requests[0] ?? assert.fail()).reject(error);
      await turns();
      const reply = Uint8Array.of(5, expected[error.code], 0, 1, 0, 0, 0, 0, 0, 0);
      assertBytes(client.bytes, [hex("05 00"), reply], error.code);
      assert.deepEqual(client.events, ["end"]);
    }
  });

  test("asks for user and password where there are logins", async () => {
    const { connect, requests } = make({ users: { alice: "secret" } });
    const client = connect();
    await client.send(hex("05 03 00 01 02"));
    assertBytes(client.bytes, hex("05 02"));
    await client.send(hex("01 05 616c696365 06 736563726574"), CONNECT);
    assertBytes(client.bytes, hex("05 02  01 00"));
    assert.equal(requests[0]?.metadata.user, "alice");
  });

  test("answers a wrong password with 01 01 and logs who tried", async () => {
    const { connect, requests, lines } = make({ users: { alice: "secret" } });
    const client = connect();
    await client.send(hex("05 01 02"), hex("01 05 616c696365 06 736563726575"), CONNECT);
    assertBytes(client.bytes, hex("05 02  01 01"));
    assert.deepEqual(client.events, ["end"]);
    assert.equal(requests.length, 0);
    assert.equal(lines[0]?.fields["phase"], "authentication");
    assert.equal(lines[0]?.fields["code"], "ERR_AUTH");
    assert.equal(JSON.stringify(lines).includes("secre"), false);
  });

  test("refuses an address that failed too often, even with the right password", async () => {
    const { connect, requests, lines } = make({ users: { alice: "secret" }, allowed: 2 });
    const right = [hex("05 01 02"), hex("01 05 616c696365 06 736563726574"), CONNECT];
    const wrong = [hex("05 01 02"), hex("01 01 61 01 61")];
    for (const dialogue of [right, wrong, wrong, right]) await connect().send(...dialogue);
    assert.equal(requests.length, 1);
    assert.deepEqual(
      lines.map(({ fields }) => fields["code"]),
      ["ERR_AUTH", "ERR_AUTH", "ERR_LIMIT"],
    );
  });

  test("answers 05 ff when no method fits", async () => {
    for (const [users, methods] of [
      [undefined, "05 01 02"],
      [{ alice: "x" }, "05 01 00"],
      [{ alice: "x" }, "05 01 01"],
    ] as const) {
      const { connect, lines } = make({ users });
      const client = connect();
      await client.send(hex(methods));
      assertBytes(client.bytes, hex("05 ff"));
      assert.deepEqual(client.events, ["end"]);
      assert.equal(lines[0]?.fields["phase"], "greeting");
    }
  });

  test("answers what it does not carry out", async () => {
    for (const [wire, reply] of [
      ["05 02 00 01 00000000 0000", 7],
      ["05 03 00 01 00000000 0000", 7],
      ["05 09 00 01 00000000 0000", 7],
      ["05 01 00 02 00000000 0000", 8],
      ["05 01 00 03 00 0000", 1],
      ["04 01 00 01 00000000 0000", 1],
    ] as const) {
      const { connect, lines, requests } = make();
      const client = connect();
      await client.send(hex("05 01 00"), hex(wire));
      assertBytes(client.bytes.subarray(2), Uint8Array.of(5, reply, 0, 1, 0, 0, 0, 0, 0, 0));
      assert.deepEqual(client.events, ["end"]);
      assert.equal(lines[0]?.fields["phase"], "request");
      assert.equal(requests.length, 0);
    }
  });

  test("closes on garbage and serves the next client", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 80 }), async (garbage) => {
        const { connect, clock, requests } = make();
        const client = connect();
        await client.send(garbage);
        client.connection.finish();
        await turns();
        clock.advance(10_000);
        await turns();
        if (requests.length === 0) assert.ok(client.events.includes("end"));
        assert.equal(clock.pending, 0);
        const next = connect();
        await next.send(hex("05 01 00"));
        assertBytes(next.bytes, hex("05 00"));
      }),
      { numRuns: 50 },
    );
  });

  test("aborts the request of a client that goes away", async () => {
    const { connect, requests } = make();
    const client = connect();
    await client.send(hex("05 01 00"), CONNECT);
    client.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "gone"));
    await turns();
    assert.ok(requests[0]?.signal.aborted);
  });
});

function make({
  users,
  allowed = 100,
  ...options
}: Partial<Socks5InboundOptions> & {
  users?: Readonly<Record<string, string>> | undefined;
  allowed?: number;
} = {}): {
  connect: () => TestClient;
  requests: Request[];
  lines: LogLine[];
  clock: ManualClock;
} {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  const requests: Request[] = [];
  let failures = 0;
  const guard = {
    blockedForMs: () => (failures >= allowed ? 1_000 : 0),
    recordFailure: () => void failures++,
  };
  const logins = users && new Logins({ users: new Map(Object.entries(users)), guard });
  const serve = createSocks5Inbound({
    name: "socks test",
    onRequest: (request) => void requests.push(request),
    runtime,
    logger,
    logins,
    ...options,
  });
  const connect = (): TestClient => {
    const [client, connection] = memoryClient(runtime);
    serve(connection);
    return client;
  };
  return { connect, requests, lines, clock: runtime.clock };
}

function toCode(text: string): ErrorCode {
  assert.ok(text in REPLY_OF);
  return text as ErrorCode;
}
