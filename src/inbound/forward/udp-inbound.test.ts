import type { PacketRequest } from "../../tunnel/request.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type FakeSocket, FakeUdp } from "../../../test/support/fake-udp.ts";
import { PacketRecorder } from "../../../test/support/packet-recorder.ts";
import { manualRuntime, turns } from "../../../test/support/test-client.ts";
import type { ManualClock } from "../../clock/manual-clock.ts";
import { ConfigError, MisuseError, NetworkError } from "../../errors.ts";
import type { Listener } from "../../tunnel/connection.ts";
import { silentLogger } from "../../tunnel/logger.ts";
import { listenUdpForward, type UdpForwardOptions } from "./udp-inbound.ts";

const CLIENT = ["192.0.2.1", 5_000] as const;

describe("udp forward", () => {
  test("takes each client's datagrams to the target, and the answers back", async () => {
    const { socket, requests, listener } = await listen();
    assert.equal(listener.address, "127.0.0.1:5300");
    socket.receive("ping", ...CLIENT);
    socket.receive("more", ...CLIENT);
    socket.receive("other", "192.0.2.1", 5_001);
    assert.equal(requests.length, 2, "one association for each client");
    const [first, second] = requests;
    assert.deepEqual(first?.metadata, {
      inbound: "forward test",
      source: "192.0.2.1:5000",
      via: "office",
    });
    const packets = accept(first);
    const other = accept(second);
    socket.receive("late", ...CLIENT);
    assert.deepEqual(
      packets.events,
      ["ping", "more", "late"].map((text) => `${text} < 198.51.100.1:53`),
    );
    assert.deepEqual(other.events, ["other < 198.51.100.1:53"]);
    packets.send("pong", "198.51.100.1", 53);
    other.send("pang", "198.51.100.1", 53);
    assert.deepEqual(socket.sent, ["pong -> 192.0.2.1 5000", "pang -> 192.0.2.1 5001"]);
    assert.deepEqual(packets.channel.info, {
      transport: "udp",
      local: "127.0.0.1:5300",
      peer: "192.0.2.1:5000",
    });
  });

  test("passes back what the target says, and nobody else", async () => {
    for (const [host, right, wrong] of [
      ["198.51.100.1", ["198.51.100.1", "::ffff:198.51.100.1"], ["198.51.100.2", "name.example"]],
      ["2001:DB8::1", ["2001:db8::1", "2001:db8:0:0::1"], ["2001:db8::2", "198.51.100.1"]],
      ["name.example", ["198.51.100.1", "2001:db8::1", "name.example"], []],
    ] as const) {
      const { socket, requests } = await listen({ target: { network: "udp", host, port: 53 } });
      socket.receive("x", ...CLIENT);
      const packets = accept(requests[0]);
      for (const from of [...right, ...wrong]) packets.send("y", from, 53);
      for (const from of right) packets.send("z", from, 54);
      assert.equal(socket.sent.length, right.length, host);
    }
  });

  test("keeps a bounded number of datagrams for an association that opens", async () => {
    const { socket, requests } = await listen();
    for (let count = 0; count < 1_000; count++) socket.receive("", ...CLIENT);
    assert.equal(requests.length, 1);
    assert.equal(accept(requests[0]).events.length, 256);
  });

  test("does not ask again with every datagram of a refused client", async () => {
    const { socket, requests, clock } = await listen();
    socket.receive("a", ...CLIENT);
    requests[0]?.reject(new NetworkError("ERR_TUNNEL_DOWN", "down"));
    for (let count = 0; count < 100; count++) socket.receive("b", ...CLIENT);
    assert.equal(requests.length, 1);
    clock.advance(1_000);
    socket.receive("c", ...CLIENT);
    assert.equal(requests.length, 2);
    assert.deepEqual(accept(requests[1]).events, ["c < 198.51.100.1:53"]);
  });

  test("forgets a client after a silent minute, and knows it anew afterwards", async () => {
    const { socket, requests, clock } = await listen();
    socket.receive("a", ...CLIENT);
    const packets = accept(requests[0]);
    clock.advance(59_999);
    socket.receive("b", ...CLIENT);
    clock.advance(59_999);
    packets.send("c", "198.51.100.1", 53);
    clock.advance(59_999);
    assert.equal(packets.events.includes("close"), false);
    clock.advance(1);
    assert.equal(packets.events.at(-1), "close");
    packets.send("late", "198.51.100.1", 53);
    assert.equal(socket.sent.length, 1);
    assert.equal(clock.pending, 0);
    socket.receive("d", ...CLIENT);
    assert.equal(requests.length, 2);
  });

  test("makes room for a new client by forgetting the longest silent one", async () => {
    const { socket, requests } = await listen({ maxUdpClients: 2 });
    socket.receive("a", "192.0.2.1", 1);
    socket.receive("b", "192.0.2.1", 2);
    const [one, two] = requests.map(accept);
    socket.receive("again", "192.0.2.1", 1);
    socket.receive("c", "192.0.2.1", 3);
    assert.equal(requests.length, 3);
    assert.equal(one?.events.at(-1), "again < 198.51.100.1:53");
    assert.equal(two?.events.at(-1), "close ERR_LIMIT");
  });

  test("aborts the request of a client it forgets", async () => {
    const { socket, requests } = await listen({ maxUdpClients: 1 });
    socket.receive("a", "192.0.2.1", 1);
    socket.receive("b", "192.0.2.1", 2);
    assert.ok(requests[0]?.signal.aborted);
    requests[0].reject(new NetworkError("ERR_ABORTED", "gone"));
    const late = accept(requests[0]);
    await turns(1);
    assert.deepEqual(late.events, ["close ERR_LIMIT"]);
  });

  test("is answered once", async () => {
    const { socket, requests } = await listen();
    socket.receive("a", ...CLIENT);
    const request = requests[0] ?? assert.fail();
    accept(request);
    assert.throws(() => request.accept(), MisuseError);
    assert.throws(() => request.reject(new NetworkError("ERR_DNS", "x")), MisuseError);
  });

  test("starts anew when the association ended at the other end", async () => {
    const { socket, requests } = await listen();
    socket.receive("a", ...CLIENT);
    accept(requests[0]).channel.close(new NetworkError("ERR_TUNNEL_LOST", "lost"));
    socket.receive("b", ...CLIENT);
    assert.equal(requests.length, 2);
  });

  test("closes: takes no new client, and frees the port when the last one has gone", async () => {
    const { socket, requests, listener } = await listen();
    socket.receive("a", ...CLIENT);
    const packets = accept(requests[0]);
    await listener.close();
    socket.receive("new", "192.0.2.1", 9);
    assert.equal(requests.length, 1);
    packets.send("still", "198.51.100.1", 53);
    assert.equal(socket.sent.length, 1);
    assert.equal(socket.isClosed, false);
    packets.channel.close();
    assert.ok(socket.isClosed);
    await listener.close();
  });

  test("closes at once without clients, and says when it cannot bind", async () => {
    const { socket, listener } = await listen();
    await listener.close();
    assert.ok(socket.isClosed);
    const failure = new ConfigError("cannot bind", { code: "ERR_LISTEN" });
    await assert.rejects(listen({}, failure), failure);
  });
});

interface Listening {
  readonly listener: Listener;
  readonly socket: FakeSocket;
  readonly requests: PacketRequest[];
  readonly clock: ManualClock;
}

async function listen(
  options: Partial<UdpForwardOptions> = {},
  failure?: Error,
): Promise<Listening> {
  const runtime = manualRuntime();
  const udp = new FakeUdp();
  udp.failure = failure;
  const requests: PacketRequest[] = [];
  const listener = await listenUdpForward({
    name: "forward test",
    at: { host: "127.0.0.1", port: 5_300 },
    target: { network: "udp", host: "198.51.100.1", port: 53 },
    via: "office",
    bindUdp: udp.bindUdp,
    onPacketRequest: (request) => void requests.push(request),
    runtime,
    logger: silentLogger,
    ...options,
  });
  return { listener, socket: udp.socket, requests, clock: runtime.clock };
}

function accept(request: PacketRequest | undefined): PacketRecorder {
  return new PacketRecorder((request ?? assert.fail("nothing was asked")).accept());
}
