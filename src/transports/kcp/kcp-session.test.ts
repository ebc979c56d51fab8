import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { patternBytes } from "../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { KcpLink } from "../../../test/support/kcp-link.ts";
import { KCP_PROFILES } from "./kcp-options.ts";
import { KcpSession, type KcpStep } from "./kcp-session.ts";
import { Command, SegmentReader } from "./segment.ts";

const VPROXY = KCP_PROFILES.vproxy;
const HANDSHAKE = hex("000000040000000000");
/** The clock of the captured session below. */
const START = 0xf9c2f4f4;

describe("kcp session", () => {
  test("exchanges the datagrams of a captured handshake byte for byte", () => {
    const client = new KcpSession(VPROXY, START);
    const hello = client.write(HANDSHAKE, START);
    // The reference counts what it read in this turn against its window; we hand it on at once.
    assertBytes(
      hello.datagrams,
      hex(`00000000 51 00 0004 f4f4c2f9 00000000 00000000 09000000 000000040000000000`),
    );

    const server = new KcpSession(VPROXY, START);
    const heard = server.receive(only(hello), START);
    assertBytes(heard.data, HANDSHAKE);
    assert.equal(heard.datagrams.length, 0, "the acknowledgement waits for the answer");
    const answer = server.write(HANDSHAKE, 0xf9c2f505);
    assertBytes(
      only(answer),
      hex(`00000000 52 00 0004 f4f4c2f9 00000000 01000000 00000000
           00000000 51 00 0004 05f5c2f9 00000000 01000000 09000000 000000040000000000`),
    );

    assertBytes(client.receive(only(answer), 0xf9c2f505).data, HANDSHAKE);
    assert.equal(client.deadline, 0xf9c2f505 + 5);
    assertBytes(
      client.tick(0xf9c2f505 + 5).datagrams,
      hex(`00000000 52 00 0004 05f5c2f9 00000000 01000000 00000000`),
    );
  });

  test("costs no timer while it is idle", () => {
    const link = new KcpLink(VPROXY);
    assert.equal(link.left.session.deadline, undefined);
    link.write(link.left, patternBytes(5000));
    assert.ok(link.left.session.deadline !== undefined);
    assert.ok(link.run(() => link.right.receivedBytes === 5000, 100));
    link.pass(20);
    assert.equal(link.left.session.deadline, undefined);
    assert.equal(link.right.session.deadline, undefined);
    assert.equal(link.left.session.unacknowledgedBytes, 0);
  });

  test("acknowledges within one interval, in few datagrams", () => {
    const session = new KcpSession(VPROXY, 0);
    for (const sequence of [0, 1, 2]) session.receive(push(sequence, "ab"), 1);
    assert.equal(session.tick(5).datagrams.length, 0, "not due yet");
    assert.equal(session.deadline, 6);
    const acks = segmentsOf(session.tick(6));
    // The first two are acknowledged by `una`.
    assert.deepEqual(acks, [
      { command: Command.ack, sequence: 2, unacknowledged: 3, window: 1024 },
    ]);
    assert.equal(session.deadline, undefined);
  });

  test("acknowledges each segment behind a gap, and duplicates too", () => {
    const session = new KcpSession(VPROXY, 0);
    assert.equal(session.receive(push(2, "c"), 0).data.length, 0);
    session.receive(push(1, "b"), 0);
    session.receive(push(2, "c"), 0);
    assert.deepEqual(
      segmentsOf(session.tick(5)).map(({ sequence, unacknowledged }) => [sequence, unacknowledged]),
      [
        [2, 0],
        [1, 0],
        [2, 0],
      ],
    );
    assertBytes(session.receive(push(0, "a"), 6).data, Buffer.from("abc"));
    session.receive(push(0, "a"), 6);
    assert.deepEqual(
      segmentsOf(session.tick(11)).map(({ sequence, unacknowledged }) => [
        sequence,
        unacknowledged,
      ]),
      [[0, 3]],
    );
  });

  test("acknowledges at once when many segments arrived", () => {
    const session = new KcpSession(VPROXY, 0);
    for (let sequence = 0; sequence < 31; sequence++) {
      assert.equal(session.receive(push(sequence, "x"), 0).datagrams.length, 0);
    }
    assert.equal(session.receive(push(31, "x"), 0).datagrams.length, 1);
    assert.equal(session.deadline, undefined);
  });

  test("does not acknowledge what is ahead of its window", () => {
    const session = new KcpSession({ ...VPROXY, receiveWindow: 4 }, 0);
    for (const sequence of [4, 5, 1000, 0x7fffffff]) session.receive(push(sequence, "x"), 0);
    assert.equal(session.deadline, undefined);
    session.receive(push(3, "x"), 0);
    assert.equal(session.deadline, 5);
  });

  test("fills segments whatever the size of the writes", () => {
    const session = new KcpSession(VPROXY, 0);
    const chunks = [10, 2000, 1, 1226, 0, 4000].map((length) => patternBytes(length));
    const step = session.writeAll(chunks, 0);
    assert.deepEqual(
      step.datagrams.map((datagram) => datagram.byteLength),
      [1250, 1250, 1250, 1250, 1250, 24 + 1107],
    );
    const payload = step.datagrams.map((datagram) => datagram.subarray(24));
    assertBytes(payload, Buffer.concat(chunks));
  });

  test("sends again after the timeout, which grows by half, and twice the first time", () => {
    const session = new KcpSession(VPROXY, 0);
    session.write(HANDSHAKE, 0);
    const sentAt: number[] = [];
    for (let now = 0; now < 2500; now++) {
      if (session.tick(now).datagrams.length > 0) sentAt.push(now);
    }
    assert.deepEqual(sentAt, [200, 210, 510, 960, 1635]);
  });

  test("doubles the timeout and starts an eighth later without nodelay", () => {
    const session = new KcpSession({ ...KCP_PROFILES.normal, fastResend: 0 }, 0);
    session.write(HANDSHAKE, 0);
    const sentAt: number[] = [];
    for (let now = 0; now < 2500; now++) {
      if (session.tick(now).datagrams.length > 0) sentAt.push(now);
    }
    assert.deepEqual(sentAt, [225, 625, 1425]);
  });

  test("sends a segment again as soon as a later one is acknowledged", () => {
    const session = new KcpSession(VPROXY, 0);
    session.write(patternBytes(3 * 1226), 0);
    const again = segmentsOf(session.receive(ack(2, 0, 0), 1));
    assert.deepEqual(
      again.map(({ sequence }) => sequence),
      [0, 1],
    );
    // Acknowledgements of what left before the second transmission say nothing about it.
    session.write(patternBytes(1226), 1);
    assert.equal(session.receive(ack(1, 0, 0), 2).datagrams.length, 0);
    assert.deepEqual(
      segmentsOf(session.receive(ack(3, 0, 1), 2)).map(({ sequence }) => sequence),
      [0],
    );
  });

  test("leaves it to the timeout after five transmissions", () => {
    const session = new KcpSession({ ...VPROXY, minRtoMs: 10_000, initialRtoMs: 10_000 }, 0);
    session.write(patternBytes(1226), 0);
    let sent = 0;
    for (let sequence = 1; sequence < 20; sequence++) {
      session.write(patternBytes(1226), sequence);
      const step = session.receive(ack(sequence, 0, sequence), sequence);
      sent += segmentsOf(step).filter((found) => found.sequence === 0).length;
    }
    assert.equal(sent, 5, "the first transmission and five more");
  });

  test("declares the link dead after twenty transmissions", () => {
    const link = new KcpLink({ ...VPROXY, maxRtoMs: 1000 }, { lossRate: 1 });
    link.write(link.left, HANDSHAKE);
    assert.ok(link.run(() => link.left.error !== undefined, 60_000));
    assert.equal(link.left.sentDatagrams, 20);
    assert.match(String(link.left.error), /no acknowledgement in \d+ s and 20 transmissions/);
    const { session } = link.left;
    assert.equal(session.deadline, undefined);
    const steps = [
      session.write(HANDSHAKE, link.now),
      session.receive(push(0, "x"), link.now),
      session.tick(link.now + 100_000),
      session.resume(link.now),
    ];
    for (const step of steps) assert.deepEqual(step, { datagrams: [], data: [], error: undefined });
  });

  test("declares a silent peer dead where it was told how long to wait", () => {
    const link = new KcpLink({ ...VPROXY, silentMs: 10_000 }, { lossRate: 1 });
    link.write(link.left, HANDSHAKE);
    assert.ok(link.run(() => link.left.error !== undefined, 15_000));
    assert.ok(link.now >= 10_000);
    assert.match(String(link.left.error), /no acknowledgement in 1[0-5] s/);
    const heard = new KcpLink({ ...VPROXY, silentMs: 10_000 });
    heard.write(heard.left, HANDSHAKE);
    heard.pass(60_000);
    assert.equal(heard.left.error, undefined);
  });

  test("takes no more from the peer than fits while its reader waits", () => {
    const link = new KcpLink({ ...VPROXY, receiveWindow: 16 });
    link.right.session.pause();
    const sent = patternBytes(100_000);
    link.write(link.left, sent);
    link.pass(3000);
    assert.equal(link.right.receivedBytes, 0);
    assert.ok(link.left.session.unacknowledgedBytes >= sent.byteLength - 32 * 1226);
    const { sentDatagrams } = link.left;
    link.pass(3000);
    assert.ok(link.left.sentDatagrams - sentDatagrams <= 1, "it stays quiet");

    link.resume(link.right);
    assert.ok(link.run(() => link.right.receivedBytes === sent.byteLength, 200));
    assertBytes(link.right.received, sent);
  });

  test("asks a peer without room after 7 s, and then ever more rarely up to 120 s", () => {
    const session = new KcpSession(VPROXY, 0);
    session.receive(tell(0), 0);
    assert.equal(session.write(HANDSHAKE, 0).datagrams.length, 0);
    const asked: number[] = [];
    for (let now = 0; now < 600_000; now += 5) {
      const step = session.tick(now);
      for (const { command } of segmentsOf(step)) {
        assert.equal(command, Command.windowAsk);
        asked.push(now);
      }
    }
    assert.deepEqual(asked.slice(0, 4), [7000, 17_500, 33_250, 56_875]);
    assert.equal((asked.at(-1) ?? 0) - (asked.at(-2) ?? 0), 120_000);
    const step = session.receive(tell(10), 600_000);
    assert.equal(segmentsOf(step)[0]?.command, Command.push);
  });

  test("answers the question for its window at once", () => {
    const session = new KcpSession(VPROXY, 0);
    const [told] = segmentsOf(session.receive(segment({ command: Command.windowAsk }), 3));
    assert.equal(told?.command, Command.windowTell);
    assert.equal(told.window, 1024);
    assert.equal(session.deadline, undefined);
  });

  test("tells a reopened window several times, for one may be lost", () => {
    const link = new KcpLink({ ...VPROXY, receiveWindow: 4 });
    link.right.session.pause();
    link.write(link.left, patternBytes(20_000));
    link.pass(500);
    let tells = 0;
    link.conditions = {
      passes: (datagram) => datagram[4] !== Command.windowTell || ++tells > 2,
    };
    link.resume(link.right);
    assert.ok(
      link.run(() => link.right.receivedBytes === 20_000, 1000),
      "long before a probe",
    );
    link.pass(1000);
    assert.equal(link.right.session.deadline, undefined);
  });

  test("orders acknowledgements, window news and data in one datagram", () => {
    const session = new KcpSession(VPROXY, 0);
    session.receive(tell(0), 0);
    session.write(HANDSHAKE, 0);
    const mixed = (window: number): Uint8Array =>
      Buffer.concat([
        segment({ command: Command.push, sequence: 0, window, data: "x" }),
        segment({ command: Command.windowAsk, window }),
      ]);
    const commands = (step: KcpStep): number[] => {
      assert.equal(step.datagrams.length, 1);
      return segmentsOf(step).map(({ command }) => command);
    };
    const { ack: ACK, windowAsk: ASK, windowTell: TELL, push: PUSH } = Command;
    assert.deepEqual(commands(session.receive(mixed(0), 7000)), [ACK, ASK, TELL]);
    assert.deepEqual(commands(session.receive(mixed(5), 7001)), [ACK, TELL, PUSH]);
  });

  test("survives junk between good datagrams", () => {
    const session = new KcpSession(VPROXY, 0);
    const junk = [hex("00"), hex(""), Buffer.from("hello?"), Buffer.alloc(100, 0xff)];
    for (const bytes of junk) assert.equal(session.receive(bytes, 0).data.length, 0);
    assert.equal(session.malformed, junk.length);
    const half = Buffer.concat([push(0, "ab"), Buffer.alloc(30, 0xff)]);
    assertBytes(session.receive(half, 0).data, Buffer.from("ab"));
    assert.equal(session.malformed, junk.length + 1);
  });

  test("ignores acknowledgements of what it never sent", () => {
    const session = new KcpSession(VPROXY, 0);
    session.write(HANDSHAKE, 0);
    for (const sequence of [1, 2, 0x7fffffff, 0xffffffff]) session.receive(ack(sequence, 0, 0), 1);
    session.receive(segment({ command: Command.windowTell, unacknowledged: 2, window: 0 }), 1);
    session.receive(segment({ command: Command.windowTell, unacknowledged: 0xffff }), 1);
    assert.equal(session.unacknowledgedBytes, HANDSHAKE.byteLength);
    assert.equal(segmentsOf(session.tick(200))[0]?.sequence, 0);
    session.receive(ack(0, 1, 0), 201);
    assert.equal(session.unacknowledgedBytes, 0);
  });

  test("keeps memory bounded against segments of any size", () => {
    const session = new KcpSession({ ...VPROXY, maxReceivedBytes: 100_000 }, 0);
    const large = "x".repeat(40_000);
    for (const sequence of [1, 2, 3, 4]) session.receive(push(sequence, large), 0);
    const acknowledged = segmentsOf(session.tick(5)).map(({ sequence }) => sequence);
    assert.deepEqual(acknowledged, [1, 2], "the others come again later");
    const step = session.receive(push(0, large), 6);
    assert.equal(step.data.length, 3);
  });

  test("passes empty segments without a word", () => {
    const session = new KcpSession(VPROXY, 0);
    assert.equal(session.receive(push(0, ""), 0).data.length, 0);
    assertBytes(session.receive(push(1, "a"), 0).data, Buffer.from("a"));
  });

  test("says how much may be written", () => {
    const session = new KcpSession({ ...VPROXY, maxQueuedBytes: 1000 }, 0);
    assert.equal(session.writableBytes, 1000);
    session.write(patternBytes(600), 0);
    assert.equal(session.unacknowledgedBytes, 600);
    assert.equal(session.writableBytes, 400);
    session.write(patternBytes(600), 0);
    assert.equal(session.writableBytes, 0);
    session.receive(ack(1, 2, 0), 1);
    assert.equal(session.writableBytes, 1000);
  });

  test("spreads a full window over time", () => {
    const session = new KcpSession(
      { ...VPROXY, limitsToDelivery: false, burstSegments: 50, segmentsPerMs: 10 },
      0,
    );
    session.receive(tell(1024), 0);
    let sent = session.write(patternBytes(1226 * 200), 0).datagrams.length;
    assert.equal(sent, 50);
    for (let now = 1; now <= 15; now++) {
      assert.equal(session.deadline, now);
      sent += session.tick(now).datagrams.length;
      assert.equal(sent, 50 + 10 * now);
    }
    assert.equal(session.deadline, 200, "now only the timeout is left");
  });

  test("measures the round trip", () => {
    const link = new KcpLink(VPROXY, { delayMs: 40 });
    link.write(link.left, HANDSHAKE);
    link.pass(200);
    assert.equal(link.left.session.roundTripMs, 85, "both ways and the wait of the other end");
    assert.equal(link.right.session.roundTripMs, undefined);
  });
});

interface Seen {
  readonly command: number;
  readonly sequence: number;
  readonly unacknowledged: number;
  readonly window: number;
}

function segmentsOf({ datagrams }: KcpStep): Seen[] {
  const reader = new SegmentReader({ conv: 0, skipsStrayBytes: false });
  const found: Seen[] = [];
  for (const datagram of datagrams) {
    reader.open(datagram);
    while (reader.next()) {
      const { command, sequence, unacknowledged, window } = reader;
      found.push({ command, sequence, unacknowledged, window });
    }
  }
  assert.equal(reader.malformed, 0);
  return found;
}

function only({ datagrams }: KcpStep): Uint8Array {
  assert.equal(datagrams.length, 1);
  return datagrams[0] ?? assert.fail();
}

interface Written {
  readonly command: number;
  readonly window?: number;
  readonly timestamp?: number;
  readonly sequence?: number;
  readonly unacknowledged?: number;
  readonly data?: string;
}

function segment(written: Written): Uint8Array {
  const { command, window = 1024, timestamp = 0, sequence = 0, unacknowledged = 0 } = written;
  const data = Buffer.from(written.data ?? "");
  const header = Buffer.alloc(24);
  header.writeUInt8(command, 4);
  header.writeUInt16LE(window, 6);
  header.writeUInt32LE(timestamp, 8);
  header.writeUInt32LE(sequence, 12);
  header.writeUInt32LE(unacknowledged, 16);
  header.writeUInt32LE(data.byteLength, 20);
  return Buffer.concat([header, data]);
}

function push(sequence: number, data: string): Uint8Array {
  return segment({ command: Command.push, sequence, data });
}

function ack(sequence: number, unacknowledged: number, timestamp: number): Uint8Array {
  return segment({ command: Command.ack, sequence, unacknowledged, timestamp });
}

function tell(window: number): Uint8Array {
  return segment({ command: Command.windowTell, window });
}
