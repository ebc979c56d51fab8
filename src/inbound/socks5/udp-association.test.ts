import type { PacketRequest } from "../../tunnel/request.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeUdp, type FakeSocket } from "../../../test/support/fake-udp.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { PacketRecorder } from "../../../test/support/packet-recorder.ts";
import {
  type LogLine,
  manualRuntime,
  memoryClient,
  recordingLogger,
  type TestClient,
  turns,
} from "../../../test/support/test-client.ts";
import type { ManualClock } from "../../clock/manual-clock.ts";
import { ConfigError, NetworkError, PolicyError, TunnelError } from "../../errors.ts";
import { createSocks5Inbound } from "./inbound.ts";

const ASSOCIATE = hex("05 03 00 01 00000000 0000");
/** 127.0.0.1:40001, where the fake binds first. */
const SUCCESS = hex("05 00 00 01 7f000001 9c41");
const CLIENT = "192.0.2.1";
/** To 198.51.100.7:53. */
const PING = hex("0000 00 01 c6336407 0035 70696e67");

describe("socks5 udp associate", () => {
  test("answers with the relay port and carries datagrams both ways, with many targets", async () => {
    const { client, socket, packets } = await open();
    assertBytes(client.bytes, [hex("05 00"), SUCCESS]);
    socket.receive(PING, CLIENT, 5_353);
    socket.receive(hex("0000 00 03 01 61 0050 78"), CLIENT, 5_353);
    assert.deepEqual(packets.events, ["ping < 198.51.100.7:53", "x < a:80"]);
    packets.send("pong", "198.51.100.7", 53);
    packets.send("six", "2001:db8::1", 53);
    assertBytes(socket.datagrams[0] ?? new Uint8Array(), hex("0000 00 01 c6336407 0035 706f6e67"));
    assert.match(socket.sent[1] ?? "", /six -> 192\.0\.2\.1 5353$/);
  });

  test("binds where the control connection arrived, and says who asks", async () => {
    const { socket, request, packets } = await open();
    assert.deepEqual(socket.local, { host: "127.0.0.1", port: 40_001 });
    assert.deepEqual(request.metadata, {
      inbound: "socks test",
      source: "192.0.2.1:5000",
      user: undefined,
    });
    assert.deepEqual(packets.channel.info, {
      transport: "socks5",
      local: "127.0.0.1:40001",
      peer: "192.0.2.1:5000",
    });
  });

  test("survives every bad datagram, and the next good one passes", async () => {
    const { socket, packets, client, lines } = await open();
    const bad = [
      "",
      "00",
      "0000",
      "0000 00",
      "0000 00 01",
      "0000 00 01 7f",
      "0000 00 01 7f0000",
      "0000 00 03",
      "0000 00 03 ff",
      "0000 00 03 00 0035",
      "0000 00 04 00",
      "0000 00 09 7f000001 0035",
      "0000 00 01 7f000001 0000",
      "0000 01 01 7f000001 0035 70",
      "ffff ff ff ffffffffffffffff",
    ];
    for (const wire of bad) socket.receive(hex(wire), CLIENT, 5_353);
    packets.send("nowhere", "198.51.100.7", 53); // no valid datagram yet: nobody knows the client
    assert.deepEqual(packets.events, []);
    assert.deepEqual(socket.sent, []);
    socket.receive(PING, CLIENT, 6_464);
    assert.deepEqual(packets.events, ["ping < 198.51.100.7:53"]);
    client.connection.finish();
    await turns();
    assert.deepEqual(lines, [
      {
        level: "debug",
        message: "socks5 datagrams dropped",
        fields: {
          inbound: "socks test",
          peer: "192.0.2.1:5000",
          malformed: 14,
          fragment: 1,
          foreign: 0,
          undeliverable: 1,
          unsent: 0,
        },
      },
    ]);
  });

  test("listens to the control connection's peer alone, and to its first port", async () => {
    const { socket, packets } = await open();
    socket.receive(PING, "192.0.2.2", 5_353);
    socket.receive(PING, CLIENT, 5_353);
    socket.receive(PING, CLIENT, 5_354);
    socket.receive(PING, "192.0.2.2", 5_353);
    assert.equal(packets.events.length, 1);
    packets.send("pong", "198.51.100.7", 53);
    assert.match(socket.sent[0] ?? "", /pong -> 192\.0\.2\.1 5353$/);
  });

  test("holds the client to the port it announced", async () => {
    const { socket, packets } = await open({ command: "05 03 00 01 00000000 14e9" });
    socket.receive(PING, CLIENT, 5_354);
    assert.deepEqual(packets.events, []);
    socket.receive(PING, CLIENT, 5_353);
    assert.equal(packets.events.length, 1);
  });

  test("knows a peer by IPv4 whose control connection spells it as IPv6", async () => {
    const { socket, packets } = await open({ peer: `[::ffff:${CLIENT}]:5000` });
    socket.receive(PING, CLIENT, 5_353);
    assert.equal(packets.events.length, 1);
  });

  for (const [how, end] of [
    ["half-closes", (client: TestClient) => client.connection.finish()],
    [
      "resets",
      (client: TestClient) =>
        client.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "x")),
    ],
  ] as const) {
    test(`ends when the client ${how} its control connection`, async () => {
      const { client, socket, packets, clock } = await open();
      end(client);
      await turns();
      assert.match(packets.events.join(), /^close(?: ERR_CONNECTION_RESET)?$/);
      assert.ok(socket.isClosed);
      packets.send("late", "198.51.100.7", 53);
      packets.channel.close();
      assert.equal(clock.pending, 0);
    });
  }

  test("takes no notice of bytes on the control connection", async () => {
    const { client, socket, packets } = await open();
    await client.send("what is this", ASSOCIATE);
    socket.receive(PING, CLIENT, 5_353);
    assert.equal(packets.events.length, 1);
    assert.deepEqual(client.events, []);
  });

  test("ends its control connection when it is closed", async () => {
    const { client, socket, packets } = await open();
    packets.channel.close();
    await turns();
    assert.deepEqual(client.events, ["end"]);
    assert.deepEqual(packets.events, ["close"]);
    assert.ok(socket.isClosed);
  });

  test("ends after five minutes without a datagram in either direction", async () => {
    const { client, socket, packets, clock } = await open();
    clock.advance(299_999);
    socket.receive(PING, CLIENT, 5_353);
    clock.advance(299_999);
    packets.send("pong", "198.51.100.7", 53);
    clock.advance(299_999);
    assert.equal(socket.isClosed, false);
    clock.advance(1);
    await turns();
    assert.deepEqual(packets.events.at(-1), "close ERR_IDLE_TIMEOUT");
    assert.match(packets.error?.message ?? "", /no datagram came or went for 300000 ms/);
    assert.deepEqual(client.events, ["end"]);
    assert.equal(clock.pending, 0);
  });

  test("tells each refusal by the SOCKS reply that fits, and frees its port", async () => {
    for (const [error, reply] of [
      [new TunnelError("ERR_COMMAND_UNSUPPORTED", "no datagrams"), 7],
      [new NetworkError("ERR_TUNNEL_DOWN", "down"), 3],
      [new PolicyError("ERR_LIMIT", "full"), 1],
    ] as const) {
      const { client, udp, requests } = await ask();
      (requests[0] ?? assert.fail()).reject(error);
      await turns();
      assertBytes(client.bytes, [hex("05 00"), Uint8Array.of(5, reply, 0, 1, 0, 0, 0, 0, 0, 0)]);
      assert.deepEqual(client.events, ["end"]);
      assert.ok(udp.socket.isClosed);
    }
  });

  test("aborts the request of a client that goes away before the answer", async () => {
    for (const answer of ["accept", "reject"] as const) {
      const { client, udp, requests } = await ask();
      const request = requests[0] ?? assert.fail();
      client.connection.finish();
      await turns();
      assert.ok(request.signal.aborted);
      assert.ok(udp.socket.isClosed);
      if (answer === "accept") {
        const packets = new PacketRecorder(request.accept());
        await turns();
        assert.deepEqual(packets.events, ["close"]);
      } else request.reject(new TunnelError("ERR_ABORTED", "gone"));
      assertBytes(client.bytes, hex("05 00"));
    }
  });

  test("says that it has no port, or no IP address to have one on", async () => {
    const failure = new ConfigError("cannot bind", { code: "ERR_LISTEN" });
    const taken = await ask({ failure });
    assertBytes(taken.client.bytes.subarray(2, 4), hex("05 01"));
    assert.deepEqual(taken.client.events, ["end"]);
    assert.equal(taken.lines[0]?.fields["code"], "ERR_LISTEN");
    const unix = await ask({ peer: "unix" });
    assertBytes(unix.client.bytes.subarray(2, 4), hex("05 07"));
    assert.equal(unix.requests.length, 0);
  });
});

interface Asked {
  readonly client: TestClient;
  readonly udp: FakeUdp;
  readonly requests: PacketRequest[];
  readonly lines: LogLine[];
  readonly clock: ManualClock;
}

interface AskOptions {
  readonly command?: string;
  readonly peer?: string;
  readonly failure?: Error;
}

async function ask({ command, peer, failure }: AskOptions = {}): Promise<Asked> {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  const udp = new FakeUdp();
  udp.failure = failure;
  const requests: PacketRequest[] = [];
  const serve = createSocks5Inbound({
    name: "socks test",
    onRequest: () => assert.fail("no stream was asked for"),
    onPacketRequest: (request) => void requests.push(request),
    bindUdp: udp.bindUdp,
    runtime,
    logger,
  });
  const [client, connection] = memoryClient(runtime, peer);
  serve(connection);
  await client.send(hex("05 01 00"), command === undefined ? ASSOCIATE : hex(command));
  return { client, udp, requests, lines, clock: runtime.clock };
}

async function open(options: AskOptions = {}): Promise<
  Asked & {
    readonly socket: FakeSocket;
    readonly request: PacketRequest;
    readonly packets: PacketRecorder;
  }
> {
  const asked = await ask(options);
  const request = asked.requests[0] ?? assert.fail("nothing was asked");
  const packets = new PacketRecorder(request.accept());
  await turns();
  return { ...asked, socket: asked.udp.socket, request, packets };
}
