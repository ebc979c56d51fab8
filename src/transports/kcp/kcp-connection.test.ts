import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Recorder } from "../../../test/support/recorder.ts";
import { manualRuntime } from "../../../test/support/test-client.ts";
import { turns } from "../../../test/support/turns.ts";
import { type UdpWeather, seededRandom, UdpNetwork } from "../../../test/support/udp-network.ts";
import { NetworkError } from "../../errors.ts";
import { silentLogger } from "../../tunnel/logger.ts";
import { kcpDialer } from "./dial.ts";
import { KcpConnection } from "./kcp-connection.ts";
import { KCP_PROFILES, type KcpOptions } from "./kcp-options.ts";
import { KcpSession } from "./kcp-session.ts";
import { listenKcp } from "./listen.ts";

/** A dialled connection and the accepted one, which appears with the first bytes. */
async function pair(weather: UdpWeather = {}, options: KcpOptions = KCP_PROFILES.vproxy) {
  const runtime = manualRuntime();
  const network = new UdpNetwork(runtime.clock);
  network.weather = weather;
  const { bindUdp } = network;
  const common = { host: "192.0.2.9", port: 700, runtime, options, bindUdp, logger: silentLogger };
  const accepted: Recorder[] = [];
  const onConnection = (connection: KcpConnection | Recorder["connection"]): void =>
    void accepted.push(new Recorder(connection));
  const listener = await listenKcp({ ...common, onConnection });
  const connection = await kcpDialer(common).dial({ signal: new AbortController().signal });
  const near = new Recorder(connection);
  connection.resume();
  /** Says hello, so that there is a far end; it stays paused. */
  const far = async (): Promise<Recorder> => {
    connection.write([Buffer.from("!")]);
    await network.pass(100);
    const [recorder] = accepted;
    assert.ok(recorder !== undefined, "nothing was accepted");
    return recorder;
  };
  return { runtime, network, listener, near, far, accepted };
}

/** Bytes that show when any of them is lost or moved. */
function noise(byteLength: number, seed = 7): Buffer {
  const random = seededRandom(seed);
  const bytes = Buffer.allocUnsafe(byteLength);
  for (let at = 0; at < byteLength; at++) bytes[at] = random() * 256;
  return bytes;
}

/** Says where large buffers differ, without printing them. */
function assertSame(got: Uint8Array, wanted: Uint8Array): void {
  assert.equal(got.byteLength, wanted.byteLength);
  assert.ok(Buffer.from(got).equals(wanted), "bytes differ");
}

describe("kcp connection", () => {
  test("carries bytes both ways through loss, duplicates and disorder", async () => {
    const weather = { loss: 0.15, duplicates: 0.05, delayMs: 20, jitterMs: 15 };
    const { network, near, far } = await pair(weather);
    const up = noise(300_000, 1);
    const down = noise(200_000, 2);
    const other = await far();
    other.connection.resume();
    near.connection.write([up.subarray(0, 5), up.subarray(5)]);
    other.connection.write([down]);
    await network.pass(20_000);
    assertSame(other.bytes.subarray(1), up);
    assertSame(near.bytes, down);
    assert.deepEqual([...near.events, ...other.events], []);
  });

  test("answers what came in one turn with one datagram, and hands it on in large pieces", async () => {
    const { network, near, far } = await pair(
      {},
      { ...KCP_PROFILES.vproxy, limitsToDelivery: false },
    );
    const other = await far();
    other.connection.resume();
    const before = network.sent.length;
    near.connection.write([new Uint8Array(24 * 1226)]);
    await network.pass(18);
    const from = network.sent.slice(before).map(({ from: { port } }) => port);
    assert.equal(from.filter((port) => port !== 700).length, 24);
    assert.equal(from.filter((port) => port === 700).length, 1);
    assert.deepEqual(
      other.chunks.map(({ byteLength }) => byteLength),
      [1, 24 * 1226],
    );
  });

  test("has no timer while nothing is on its way", async () => {
    const { runtime, network, near, far } = await pair();
    (await far()).connection.resume();
    near.connection.write([new Uint8Array(50_000)]);
    await network.pass(4_000);
    assert.equal(near.connection.pendingBytes, 0);
    assert.equal(runtime.clock.pending, 1, "only the listener looks at its sessions");
  });

  test("makes writers wait beyond the window, and calls them again", async () => {
    const { network, near, far } = await pair();
    (await far()).connection.resume();
    let written = 0;
    while (near.connection.write([new Uint8Array(64 * 1024)])) written += 64 * 1024;
    assert.ok(written > 1024 * 1226 && written < 2 * 1024 * 1024, String(written));
    assert.equal(near.connection.write([new Uint8Array(1)]), false);
    assert.deepEqual(near.events, []);
    await network.pass(2_000);
    assert.deepEqual(near.events, ["drain"]);
    assert.equal(near.connection.pendingBytes, 0);
  });

  test("lets a paused reader stop its peer", async () => {
    const { network, near, far } = await pair();
    const other = await far();
    const bytes = noise(3_000_000);
    near.connection.write([bytes]);
    await network.pass(5_000);
    assert.equal(other.byteLength, 0);
    assert.ok(near.connection.pendingBytes > 1_500_000, "more than a window arrived");
    const before = network.sent.length;
    await network.pass(5_000);
    assert.ok(network.sent.length - before < 10, "an idle pair has little to say");
    other.connection.resume();
    await network.pass(2_000);
    assertSame(other.bytes.subarray(1), bytes);
  });

  test("puts bytes back in front of what comes", async () => {
    const { network, near, far } = await pair();
    const other = await far();
    other.connection.resume();
    other.connection.detach();
    other.connection.unshift(Buffer.from("head "));
    near.connection.write([Buffer.from("tail")]);
    await network.pass(100);
    const next = new Recorder(other.connection);
    next.connection.resume();
    assert.equal(next.text, "head tail");
  });

  test("closes when all is acknowledged, and is silent then", async () => {
    const { runtime, network, listener, near, far } = await pair({ loss: 0.1 });
    const other = await far();
    other.connection.resume();
    const bytes = noise(100_000);
    near.connection.write([bytes]);
    near.connection.close();
    assert.equal(near.connection.write([Buffer.from("too late")]), true);
    await network.pass(3_000);
    assert.deepEqual(near.events, ["close"]);
    assertSame(other.bytes.subarray(1), bytes);
    assert.equal(network.bound, 1, "the dialled socket is free");
    await listener.close();
    other.connection.reset(new NetworkError("ERR_SHUTDOWN", "enough"));
    await turns();
    assert.equal(network.bound, 0);
    assert.equal(runtime.clock.pending, 0);
  });

  test("drops what arrives during a close, and keeps the window open for it", async () => {
    const { network, near, far } = await pair();
    const other = await far();
    other.connection.write([new Uint8Array(3_000_000)]);
    near.connection.pause();
    near.connection.write([new Uint8Array(100_000)]);
    near.connection.close();
    other.connection.resume();
    await network.pass(4_000);
    assert.deepEqual(near.events, ["close"]);
    assert.equal(near.byteLength, 0);
  });

  test("gives up a close whose peer acknowledges nothing", async () => {
    const { runtime, network, near, far } = await pair();
    await far();
    network.weather = { loss: 1 };
    near.connection.write([Buffer.from("anybody?")]);
    near.connection.close();
    await network.pass(4_900);
    assert.deepEqual(near.events, []);
    await network.pass(200);
    assert.deepEqual(near.events, ["close ERR_PEER_SILENT"]);
    assert.match(near.closeError?.message ?? "", /^kcp 192\.0\.2\.9:700: 8 bytes not acknowledged/);
    assert.equal(runtime.clock.pending, 1);
  });

  test("gives up a close that makes progress for too long", async () => {
    const { network, near, far } = await pair({}, { ...KCP_PROFILES.vproxy, sendWindow: 1 });
    const other = await far();
    other.connection.resume();
    network.weather = { delayMs: 1_000 };
    near.connection.write([new Uint8Array(100 * 1226)]);
    near.connection.close();
    await network.pass(59_000);
    assert.deepEqual(near.events, [], near.closeError?.message);
    await network.pass(3_000);
    assert.deepEqual(near.events, ["close ERR_PEER_SILENT"]);
  });

  test("is silent at once after a reset", async () => {
    const { network, near, far } = await pair();
    await far();
    near.connection.write([new Uint8Array(10_000)]);
    await turns();
    const before = network.sent.length;
    near.connection.reset(new NetworkError("ERR_SHUTDOWN", "enough"));
    assert.deepEqual(near.events, [], "the caller is in the middle of its own work");
    await network.pass(10_000);
    assert.deepEqual(near.events, ["close ERR_SHUTDOWN"]);
    const later = network.sent.slice(before).filter(({ to: { port } }) => port === 700);
    assert.equal(later.length, 0);
  });

  test("reads on after finish, until the peer says nothing more", async () => {
    const { network, near, far } = await pair();
    const other = await far();
    other.connection.resume();
    other.connection.write([Buffer.from("welcome, ")]);
    near.connection.write([Buffer.from("the last of mine")]);
    near.connection.finish();
    near.connection.finish();
    near.connection.write([Buffer.from("not sent")]);
    await network.pass(50_000);
    other.connection.write([Buffer.from("answer")]);
    await network.pass(50_000);
    assert.equal(other.text, "!the last of mine");
    assert.equal(near.text, "welcome, answer");
    assert.deepEqual(near.events, []);
    await network.pass(11_000);
    assert.deepEqual(near.events, ["end", "close"]);
  });

  test("dies with its link", async () => {
    const { network, near, far } = await pair();
    await far();
    network.weather = { loss: 1 };
    near.connection.write([Buffer.from("anybody?")]);
    await network.pass(600_000);
    assert.deepEqual(near.events, ["close ERR_PEER_SILENT"]);
  });
});

describe("kcp connection and what the network says", () => {
  const unreachable = new NetworkError("ERR_DIAL_REFUSED", "nobody listens on that UDP port");

  function lone() {
    const runtime = manualRuntime();
    const options = KCP_PROFILES.vproxy;
    const sent: Uint8Array[] = [];
    let ends = 0;
    const connection = new KcpConnection({
      session: new KcpSession(options, 0),
      info: { transport: "kcp", local: "192.0.2.1:1", peer: "192.0.2.9:700" },
      runtime,
      windowBytes: 1_000_000,
      send: (datagrams) => void sent.push(...datagrams),
      onOver: () => ends++,
    });
    const recorder = new Recorder(connection);
    connection.resume();
    const pass = async (ms: number): Promise<void> => {
      for (let left = ms; left > 0; left -= 50) {
        runtime.clock.advance(50);
        await turns(2);
      }
    };
    const peer = new KcpSession(options, 0);
    return { connection, recorder, sent, pass, peer, ends: () => ends };
  }

  test("ends when the peer was never heard", async () => {
    const { connection, recorder, pass, ends } = lone();
    connection.write([Buffer.from("hello")]);
    await pass(50);
    connection.networkFailed(unreachable);
    assert.equal(ends(), 1);
    await turns();
    assert.deepEqual(recorder.events, ["close ERR_DIAL_REFUSED"]);
    connection.networkFailed(unreachable);
    connection.reset(unreachable);
    assert.equal(ends(), 1);
  });

  test("survives a forged word while the peer speaks, and believes it when it does not", async () => {
    const { connection, recorder, pass, peer } = lone();
    const hello = peer.write(Buffer.from("hi"), 0).datagrams;
    for (const datagram of hello) connection.receive(datagram);
    await pass(50);
    connection.write([Buffer.from("hello")]);
    connection.networkFailed(unreachable);
    await pass(1_000);
    for (const datagram of hello) connection.receive(datagram);
    await pass(2_500);
    assert.deepEqual(recorder.events, []);
    connection.networkFailed(unreachable);
    await pass(2_000);
    assert.deepEqual(recorder.events, []);
    await pass(4_000);
    assert.deepEqual(recorder.events, ["close ERR_DIAL_REFUSED"]);
  });
});
