import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { ContentType, decodeRecords, encodeRecord } from "./records.ts";
import { ReplayWindow } from "./replay-window.ts";

const record = fc.record({
  type: fc.nat(255),
  epoch: fc.nat(65_535),
  seq: fc.nat(2 ** 48 - 1),
  payload: fc.uint8Array({ maxLength: 60 }),
});

describe("DTLS records", () => {
  test("are written as type, version, epoch, number and length", () => {
    assertBytes(
      encodeRecord(ContentType.alert, 1, 0x0102_0304_0506, hex("0100")),
      hex("15 fefd 0001 010203040506 0002 0100"),
    );
  });

  test("are read back, several from one datagram", () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 4 }), (records) => {
        const datagram = Buffer.concat(
          records.map(({ type, epoch, seq, payload }) => encodeRecord(type, epoch, seq, payload)),
        );
        const read = decodeRecords(datagram);
        assert.equal(read.isMalformed, false);
        assert.deepEqual(
          read.records.map((one) => ({ ...one, payload: [...one.payload] })),
          records.map((one) => ({ ...one, payload: [...one.payload] })),
        );
      }),
    );
  });

  test("come with version fe ff as well, and with no other", () => {
    assert.equal(decodeRecords(hex("16 feff 0000 000000000001 0001 00")).records.length, 1);
    for (const version of ["fefe", "fefc", "0303", "fffd"]) {
      const read = decodeRecords(hex(`16 ${version} 0000 000000000001 0001 00`));
      assert.deepEqual([read.records.length, read.isMalformed], [0, true]);
    }
  });

  test("before a cut one count, it does not", () => {
    const whole = encodeRecord(22, 0, 1, hex("0102"));
    for (let cut = 1; cut < whole.byteLength; cut += 1) {
      const read = decodeRecords(Buffer.concat([whole, whole.subarray(0, cut)]));
      assert.deepEqual([read.records.length, read.isMalformed], [1, true]);
    }
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void decodeRecords(bytes)));
  });
});

describe("replay window", () => {
  test("takes each number once, of the latest 64", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(200)), (numbers) => {
        const window = new ReplayWindow();
        const taken = new Set<number>();
        for (const seq of numbers) {
          const latest = Math.max(-1, ...taken);
          assert.equal(window.isFresh(seq), seq > latest - 64 && !taken.has(seq));
          if (!window.isFresh(seq)) continue;
          window.mark(seq);
          taken.add(seq);
        }
      }),
    );
  });

  test("counts beyond 32 bits", () => {
    const window = new ReplayWindow();
    window.mark(2 ** 47);
    assert.equal(window.isFresh(2 ** 47), false);
    assert.equal(window.isFresh(2 ** 47 - 63), true);
    assert.equal(window.isFresh(2 ** 47 - 64), false);
    assert.equal(window.isFresh(2 ** 47 + 1), true);
  });
});
