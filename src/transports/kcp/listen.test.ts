import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { Recorder } from "../../../test/support/recorder.ts";
import { manualRuntime } from "../../../test/support/test-client.ts";
import { turns } from "../../../test/support/turns.ts";
import { UdpNetwork } from "../../../test/support/udp-network.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { ConfigError, NetworkError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { systemRuntime } from "../../tunnel/runtime.ts";
import { bindUdp } from "../udp/bind.ts";
import { kcpDialer } from "./dial.ts";
import { KCP_PROFILES } from "./kcp-options.ts";
import { KcpSession } from "./kcp-session.ts";
import { type KcpListenLimits, listenKcp } from "./listen.ts";

const options = KCP_PROFILES.vproxy;
const HERE = { host: "192.0.2.9", port: 700 };

/** A listener on a network in memory that keeps what it accepts, or says `welcome`. */
async function house(limits: Partial<KcpListenLimits> = {}, welcome = "") {
  const runtime = manualRuntime();
  const network = new UdpNetwork(runtime.clock);
  const logger = new LogRecorder();
  const accepted: Recorder[] = [];
  const { bindUdp: bind } = network;
  const onConnection = (connection: Connection): void => {
    accepted.push(new Recorder(connection));
    connection.resume();
    if (welcome !== "") connection.write([Buffer.from(welcome)]);
  };
  const common = { ...HERE, runtime, options, bindUdp: bind, logger };
  const listener = await listenKcp({ ...common, limits, onConnection });
  const dial = async (): Promise<Recorder> => {
    const connection = await kcpDialer(common).dial({ signal: new AbortController().signal });
    const recorder = new Recorder(connection);
    connection.resume();
    return recorder;
  };
  return { runtime, network, logger, listener, accepted, dial };
}

/** The first datagram of a session. */
function opening(text = "hello"): Uint8Array {
  const [datagram] = new KcpSession(options, 0).write(Buffer.from(text), 0).datagrams;
  return datagram ?? assert.fail("nothing was sent");
}

function stranger(index: number): HostPort {
  const host = `198.51.${(index >>> 8) & 0xff}.${index & 0xff}`;
  return { host, port: 1_024 + (index >>> 16) };
}

describe("kcp listener", () => {
  test("gives each address and port a session of its own, from its first bytes on", async () => {
    const { network, accepted, dial } = await house();
    const [one, two] = [await dial(), await dial()];
    await network.pass(100);
    assert.equal(accepted.length, 0, "nothing was said yet");
    one.connection.write([Buffer.from("one")]);
    await network.pass(100);
    two.connection.write([Buffer.from("two")]);
    await network.pass(100);
    assert.deepEqual(
      accepted.map(({ text }) => text),
      ["one", "two"],
    );
    accepted[1]?.connection.write([Buffer.from("for two")]);
    await network.pass(100);
    assert.deepEqual([one.text, two.text], ["", "for two"]);
    assert.equal(accepted[0]?.connection.info.peer, one.connection.info.local);
  });

  test("accepts a session whose first datagram comes last", async () => {
    const { network, accepted } = await house();
    const session = new KcpSession(options, 0);
    const datagrams = ["one ", "two ", "three"].flatMap((text, at) => {
      return session.write(Buffer.from(text), at).datagrams;
    });
    for (const datagram of datagrams.toReversed()) {
      network.inject(datagram, stranger(1), HERE);
      await turns();
    }
    assert.deepEqual(
      accepted.map(({ text }) => text),
      ["one two three"],
    );
  });

  test("opens no session for what cannot be the beginning of one", async () => {
    const { network, accepted, logger } = await house();
    const middle = opening();
    middle[16] = 1; // it knows something we said
    const otherConversation = opening();
    otherConversation[0] = 1;
    const acknowledgement = opening();
    acknowledgement[4] = 82;
    const strangeLength = opening();
    strangeLength[20] = 200;
    const junk = [
      new Uint8Array(0),
      new Uint8Array(1),
      new Uint8Array(23),
      new Uint8Array(1_200),
      middle,
      otherConversation,
      acknowledgement,
      strangeLength,
    ];
    for (const [index, datagram] of junk.entries()) {
      network.inject(datagram, stranger(index), HERE);
    }
    await turns();
    assert.equal(accepted.length, 0);
    assert.equal(network.sent.length, 0);
    assert.deepEqual(logger.lines, [
      'warn datagrams of new addresses turned away {"notAnOpening":1}',
    ]);
  });

  test("keeps a session through junk, and through all that others send", async () => {
    const { network, accepted, dial } = await house();
    const near = await dial();
    near.connection.write([Buffer.from("before ")]);
    await network.pass(100);
    const { local } = near.connection.info;
    const peer = { host: "192.0.2.1", port: Number(local.split(":")[1]) };
    const huge = opening();
    huge.fill(0xff, 12, 20);
    const junk = [new Uint8Array(0), new Uint8Array(7), new Uint8Array(1_250).fill(0xff), huge];
    for (const datagram of junk) {
      network.inject(datagram, HERE, peer);
      network.inject(datagram, peer, HERE);
      network.inject(opening("overwritten?"), peer, HERE);
      network.inject(datagram, stranger(1), HERE);
      network.inject(datagram, stranger(1), peer);
    }
    await network.pass(100);
    near.connection.write([Buffer.from("after")]);
    accepted[0]?.connection.write([Buffer.from("answer")]);
    await network.pass(1_000);
    assert.equal(accepted[0]?.text, "before after");
    assert.equal(near.text, "answer");
    assert.deepEqual([...near.events, ...(accepted[0]?.events ?? [])], []);
  });

  test("ends what never acknowledges anything, and then what says nothing for long", async () => {
    const { network, accepted, dial } = await house({}, "welcome");
    network.inject(opening(), stranger(1), HERE);
    const near = await dial();
    near.connection.write([Buffer.from("hello")]);
    await network.pass(9_000);
    assert.deepEqual(
      accepted.map(({ events }) => events),
      [[], []],
    );
    await network.pass(3_000);
    assert.deepEqual(
      accepted.map(({ events }) => events),
      [["close ERR_PEER_SILENT"], []],
    );
    assert.match(accepted[0]?.closeError?.message ?? "", /^kcp 198\.51\.0\.1:1024: said nothing/);
    await network.pass(180_000);
    assert.deepEqual(accepted[1]?.events, ["close ERR_PEER_SILENT"]);
  });

  test("opens no second session for the stragglers of one that ended", async () => {
    const { network, accepted, runtime } = await house();
    network.inject(opening(), stranger(1), HERE);
    await turns();
    accepted[0]?.connection.reset(new NetworkError("ERR_AUTH", "unknown user"));
    network.inject(opening(), stranger(1), HERE);
    await network.pass(2_900);
    network.inject(opening(), stranger(1), HERE);
    await turns();
    assert.equal(accepted.length, 1);
    await network.pass(200);
    network.inject(opening(), stranger(1), HERE);
    await turns();
    assert.equal(accepted.length, 2);
    accepted[1]?.connection.reset(new NetworkError("ERR_AUTH", "unknown user"));
    await network.pass(10_000);
    assert.equal(runtime.clock.pending, 0, "nothing is left to look at");
  });

  test("bounds sessions in all, of one source, and unproven", async () => {
    const count = async (limits: Partial<KcpListenLimits>, from: (index: number) => HostPort) => {
      const { network, accepted, listener } = await house(limits);
      for (let index = 0; index < 40; index++) network.inject(opening(), from(index), HERE);
      await turns();
      await listener.close();
      return accepted.length;
    };
    assert.equal(await count({}, stranger), 40);
    assert.equal(await count({ maxSessions: 7 }, stranger), 7);
    assert.equal(await count({ maxUnproven: 8 }, stranger), 8);
    const onePort = (index: number): HostPort => ({ host: "203.0.113.5", port: 2_000 + index });
    assert.equal(await count({ maxSessionsPerSource: 9 }, onePort), 9);
    const oneNetwork = (index: number): HostPort => ({ host: `2001:db8::${index + 1}`, port: 9 });
    assert.equal(await count({ maxSessionsPerSource: 9 }, oneNetwork), 9);
    const networks = (index: number): HostPort => ({ host: `2001:db8:0:${index}::1`, port: 9 });
    assert.equal(await count({ maxSessionsPerSource: 9 }, networks), 40);
  });

  test("makes room again when sessions end", async () => {
    const { network, accepted } = await house({ maxSessionsPerSource: 1 });
    const from = (port: number): HostPort => ({ host: "203.0.113.5", port });
    network.inject(opening(), from(1), HERE);
    network.inject(opening(), from(2), HERE);
    await turns();
    accepted[0]?.connection.reset(new NetworkError("ERR_SHUTDOWN", "enough"));
    network.inject(opening(), from(3), HERE);
    await turns();
    assert.deepEqual(
      accepted.map(({ connection }) => connection.info.peer),
      ["203.0.113.5:1", "203.0.113.5:3"],
    );
  });

  test("stays small under 100,000 new addresses, and lets an honest client in", async () => {
    const { network, accepted, logger, dial, runtime } = await house({}, "welcome");
    const flood = async (from: number, count: number): Promise<void> => {
      for (let index = from; index < from + count; index++) {
        network.inject(opening(), stranger(index), HERE);
        if (index % 1_000 === 0) await turns(1);
      }
    };
    await flood(0, 20_000);
    const before = process.memoryUsage();
    const near = await dial();
    near.connection.write([Buffer.from("I am real")]);
    for (let round = 0; round < 40; round++) {
      await flood(20_000 + round * 2_000, 2_000);
      await network.pass(25);
    }
    await network.pass(2_000);
    const after = process.memoryUsage();
    const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
    assert.ok(accepted.length < 1_024, `${accepted.length} sessions`);
    assert.ok(grown < 64 * 1024 * 1024, `${grown} bytes more`);
    assert.equal(near.text, "welcome");
    assert.ok(logger.lines.length <= 2, logger.text);
    await network.pass(60_000);
    const alive = accepted.filter(({ events }) => events.length === 0);
    assert.equal(alive.length, 1);
    assert.ok(runtime.clock.pending <= 1);
  });

  test("lets accepted sessions live on after close, and frees the port behind the last", async () => {
    const { network, listener, accepted, dial } = await house();
    const near = await dial();
    near.connection.write([Buffer.from("one ")]);
    await network.pass(100);
    await listener.close();
    network.inject(opening(), stranger(1), HERE);
    near.connection.write([Buffer.from("two")]);
    await network.pass(100);
    assert.deepEqual(
      accepted.map(({ text }) => text),
      ["one two"],
    );
    near.connection.close();
    accepted[0]?.connection.close();
    await network.pass(100);
    assert.equal(network.bound, 0);
    const idle = await house();
    await idle.listener[Symbol.asyncDispose]();
    assert.equal(idle.network.bound, 0);
  });
});

describe("kcp on loopback", { timeout: 30_000 }, () => {
  test("carries megabytes both ways between real sockets", async () => {
    const runtime = systemRuntime();
    const logger = new LogRecorder();
    const common = { host: "127.0.0.1", runtime, options, bindUdp, logger };
    const accepted = Promise.withResolvers<Recorder>();
    await using listener = await listenKcp({
      ...common,
      port: 0,
      onConnection: (connection) => accepted.resolve(new Recorder(connection)),
    });
    const port = Number(listener.address.split(":")[1]);
    const { signal } = new AbortController();
    const near = new Recorder(await kcpDialer({ ...common, port }).dial({ signal }));
    near.connection.resume();
    const up = Buffer.alloc(8_000_000, "sluice up ");
    const down = Buffer.alloc(8_000_000, "sluice down ");
    near.connection.write([up]);
    const far = await accepted.promise;
    far.connection.resume();
    far.connection.write([down]);
    await Promise.all([far.received(up.byteLength), near.received(down.byteLength)]);
    assert.ok(up.equals(far.bytes), "what went up");
    assert.ok(down.equals(near.bytes), "what came down");
    near.connection.close();
    await near.closed();
    assert.deepEqual(near.events, ["drain", "close"]);
    far.connection.reset(new NetworkError("ERR_SHUTDOWN", "done"));
    await far.closed();
  });

  test("says which address is taken", async () => {
    const runtime = systemRuntime();
    const logger = new LogRecorder();
    const common = { host: "127.0.0.1", runtime, options, bindUdp, logger };
    const onConnection = (): void => {};
    await using listener = await listenKcp({ ...common, port: 0, onConnection });
    const port = Number(listener.address.split(":")[1]);
    await assert.rejects(listenKcp({ ...common, port, onConnection }), ConfigError);
  });
});
