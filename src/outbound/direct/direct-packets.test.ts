import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { describe, test } from "node:test";
import { FakeUdp, type FakeSocket } from "../../../test/support/fake-udp.ts";
import { PacketRecorder } from "../../../test/support/packet-recorder.ts";
import {
  type LogLine,
  manualRuntime,
  recordingLogger,
  turns,
  until,
} from "../../../test/support/test-client.ts";
import { parseHostPattern } from "../../address/host-pattern.ts";
import type { ManualClock } from "../../clock/manual-clock.ts";
import { ConfigError } from "../../errors.ts";
import { ExitPolicy } from "../../relay/exit-policy.ts";
import { bindUdp } from "../../transports/udp/bind.ts";
import type { Metadata } from "../../tunnel/request.ts";
import { createDirectOutbound, type DirectOutboundOptions } from "./direct-outbound.ts";
import type { Lookup } from "./resolver.ts";

const metadata: Metadata = { inbound: "test", source: "192.0.2.9:1", user: "alice" };

describe("direct outbound, datagrams", () => {
  test("sends to many targets from one socket and hears everybody", async () => {
    const { packets, udp, socket } = await open();
    packets.send("one", "198.51.100.1", 53);
    packets.send("two", "2001:db8::2", 443);
    assert.deepEqual(socket.sent, ["one -> 198.51.100.1 53", "two -> 2001:db8::2 443"]);
    socket.receive("answer", "198.51.100.1", 53);
    socket.receive("stranger", "203.0.113.5", 9);
    socket.receive("neighbour", "fe80::1%eth0", 9);
    assert.deepEqual(packets.events, [
      "answer < 198.51.100.1:53",
      "stranger < 203.0.113.5:9",
      "neighbour < [fe80::1]:9",
    ]);
    assert.equal(udp.sockets.length, 1);
    assert.deepEqual(packets.channel.info, {
      transport: "udp",
      local: "[::]:40001",
      peer: "datagrams",
    });
  });

  test("resolves a name once for a while, and takes IPv4 first", async () => {
    const asked: string[] = [];
    const lookup: Lookup = async (host) => {
      asked.push(host);
      return await Promise.resolve(["2001:db8::1", "198.51.100.1", "198.51.100.2"]);
    };
    const { packets, socket, clock } = await open({ lookup });
    packets.send("a", "name.example", 53);
    packets.send("b", "name.example", 53);
    await turns();
    packets.send("c", "name.example", 53);
    assert.deepEqual(
      socket.sent,
      ["a", "b", "c"].map((text) => `${text} -> 198.51.100.1 53`),
    );
    assert.deepEqual(asked, ["name.example"]);
    clock.advance(30_000);
    packets.send("d", "name.example", 53);
    await turns();
    assert.equal(asked.length, 2);
  });

  test("keeps to one IP version when told to", async () => {
    const lookup: Lookup = async () => await Promise.resolve(["198.51.100.1", "2001:db8::1"]);
    const { packets, socket, lines } = await open({ lookup, ipVersion: 6 });
    packets.send("a", "name.example", 53);
    packets.send("b", "198.51.100.9", 53);
    await turns();
    assert.deepEqual(socket.sent, ["a -> 2001:db8::1 53"]);
    assert.match(String(lines[0]?.fields["reason"]), /198\.51\.100\.9:53\/udp has no IPv6 address/);
  });

  test("does not wait for one name with what goes elsewhere", async () => {
    const slow = Promise.withResolvers<readonly string[]>();
    const lookup: Lookup = (host) =>
      host === "slow.example" ? slow.promise : Promise.resolve(["198.51.100.1"]);
    const { packets, socket } = await open({ lookup });
    packets.send("slow", "slow.example", 53);
    packets.send("fast", "fast.example", 53);
    packets.send("ip", "198.51.100.3", 53);
    await turns();
    assert.deepEqual(socket.sent, ["ip -> 198.51.100.3 53", "fast -> 198.51.100.1 53"]);
    for (let count = 0; count < 100; count++) packets.send("more", "slow.example", 53);
    slow.resolve(["198.51.100.7"]);
    await turns();
    assert.equal(socket.sent.length, 2 + 64, "what waits for a name is bounded");
    assert.equal(socket.sent[2], "slow -> 198.51.100.7 53");
  });

  test("loses only the datagrams of a name that does not resolve, and asks again", async () => {
    let isThere = false;
    const lookup: Lookup = (host) =>
      isThere
        ? Promise.resolve(["198.51.100.1"])
        : Promise.reject(Object.assign(new Error(host), { code: "ENOTFOUND" }));
    const { packets, socket, lines } = await open({ lookup });
    for (const text of ["a", "b"]) {
      packets.send(text, "name.example", 53);
      await turns();
    }
    isThere = true;
    packets.send("c", "name.example", 53);
    await turns();
    assert.deepEqual(socket.sent, ["c -> 198.51.100.1 53"]);
    assert.deepEqual(packets.events, []);
    assert.equal(lines.length, 1, "one line for a target");
    assert.equal(lines[0]?.message, "datagrams dropped");
    assert.equal(lines[0]?.fields["code"], "ERR_DNS");
  });

  test("judges every target, by name and by address, and says so once for each", async () => {
    const lookup: Lookup = async (host) =>
      await Promise.resolve([host === "rebound.example" ? "127.0.0.1" : "198.51.100.1"]);
    const policy = new ExitPolicy({
      deny: [parseHostPattern("evil.example")],
      allow: [parseHostPattern("127.0.0.2:53")],
    });
    const { packets, socket, lines } = await open({ lookup, policy });
    for (let round = 0; round < 3; round++) {
      packets.send("x", "127.0.0.1", 53);
      packets.send("x", "::ffff:127.0.0.1", 53);
      packets.send("x", "rebound.example", 53);
      packets.send("x", "evil.example", 53);
      packets.send("x", "a b", 53);
      packets.send("fine", "127.0.0.2", 53);
      packets.send("fine", "good.example", 53);
      await turns();
    }
    assert.equal(socket.sent.filter((sent) => sent.startsWith("x")).length, 0);
    assert.equal(socket.sent.length, 6);
    assert.deepEqual(
      lines.map(({ fields }) => `${String(fields["to"])} ${String(fields["code"])}`).toSorted(),
      [
        "127.0.0.1:53/udp ERR_POLICY_DENIED",
        "[::ffff:127.0.0.1]:53/udp ERR_POLICY_DENIED",
        "a b:53/udp ERR_ADDRESS_UNSUPPORTED",
        "evil.example:53/udp ERR_POLICY_DENIED",
        "rebound.example:53/udp ERR_POLICY_DENIED",
      ],
    );
    const { fields } = lines[0] ?? assert.fail();
    assert.match(String(fields["reason"]), /--allow 127\.0\.0\.1:53 would permit it/);
    assert.equal(fields["user"], "alice");
    assert.equal(fields["via"], "direct");
  });

  test("passes over a denied address to one that is not", async () => {
    const lookup: Lookup = async () => await Promise.resolve(["127.0.0.1", "198.51.100.1"]);
    const { packets, socket } = await open({ lookup });
    packets.send("x", "name.example", 53);
    await turns();
    assert.deepEqual(socket.sent, ["x -> 198.51.100.1 53"]);
  });

  test("bounds the lines of one association", async () => {
    const { packets, lines } = await open();
    for (let port = 1; port <= 100; port++) packets.send("x", "127.0.0.1", port);
    assert.equal(lines.length, 32);
  });

  test("forgets the oldest of very many targets, and goes on", async () => {
    const { packets, socket } = await open();
    for (let port = 1; port <= 3_000; port++) packets.send("x", "198.51.100.1", port);
    packets.send("x", "198.51.100.1", 1);
    assert.equal(socket.sent.length, 3_001);
  });

  test("ends after five minutes without a datagram in either direction", async () => {
    const { packets, socket, clock } = await open();
    clock.advance(299_999);
    packets.send("x", "198.51.100.1", 53);
    clock.advance(299_999);
    socket.receive("y", "198.51.100.1", 53);
    clock.advance(300_000);
    assert.equal(packets.events.at(-1), "close ERR_IDLE_TIMEOUT");
    assert.ok(socket.isClosed);
    assert.equal(clock.pending, 0);
  });

  test("sends nothing after it was closed, not even what waited for a name", async () => {
    const slow = Promise.withResolvers<readonly string[]>();
    const { packets, socket, clock, lines } = await open({ lookup: () => slow.promise });
    packets.send("x", "name.example", 53);
    packets.channel.close();
    packets.channel.close();
    packets.send("y", "198.51.100.1", 53);
    slow.resolve(["198.51.100.1"]);
    await turns();
    assert.deepEqual([socket.sent, packets.events, lines], [[], ["close"], []]);
    assert.equal(clock.pending, 0);
  });

  test("frees the socket of whoever gave up meanwhile, and reports that there is none", async () => {
    const { outbound, udp, clock } = make();
    const reason = new Error("enough");
    await assert.rejects(
      async () => await outbound.associate?.({ signal: AbortSignal.abort(reason), metadata }),
      reason,
    );
    assert.ok(udp.socket.isClosed);
    udp.failure = new ConfigError("no socket", { code: "ERR_LISTEN" });
    const { signal } = new AbortController();
    await assert.rejects(async () => await outbound.associate?.({ signal, metadata }), /no socket/);
    assert.equal(clock.pending, 0);
  });

  test("carries no datagrams without a way to bind", () => {
    const { outbound } = make({ bindUdp: undefined });
    assert.equal(outbound.associate, undefined);
  });

  test("reaches a real echo over both families, and survives what cannot be sent", async () => {
    const { outbound } = make({ bindUdp, policy: undefined });
    const { signal } = new AbortController();
    const channel = (await outbound.associate?.({ signal, metadata })) ?? assert.fail();
    const packets = new PacketRecorder(channel);
    for (const host of ["127.0.0.1", "::1"]) {
      const echo = createSocket(host === "::1" ? "udp6" : "udp4");
      echo.on("message", (data, from) => echo.send(data, from.port, from.address));
      echo.bind(0, host);
      await once(echo, "listening");
      const { port } = echo.address();
      packets.send("", host, 0);
      packets.send("long".repeat(20_000), host, port);
      packets.send("hello", host, port);
      await until(() => packets.events.length > 0, `echo of ${host}`);
      const shown = host === "::1" ? "[::1]" : host;
      assert.deepEqual(packets.events.splice(0), [`hello < ${shown}:${port}`]);
      echo.close();
    }
    channel.close();
  });
});

interface Made {
  readonly outbound: ReturnType<typeof createDirectOutbound>;
  readonly udp: FakeUdp;
  readonly clock: ManualClock;
  readonly lines: LogLine[];
}

function make(options: Partial<DirectOutboundOptions> = {}): Made {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  const udp = new FakeUdp();
  const outbound = createDirectOutbound({
    runtime,
    logger,
    dialTcp: () => assert.fail("nothing is dialled"),
    bindUdp: udp.bindUdp,
    policy: new ExitPolicy(),
    ...options,
  });
  return { outbound, udp, lines, clock: runtime.clock };
}

async function open(
  options: Partial<DirectOutboundOptions> = {},
): Promise<Made & { readonly packets: PacketRecorder; readonly socket: FakeSocket }> {
  const made = make(options);
  const { signal } = new AbortController();
  const channel = await made.outbound.associate?.({ signal, metadata });
  const packets = new PacketRecorder(channel ?? assert.fail("no associate"));
  return { ...made, packets, socket: made.udp.socket };
}
