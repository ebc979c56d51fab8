import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { DatagramWriter } from "./datagram-writer.ts";
import {
  Command,
  counterDifference,
  opensSession,
  type SegmentHeader,
  SegmentReader,
  writeHeader,
} from "./segment.ts";

// Captured: the server's first datagram, an ACK and a PUSH.
const GREETING = hex(`
  00000000 52 00 0004 f4f4c2f9 00000000 01000000 00000000
  00000000 51 00 0004 05f5c2f9 00000000 01000000 09000000 000000040000000000`);

interface Segment extends SegmentHeader {
  readonly data: Uint8Array;
}

describe("kcp segments", () => {
  test("reads the datagram of a real server", () => {
    const [ack, push, ...rest] = readAll(GREETING);
    assert.deepEqual(rest, []);
    assert.equal(ack?.command, Command.ack);
    assert.equal(ack.window, 1024);
    assert.equal(ack.timestamp, 0xf9c2f4f4);
    assert.equal(ack.unacknowledged, 1);
    assert.equal(push?.command, Command.push);
    assertBytes(push.data, hex("000000040000000000"));
  });

  test("writes it byte for byte", () => {
    const writer = new DatagramWriter(0, 1250);
    writer.announce(1024, 1);
    writer.add(Command.ack, 0xf9c2f4f4, 0, hex(""));
    writer.add(Command.push, 0xf9c2f505, 0, hex("000000040000000000"));
    assertBytes(writer.take(), [GREETING]);
  });

  test("reads back every header it writes", () => {
    fc.assert(
      fc.property(segment(), (header) => {
        const bytes = new Uint8Array(24 + header.length);
        writeHeader(bytes, 0, header);
        const reader = new SegmentReader({ conv: header.conv, skipsStrayBytes: false });
        reader.open(bytes);
        assert.ok(reader.next());
        assert.deepEqual(pick(reader), { ...header });
        assert.ok(!reader.next());
        assert.equal(reader.malformed, 0);
      }),
    );
  });

  test("keeps what came before a malformed part, and counts it", () => {
    const bad = {
      "another conversation": hex(`01000000 51 00 0004 ${"00".repeat(16)}`),
      "an unknown command": hex(`00000000 55 00 0004 ${"00".repeat(16)}`),
      "a command below": hex(`00000000 50 00 0004 ${"00".repeat(16)}`),
      "a length beyond the end": hex(`00000000 51 00 0004 ${"00".repeat(12)} 64000000 616263`),
      "a length beyond 31 bits": hex(`00000000 51 00 0004 ${"00".repeat(12)} ffffffff 616263`),
    };
    for (const [what, bytes] of Object.entries(bad)) {
      assert.deepEqual(readCounted(bytes), { segments: 0, malformed: 1 }, what);
      const behind = Buffer.concat([GREETING, bytes, GREETING]);
      assert.deepEqual(readCounted(behind), { segments: 2, malformed: 1 }, what);
    }
    for (const short of ["", "00", "68656c6c6f3f", "00".repeat(23)]) {
      assert.deepEqual(readCounted(hex(short)), { segments: 0, malformed: 1 });
    }
  });

  test("tolerates fewer trailing bytes than a header", () => {
    for (let count = 0; count < 24; count++) {
      const bytes = Buffer.concat([GREETING, new Uint8Array(count).fill(0xee)]);
      assert.deepEqual(readCounted(bytes), { segments: 2, malformed: 0 });
    }
  });

  test("reads garbage without failing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, skipsStrayBytes) => {
        readCounted(bytes, skipsStrayBytes);
        readCounted(Buffer.concat([GREETING, bytes]), skipsStrayBytes);
      }),
    );
  });

  test("skips stray bytes behind a PUSH where told to", () => {
    const head = GREETING.subarray(24);
    for (const stray of [new Uint8Array(9), hex("000000040000000000"), hex("ffffffffffffffffff")]) {
      const twice = Buffer.concat([head, stray, head, stray]);
      assert.deepEqual(readCounted(twice, true), { segments: 2, malformed: 0 });
      assert.deepEqual(readCounted(Buffer.concat([twice, GREETING]), true), {
        segments: 4,
        malformed: 0,
      });
      assert.deepEqual(readCounted(twice, false), { segments: 1, malformed: 1 });
    }
    const long = new Uint8Array(24 + 2 * 300);
    writeHeader(long, 0, { ...FIRST_PUSH, length: 300 });
    assert.deepEqual(readCounted(long, true), { segments: 1, malformed: 0 });
    const normal = Buffer.concat([head, GREETING]);
    assert.deepEqual(readCounted(normal, true), { segments: 3, malformed: 0 });
    assert.deepEqual(readCounted(Buffer.concat([head, new Uint8Array(60)]), true), {
      segments: 1,
      malformed: 1,
    });
  });

  test("tells a first datagram from noise", () => {
    const rule = { conv: 0, window: 32 };
    const open = GREETING.slice(24);
    open[16] = 0; // acknowledges nothing: nothing was sent yet
    assert.ok(opensSession(open, rule));
    assert.ok(!opensSession(GREETING, rule), "an acknowledgement of what we never sent");
    assert.ok(!opensSession(GREETING.subarray(24), rule), "una 1");
    assert.ok(!opensSession(open.subarray(0, 30), rule), "cut");
    assert.ok(!opensSession(open, { conv: 1, window: 32 }), "another conversation");
    assert.ok(!opensSession(open, { conv: 0, window: 0 }), "far ahead");
    assert.ok(!opensSession(hex("00"), rule));
  });

  test("counts across the wrap", () => {
    assert.equal(counterDifference(0, 0xffffffff), 1);
    assert.equal(counterDifference(0xfffffff0, 0x10), -32);
    assert.equal(counterDifference(5, 5), 0);
  });
});

describe("datagram writer", () => {
  test("fills datagrams up to the mtu and never beyond", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(76), { maxLength: 50 }), (lengths) => {
        const writer = new DatagramWriter(7, 100);
        lengths.forEach((length, index) =>
          writer.add(Command.push, 0, index, new Uint8Array(length)),
        );
        const datagrams = writer.take();
        const read = datagrams.map((datagram) => readAll(datagram, 7));
        assert.deepEqual(
          read.flat().map((found) => found.length),
          lengths,
        );
        datagrams.forEach((datagram, index) => {
          assert.ok(datagram.byteLength <= 100);
          const following = read[index + 1]?.[0];
          if (following === undefined) return;
          assert.ok(datagram.byteLength + 24 + following.length > 100, "it would have fitted");
        });
        assert.equal(writer.take().length, 0);
      }),
    );
  });
});

function segment(): fc.Arbitrary<SegmentHeader> {
  const u32 = fc.integer({ min: 0, max: 0xffffffff });
  return fc.record(
    {
      conv: u32,
      command: fc.constantFrom(...Object.values(Command)),
      fragment: fc.nat(255),
      window: fc.nat(0xffff),
      timestamp: u32,
      sequence: u32,
      unacknowledged: u32,
      length: fc.nat(50),
    },
    { noNullPrototype: true },
  );
}

function readAll(datagram: Uint8Array, conv = 0): Segment[] {
  const reader = new SegmentReader({ conv, skipsStrayBytes: false });
  const segments: Segment[] = [];
  reader.open(datagram);
  while (reader.next()) segments.push({ ...pick(reader), data: reader.payload() });
  return segments;
}

function readCounted(
  datagram: Uint8Array,
  skipsStrayBytes = false,
): { segments: number; malformed: number } {
  const reader = new SegmentReader({ conv: 0, skipsStrayBytes });
  reader.open(datagram);
  let segments = 0;
  while (reader.next()) {
    segments++;
    assert.equal(reader.payload().byteLength, reader.length);
  }
  assert.ok(!reader.next(), "once over, always over");
  return { segments, malformed: reader.malformed };
}

function pick(header: SegmentHeader): SegmentHeader {
  const { conv, command, fragment, window, timestamp, sequence, unacknowledged, length } = header;
  return { conv, command, fragment, window, timestamp, sequence, unacknowledged, length };
}

const FIRST_PUSH: SegmentHeader = {
  conv: 0,
  command: Command.push,
  fragment: 0,
  window: 1024,
  timestamp: 0,
  sequence: 0,
  unacknowledged: 0,
  length: 0,
};
