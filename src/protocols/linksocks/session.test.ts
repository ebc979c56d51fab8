import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { hex } from "../../../test/support/hex.ts";
import { channelName, LinkSocksEnd, ROLES, TARGET } from "../../../test/support/linksocks-end.ts";
import { MisuseError, NetworkError, PolicyError } from "../../errors.ts";
import { encodeMessage, parseMessage } from "./codec.ts";
import { LinkSocksSession } from "./session.ts";

const REFUSED = new NetworkError("ERR_DIAL_REFUSED", "connection refused");

/** The peer of every session here is the reference, or behaves like it. */
const ALONE = { extensions: false } as const;

describe("a linksocks SOCKS side", () => {
  test("opens a channel and waits for the exit's answer", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    assert.equal(end.open(), 1);
    assert.equal(end.open({ network: "tcp", host: "::1", port: 22 }), 2);
    assert.deepEqual(end.said(), ["CONNECT 1 example.com:80", "CONNECT 2 [::1]:22"]);
    assert.deepEqual(end.events(), []);
    assert.equal(end.session.writable(1), 0);
    end.hearAnswer(1);
    assert.deepEqual(end.events(), ["accepted 1", "writable 1"]);
    assert.equal(end.session.writable(1), Number.POSITIVE_INFINITY);
    assert.equal(end.session.hasWindow(1), false);
    assert.equal(end.session.streamCount, 2);
    end.hearAnswer(1);
    assert.deepEqual(end.events(), [], "a second answer is no news");
  });

  test("names its channels with random UUIDs", () => {
    const session = new LinkSocksSession(ROLES.client, { newId: randomUUID });
    const names = [1, 2].map(() => {
      const message = parseMessage(session.open(TARGET, 0).step.output[0] ?? new Uint8Array(0));
      assert.ok(message.type === "connect");
      return message.channelId;
    });
    assert.notEqual(names[0], names[1]);
    assert.match(names[0] ?? "", /^.{12}4.{3}[89ab]/);
    const ours = new LinkSocksEnd("client", { newId: () => "a-b" });
    assert.throws(() => ours.open(), MisuseError);
  });

  test("tells why the exit did not reach the target", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.open();
    end.hearAnswer(1, "dial tcp 127.0.0.1:1: connect: connection refused");
    end.open();
    end.hearAnswer(2, "no available reverse clients");
    end.open();
    end.hearAnswer(3, "");
    assert.deepEqual(end.events(), [
      "closed 1 ERR_DIAL_REFUSED",
      "closed 2 ERR_TUNNEL_DOWN",
      "closed 3 ERR_DIAL_FAILED",
    ]);
    assert.equal(end.session.streamCount, 0);
    assert.deepEqual(end.said().slice(3), [], "a refused channel is over for both");
  });

  test("gives up on a silent exit, tells it so, and lets go of a late success", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.open();
    end.pass(14_999);
    assert.deepEqual(end.events(), []);
    end.pass(1);
    assert.deepEqual(end.events(), ["closed 1 ERR_DIAL_TIMEOUT"]);
    const said = end.said();
    assert.equal(said.length, 2);
    assert.match(said[1] ?? "", /^DISCONNECT 1 .*did not answer within 15000 ms/);
    end.hearAnswer(1);
    assert.deepEqual(end.said(), ["DISCONNECT 1"]);
    end.hearAnswer(1, "too late");
    end.hearData(1, 5);
    end.hearDisconnect(1, "EOF");
    assert.deepEqual(end.said(), []);
    assert.deepEqual(end.events(), []);
    assert.equal(end.session.deadline, undefined);
  });

  test("tells the exit when its application gave up before the answer", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.open();
    end.reset(1, new NetworkError("ERR_ABORTED", "gave up"));
    end.open();
    end.close(2);
    assert.deepEqual(end.said(), [
      "CONNECT 1 example.com:80",
      "DISCONNECT 1 gave up",
      "CONNECT 2 example.com:80",
      "DISCONNECT 2 EOF",
    ]);
    assert.deepEqual(end.events(), ["closed 1 ERR_ABORTED", "closed 2"]);
  });

  test("takes data as the answer that it proves", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.open();
    end.hearData(1, 3);
    assert.deepEqual(end.events(), ["accepted 1", "writable 1", "data 1 3"]);
    end.hearAnswer(1);
    assert.deepEqual(end.events(), []);
    end.hearData(1, 0);
    assert.deepEqual(end.events(), [], "no data is no event");
  });

  test("takes an orderly end before the answer for a short success", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.open();
    end.hearDisconnect(1, "EOF");
    assert.deepEqual(end.events(), ["accepted 1", "writable 1", "finished 1", "closed 1"]);
    end.open();
    end.hearDisconnect(2);
    end.open();
    end.hearDisconnect(3, "read: no route to host");
    assert.deepEqual(end.events(), [
      "closed 2 ERR_DIAL_FAILED",
      "closed 3 ERR_DIAL_HOST_UNREACHABLE",
    ]);
  });

  test("fast-open: goes on at once, and holds its bytes where they would get lost", () => {
    const end = new LinkSocksEnd("client", { ...ALONE, fastOpen: true }).start();
    end.open();
    assert.deepEqual(end.events(), ["accepted 1"]);
    assert.equal(end.session.writable(1), 0);
    end.hearAnswer(1);
    assert.deepEqual(end.events(), ["writable 1"]);
    end.open();
    end.hearAnswer(2, "connection refused");
    assert.deepEqual(end.events(), ["accepted 2", "closed 2 ERR_DIAL_REFUSED"]);
    end.open();
    end.finish(3);
    end.hearAnswer(3);
    assert.deepEqual(end.events(), ["accepted 3"], "nothing more to write after the end");
    end.pass(30_000);
    assert.deepEqual(end.events(), ["closed 3 ERR_IDLE_TIMEOUT"]);
    end.open();
    end.finish(4);
    end.pass(15_000);
    assert.deepEqual(end.events(), ["accepted 4", "closed 4 ERR_DIAL_TIMEOUT"]);
  });

  test("keeps its half-close to itself until the answer is whole", () => {
    const end = opened();
    end.write(1, 5);
    end.finish(1);
    end.finish(1);
    assert.deepEqual(end.said(), ["DATA 1 5"]);
    assert.equal(end.session.writable(1), 0);
    end.pass(29_000);
    end.hearData(1, 7);
    end.pass(29_000);
    end.hearData(1, 8);
    end.hearDisconnect(1, "EOF");
    assert.deepEqual(end.events(), ["data 1 7", "data 1 8", "finished 1", "closed 1"]);
    assert.deepEqual(end.said(), ["DISCONNECT 1"], "an exit of ours waits for it");
    assert.equal(end.session.deadline, undefined);
  });

  test("ends a half-closed channel that stays quiet, and does not call that an end", () => {
    const end = opened();
    end.finish(1);
    end.pass(29_999);
    assert.deepEqual(end.events(), []);
    end.pass(1);
    assert.deepEqual(end.said(), ["DISCONNECT 1 EOF"]);
    assert.deepEqual(end.events(), ["closed 1 ERR_IDLE_TIMEOUT"]);
  });

  test("says the end when its application closes, half-closed or not", () => {
    for (const isHalfClosed of [false, true]) {
      const end = opened();
      if (isHalfClosed) end.finish(1);
      end.close(1);
      end.close(1);
      assert.deepEqual(end.said(), ["DISCONNECT 1 EOF"]);
      assert.deepEqual(end.events(), ["closed 1"]);
      end.hearDisconnect(1, "EOF"); // a Go server between sends us our own back
      assert.deepEqual(end.said(), []);
    }
  });

  test("says why when its application breaks", () => {
    const end = opened();
    end.reset(1, new PolicyError("ERR_SLOW_READER", "reader too slow"));
    end.reset(1, REFUSED);
    assert.deepEqual(end.said(), ["DISCONNECT 1 reader too slow"]);
    assert.deepEqual(end.events(), ["closed 1 ERR_SLOW_READER"]);
  });

  test("never takes a cut channel for one that ended", () => {
    const end = opened();
    end.hearData(1, 7);
    end.hearDisconnect(1, "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer");
    assert.deepEqual(end.events(), ["data 1 7", "closed 1 ERR_CONNECTION_RESET"]);
    const failed = opened();
    failed.hearAnswer(1, "second thoughts");
    assert.deepEqual(failed.events(), ["closed 1 ERR_DIAL_FAILED"]);
  });

  test("carries datagrams, with both addresses always there", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    assert.equal(end.openPackets(), 1);
    assert.deepEqual(end.said(), ["CONNECT 1 udp"]);
    end.hearAnswer(1);
    assert.deepEqual(end.events(), ["accepted 1"]);
    end.sendPacket(1, { host: "example.com", port: 53, data: new Uint8Array(4) });
    end.sendPacket(1, { host: "2001:db8::1", port: 53, data: new Uint8Array(0) });
    end.sendPacket(1, { host: "x".repeat(256), port: 53, data: new Uint8Array(4) });
    assert.deepEqual(end.said(), [
      "PACKET 1 4 from :0 to example.com:53",
      "PACKET 1 0 from :0 to [2001:db8::1]:53",
    ]);
    hearPacket(end, 1, { source: { host: "192.0.2.1", port: 53 } });
    hearPacket(end, 1, {}); // nobody could tell the application where it comes from
    assert.deepEqual(end.events(), ["packet 1 192.0.2.1:53 4"]);
    assert.equal(end.session.writable(1), 0, "it is no stream");
    end.finish(1);
    end.consumed(1, 4);
    end.close(1);
    assert.deepEqual(end.said(), ["DISCONNECT 1"]);
    assert.deepEqual(end.events(), ["closed 1"]);
    end.sendPacket(1, { host: "example.com", port: 53, data: new Uint8Array(4) });
    assert.deepEqual(end.said(), []);
  });

  test("ends an association with the exit", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.openPackets();
    hearPacket(end, 1, { source: { host: "192.0.2.1", port: 53 } });
    end.hearDisconnect(1);
    end.openPackets();
    end.hearAnswer(2);
    end.hearDisconnect(2, "broken");
    assert.deepEqual(end.events(), [
      "accepted 1",
      "packet 1 192.0.2.1:53 4",
      "closed 1",
      "accepted 2",
      "closed 2 ERR_CONNECTION_RESET",
    ]);
  });

  test("keeps no memory of the message that carried a datagram", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.openPackets();
    const bytes = encodeMessage({
      type: "data",
      protocol: "udp",
      channelId: channelName(1),
      compression: 0,
      payload: hex("01020304"),
      source: { host: "192.0.2.1", port: 53 },
      target: { host: "", port: 0 },
    });
    end.receive(bytes);
    bytes.fill(0xee);
    const event = end.log.at(-1);
    assert.ok(event?.type === "packetReceived");
    assert.deepEqual([...event.packet.data], [1, 2, 3, 4]);
  });

  test("refuses by itself what the wire cannot ask for", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.open({ ...TARGET, network: "udp" });
    end.open({ ...TARGET, host: "" });
    end.open({ ...TARGET, host: "x".repeat(256) });
    end.open({ ...TARGET, port: 0 });
    assert.deepEqual(end.events(), [
      "closed 1 ERR_COMMAND_UNSUPPORTED",
      "closed 2 ERR_ADDRESS_UNSUPPORTED",
      "closed 3 ERR_ADDRESS_UNSUPPORTED",
      "closed 4 ERR_ADDRESS_UNSUPPORTED",
    ]);
    assert.deepEqual(end.said(), []);
    assert.equal(end.session.streamCount, 0);
  });

  test("lends nothing, and says so", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.hearConnect(9);
    assert.deepEqual(end.said(), ["ANSWER 9 not allowed by policy: this end takes no connections"]);
    assert.deepEqual(end.events(), []);
  });
});

describe("a linksocks exit", () => {
  test("asks its owner for the target, and answers", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.hearConnect(7);
    end.hearConnect(8, { network: "tcp", host: "::1", port: 22 });
    assert.deepEqual(end.events(), ["requested 1 example.com:80", "requested 2 [::1]:22"]);
    assert.equal(end.session.writable(1), 0);
    end.accept(1);
    end.accept(1);
    end.reset(2, REFUSED);
    assert.deepEqual(end.said(), ["ANSWER 7 ok", "ANSWER 8 connection refused"]);
    assert.deepEqual(end.events(), ["writable 1", "closed 2 ERR_DIAL_REFUSED"]);
    end.write(1, 5);
    assert.deepEqual(end.said(), ["DATA 7 5"]);
    assert.throws(() => end.session.open(TARGET, 0), MisuseError);
    assert.throws(() => end.session.openPackets(0), MisuseError);
    assert.throws(() => end.session.open({ ...TARGET, port: 0 }, 0), MisuseError);
    assert.equal(end.session.isOpen, false);
  });

  test("cuts long reasons to what the wire can say", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.hearConnect(7);
    end.reset(1, new NetworkError("ERR_DIAL_FAILED", "é".repeat(300)));
    assert.deepEqual(end.said(), [`ANSWER 7 ${"é".repeat(127)}`]);
  });

  test("answers at once what the reference leaves without an answer", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.hearConnect(1, { ...TARGET, port: 0 });
    end.hearConnect(2, { ...TARGET, host: "" });
    end.hearConnect(3, { ...TARGET, host: "a b" });
    end.hear({ type: "connect", protocol: "unknown", protocolByte: 5, channel: 4 });
    assert.deepEqual(end.said(), [
      "ANSWER 1 address not supported: port 0 cannot be reached",
      "ANSWER 2 address not supported: host is neither a name nor an address",
      "ANSWER 3 address not supported: host is neither a name nor an address",
      "ANSWER 4 command not supported: protocol 5 is not 1 or 2",
    ]);
    assert.deepEqual(end.events(), []);
    assert.equal(end.session.streamCount, 0);
  });

  test("has room for so many channels", () => {
    const end = new LinkSocksEnd("server", { ...ALONE, maxStreams: 2 }).start();
    for (const channel of [1, 2, 3]) end.hearConnect(channel);
    assert.deepEqual(end.said(), ["ANSWER 3 limit reached: 2 channels are open already"]);
    end.reset(1, REFUSED);
    end.hearConnect(4);
    assert.equal(end.session.streamCount, 2);
  });

  test("goes on with a channel that is asked for twice", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.hearConnect(1);
    end.hearConnect(1);
    assert.deepEqual(end.events(), ["requested 1 example.com:80"]);
    assert.deepEqual(end.said(), []);
  });

  test("takes data before it accepted, and not an answer of the peer", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.hearConnect(1);
    end.hearData(1, 10);
    end.hearAnswer(1, "nonsense");
    assert.deepEqual(end.events(), ["requested 1 example.com:80", "data 1 10"]);
    end.hearDisconnect(1);
    assert.deepEqual(end.events(), ["finished 1", "closed 1"]);
    assert.deepEqual(end.said(), [], "an exit that is told the end says nothing");
    end.accept(1);
    assert.deepEqual(end.said(), [], "the peer gave up");
  });

  test("says the target's end, and still takes what was on its way", () => {
    const end = accepted();
    end.write(1, 5);
    end.finish(1);
    end.finish(1);
    assert.deepEqual(end.said(), ["DATA 1 5", "DISCONNECT 1 EOF"]);
    assert.deepEqual(end.events(), []);
    assert.equal(end.session.writable(1), 0);
    end.pass(20_000);
    end.hearData(1, 7);
    end.pass(20_000);
    end.hearDisconnect(1);
    assert.deepEqual(end.events(), ["data 1 7", "finished 1", "closed 1"]);
    assert.deepEqual(end.said(), []);
    assert.equal(end.session.deadline, undefined);
  });

  test("waits only so long for a SOCKS side that was told the end", () => {
    const end = accepted();
    end.finish(1);
    end.pass(29_999);
    assert.deepEqual(end.events(), []);
    end.pass(1);
    assert.deepEqual(end.events(), ["finished 1", "closed 1"]);
    assert.deepEqual(end.said(), ["DISCONNECT 1 EOF"]);
  });

  test("tells the end once", () => {
    const closed = accepted();
    closed.finish(1);
    closed.close(1);
    assert.deepEqual(closed.said(), ["DISCONNECT 1 EOF"]);
    assert.deepEqual(closed.events(), ["closed 1"]);
    const reset = accepted();
    reset.finish(1);
    reset.reset(1, REFUSED);
    assert.deepEqual(reset.said(), ["DISCONNECT 1 EOF"]);
    assert.deepEqual(reset.events(), ["closed 1 ERR_DIAL_REFUSED"]);
  });

  test("says what broke the target, and hears what broke the application", () => {
    const end = accepted();
    end.reset(1, new NetworkError("ERR_CONNECTION_RESET", "target sent RST"));
    assert.deepEqual(end.said(), ["DISCONNECT 1 connection reset by peer: target sent RST"]);
    const other = accepted();
    other.hearDisconnect(1, "socks write error: broken pipe");
    assert.deepEqual(other.events(), ["closed 1 ERR_CONNECTION_RESET"]);
    assert.deepEqual(other.said(), []);
  });

  test("refuses instead of accepting when it closes first", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.hearConnect(1);
    end.close(1);
    assert.deepEqual(end.said(), ["ANSWER 1 EOF"]);
    assert.deepEqual(end.events().slice(1), ["closed 1"]);
  });

  test("holds a target's end that comes before its own answer", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.hearConnect(1);
    end.finish(1);
    assert.deepEqual(end.said(), []);
    end.accept(1);
    assert.deepEqual(end.said(), ["ANSWER 1 ok", "DISCONNECT 1 EOF"]);
  });

  test("carries datagrams, and keeps the first ones until somebody takes them", () => {
    const end = new LinkSocksEnd("server", { ...ALONE, earlyPackets: 2 }).start();
    end.hear({ type: "connect", protocol: "udp", channel: 1 });
    assert.deepEqual(end.events(), ["packets requested 1"]);
    for (const port of [1, 2, 3]) hearPacket(end, 1, { target: { host: "127.0.0.1", port } });
    assert.deepEqual(end.events(), []);
    end.accept(1);
    assert.deepEqual(end.said(), ["ANSWER 1 ok"]);
    assert.deepEqual(end.events(), [], "their owner has to take the association first");
    end.pass(0);
    assert.deepEqual(end.events(), ["packet 1 127.0.0.1:1 4", "packet 1 127.0.0.1:2 4"]);
    hearPacket(end, 1, { target: { host: "example.com", port: 53 } });
    assert.deepEqual(end.events(), ["packet 1 example.com:53 4"]);
    end.sendPacket(1, { host: "192.0.2.1", port: 53, data: new Uint8Array(9) });
    assert.deepEqual(end.said(), ["PACKET 1 9 from 192.0.2.1:53 to :0"]);
    end.hearDisconnect(1);
    assert.deepEqual(end.events(), ["closed 1"]);
  });

  test("refuses an association", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.hear({ type: "connect", protocol: "udp", channel: 1 });
    end.reset(1, new PolicyError("ERR_POLICY_DENIED", "no datagrams here"));
    assert.deepEqual(end.said(), ["ANSWER 1 not allowed by policy: no datagrams here"]);
  });
});

describe("a linksocks provider", () => {
  test("lets its answer go ahead, through a server that mixes up what follows", () => {
    const end = new LinkSocksEnd("provider", ALONE).start();
    end.hearConnect(1);
    end.accept(1);
    assert.deepEqual(end.said(), ["ANSWER 1 ok"]);
    assert.equal(end.session.writable(1), 0);
    end.pass(24);
    assert.deepEqual(end.events().slice(1), []);
    end.pass(1);
    assert.deepEqual(end.events(), ["writable 1"]);
    assert.equal(end.session.writable(1), Number.POSITIVE_INFINITY);
  });

  test("waits no longer once it hears that its answer arrived", () => {
    const end = new LinkSocksEnd("provider", ALONE).start();
    end.hearConnect(1);
    end.accept(1);
    end.hearData(1, 3);
    assert.deepEqual(end.events(), ["requested 1 example.com:80", "writable 1", "data 1 3"]);
    assert.equal(end.session.deadline, undefined);
  });

  test("holds a target's end just as long", () => {
    const end = new LinkSocksEnd("provider", ALONE).start();
    end.hearConnect(1);
    end.accept(1);
    end.finish(1);
    assert.deepEqual(end.said(), ["ANSWER 1 ok"]);
    end.pass(25);
    assert.deepEqual(end.said(), ["DISCONNECT 1 EOF"]);
  });

  test("holds nothing toward another Sluice", () => {
    const end = new LinkSocksEnd("provider").start();
    end.hearHello();
    end.hearConnect(1);
    end.accept(1);
    assert.equal(end.session.writable(1), Number.POSITIVE_INFINITY);
  });
});

describe("a linksocks session", () => {
  test("cuts data into messages, each with its own memory", () => {
    const end = opened({ maxPlainPayloadBytes: 1000 });
    const data = randomBytes(2500);
    end.write(1, data);
    end.write(1, 0);
    assert.deepEqual(end.said(), ["DATA 1 1000", "DATA 1 1000", "DATA 1 500"]);
    const payloads = end.wire.slice(-3).map((bytes) => {
      const message = parseMessage(bytes);
      assert.ok(message.type === "data");
      return message.payload;
    });
    assert.deepEqual(Buffer.concat(payloads), data);
  });

  test("compresses only large payloads, and only when that pays", () => {
    const end = opened({ maxPlainPayloadBytes: 1000, compressFromBytes: 4000 });
    end.write(1, 3999);
    assert.deepEqual(end.said(), ["DATA 1 1000", "DATA 1 1000", "DATA 1 1000", "DATA 1 999"]);
    end.wire = [];
    const noise = randomBytes(5000);
    end.write(1, Buffer.concat([new Uint8Array(4000), noise]));
    const said = end.said();
    assert.match(said[0] ?? "", /^DATA 1 \d\d gzip$/);
    assert.deepEqual(said.slice(1), [...Array<string>(5).fill("DATA 1 1000")]);
    const plain = end.wire.map((bytes) => {
      const message = parseMessage(bytes);
      assert.ok(message.type === "data");
      return message.compression === 1 ? gunzipSync(message.payload) : message.payload;
    });
    assert.deepEqual(Buffer.concat(plain), Buffer.concat([new Uint8Array(4000), noise]));
  });

  test("inflates what the peer compressed, and takes unknown flags as they are", () => {
    const end = opened();
    end.hearData(1, gzipSync("hello"), 1);
    end.hearData(1, Buffer.from("raw"), 7);
    const data = end.log.flatMap((event) =>
      event.type === "streamData" ? [Buffer.from(event.data).toString()] : [],
    );
    assert.deepEqual(data, ["hello", "raw"]);
  });

  test("a gzip bomb costs its channel, and no memory", () => {
    const end = opened();
    end.open();
    end.hearAnswer(2);
    end.events();
    end.said();
    end.hearData(1, gzipSync(new Uint8Array(4 * 1024 * 1024 + 1)), 1);
    assert.deepEqual(end.events(), ["closed 1 ERR_PROTOCOL"]);
    assert.match(end.said().join(), /^DISCONNECT 1 payload of \d+ bytes inflates to more than/);
    end.hearData(1, gzipSync(new Uint8Array(4 * 1024 * 1024 + 1)), 1);
    end.hearData(2, gzipSync(new Uint8Array(4 * 1024 * 1024)), 1);
    end.hearData(2, Buffer.from("no gzip"), 1);
    assert.deepEqual(end.events(), ["data 2 4194304", "closed 2 ERR_PROTOCOL"]);
  });

  test("a malformed message costs its channel alone", () => {
    const end = opened();
    end.open();
    end.hearAnswer(2);
    end.events();
    end.said();
    end.receive(hex(`01 04 01 ${channelName(1)} 00 ffffffff 00`));
    assert.deepEqual(end.events(), ["closed 1 ERR_PROTOCOL"]);
    assert.match(end.said().join(), /^DISCONNECT 1 linksocks message type 4/);
    end.receive(hex(`01 04 01 ${channelName(1)} 00 ffffffff 00`));
    assert.deepEqual(end.said(), [], "it is gone");
    hearPacket(end, 2, {});
    assert.deepEqual(end.events(), ["closed 2 ERR_PROTOCOL"]);
    assert.equal(end.session.isOpen, true);
  });

  test("answers a Connect that it cannot read", () => {
    const end = new LinkSocksEnd("server", ALONE).start();
    end.receive(hex(`01 03 01 ${channelName(5)} ff 61`));
    assert.deepEqual(end.said(), ["ANSWER 5 linksocks message type 3 of 21 bytes is malformed"]);
  });

  test("bears with some messages that name nothing, and not with many", () => {
    const end = opened();
    for (let count = 0; count < 16; count++) end.receive(hex("0109000000027b5d"));
    assert.deepEqual(end.events(), []);
    end.receive(hex("01"));
    assert.deepEqual(end.events(), ["over ERR_PROTOCOL"]);
    end.hearData(1, 5);
    assert.deepEqual(end.events(), []);
    assert.equal(end.session.streamCount, 0);
    assert.equal(end.session.isOpen, false);
  });

  test("refuses messages over its limit", () => {
    const end = opened({ maxMessageBytes: 100 });
    end.hearData(1, 77);
    assert.deepEqual(end.events(), ["closed 1 ERR_PROTOCOL"]);
  });

  test("ignores what nobody expects", () => {
    const end = opened();
    end.hear({ type: "unknown", messageType: 0xfe, body: new Uint8Array(3) });
    end.hear({ type: "auth", token: "x", isReverse: true, instance: "0".repeat(32) });
    end.hear({ type: "authResponse", error: undefined });
    end.hear({ type: "finish", channel: 99 });
    end.hear({ type: "window", channel: 99, increment: 1 });
    end.hear({ type: "window", channel: 1, increment: 1 });
    end.hearData(99, 5);
    end.hearDisconnect(99, "EOF");
    assert.deepEqual(end.events(), []);
    assert.deepEqual(end.said(), []);
    end.hear({ type: "finish", channel: 1 });
    assert.deepEqual(end.events(), ["closed 1 ERR_PROTOCOL"], "this channel has no Finish");
  });

  test("hands on what is for the client or server, and sends what they say", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.hear({ type: "log", level: "info", text: "welcome" });
    end.hear({ type: "partners", count: 2 });
    end.hear({
      type: "connectorResponse",
      requestId: channelName(1),
      error: undefined,
      token: "t",
    });
    assert.deepEqual(end.events(), [
      "message log",
      "message partners",
      "message connectorResponse",
    ]);
    end.send({ type: "connector", requestId: channelName(1), token: "t", operation: "add" });
    end.send({ type: "log", level: "info", text: "hi" });
    assert.deepEqual(end.said(), ["CONNECTOR", "LOG hi"]);
  });

  test("ends every channel with a word, so that nothing cut off looks whole", () => {
    const end = new LinkSocksEnd("both", ALONE).start();
    end.open(); // 1: not answered
    end.hearConnect(8);
    end.hearConnect(9);
    end.accept(3);
    end.hearConnect(10);
    end.accept(4);
    end.finish(4);
    end.said();
    end.events();
    end.end();
    assert.deepEqual(end.said(), [
      "DISCONNECT 1 the other end closes the link",
      "ANSWER 8 the other end closes the link",
      "DISCONNECT 9 the other end closes the link",
    ]);
    assert.deepEqual(end.events(), ["over"]);
    end.end();
    end.send({ type: "partners", count: 1 });
    end.receiveEnd();
    end.pass(100_000);
    assert.deepEqual([...end.said(), ...end.events()], []);
  });

  test("tells an end from a loss", () => {
    const idle = new LinkSocksEnd("client", ALONE).start();
    idle.receiveEnd();
    assert.deepEqual(idle.events(), ["over"]);
    const busy = opened();
    busy.receiveEnd();
    assert.deepEqual(busy.events(), ["over ERR_TUNNEL_LOST"]);
    assert.deepEqual(busy.said(), []);
  });

  test("obeys its own limits before the caller's wishes", () => {
    const end = new LinkSocksEnd("client", ALONE).start();
    end.open();
    assert.throws(() => end.write(1, 5), MisuseError);
    end.write(99, 5);
    end.finish(99);
    end.close(99);
    end.reset(99, REFUSED);
    end.accept(99);
    end.accept(1);
    end.consumed(99, 5);
    assert.equal(end.session.writable(99), 0);
    assert.deepEqual(end.said(), ["CONNECT 1 example.com:80"]);
  });

  test("never throws, whatever a peer says", () => {
    const known = fc.constantFrom(channelName(1), channelName(2), channelName(3));
    const type = fc.integer({ min: 0, max: 0x22 });
    const message = fc
      .tuple(type, fc.boolean(), known, fc.uint8Array({ maxLength: 40 }))
      .map(([code, hasOctet, channel, rest]) =>
        Buffer.concat([
          hex(`01${code.toString(16).padStart(2, "0")}`),
          hex(hasOctet ? "01" : ""),
          hex(channel),
          rest,
        ]),
      );
    fc.assert(
      fc.property(
        fc.array(fc.oneof(message, fc.uint8Array({ maxLength: 40 })), { maxLength: 40 }),
        (messages) => {
          const end = new LinkSocksEnd("both").start();
          end.open();
          end.openPackets();
          for (const bytes of messages) {
            end.receive(bytes);
            end.pass(100);
          }
          end.pass(100_000);
          for (const id of [1, 2, 3, 4]) {
            end.finish(id);
            end.close(id);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** A SOCKS side with channel 1 answered. */
function opened(options: ConstructorParameters<typeof LinkSocksEnd>[1] = {}): LinkSocksEnd {
  const end = new LinkSocksEnd("client", { ...ALONE, ...options }).start();
  end.open();
  end.hearAnswer(1);
  end.events();
  end.said();
  return end;
}

/** An exit with channel 1 accepted. */
function accepted(): LinkSocksEnd {
  const end = new LinkSocksEnd("server", ALONE).start();
  end.hearConnect(1);
  end.accept(1);
  end.events();
  end.said();
  return end;
}

interface Address {
  readonly host: string;
  readonly port: number;
}

function hearPacket(
  end: LinkSocksEnd,
  channel: number,
  { source = NOWHERE, target = NOWHERE }: { source?: Address; target?: Address },
): void {
  const payload = new Uint8Array(4);
  end.hear({ type: "data", protocol: "udp", channel, compression: 0, payload, source, target });
}

const NOWHERE: Address = { host: "", port: 0 };
