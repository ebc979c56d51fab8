import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { hex } from "../../test/support/hex.ts";
import {
  bitString,
  der,
  objectIdentifier,
  readDer,
  sequence,
  Tag,
  text,
  time,
  unsignedInteger,
} from "./der.ts";

describe("DER", () => {
  test("writes what certificates are made of", () => {
    const table: readonly (readonly [Uint8Array, string])[] = [
      [unsignedInteger(hex("00")), "02 01 00"],
      [unsignedInteger(hex("0000 7f")), "02 01 7f"],
      [unsignedInteger(hex("0080")), "02 02 0080"],
      [unsignedInteger(hex("")), "02 01 00"],
      [objectIdentifier("1.2.840.10045.4.3.2"), "06 08 2a8648ce3d040302"],
      [objectIdentifier("2.5.29.15"), "06 03 551d0f"],
      [bitString(hex("06"), 1), "03 02 01 06"],
      [text("GoDoxy"), "13 06 476f446f7879"],
      [text("*.a"), "0c 03 2a2e61"],
      [time(new Date("2049-12-31T23:59:59.999Z")), "17 0d 3439313233313233353935395a"],
      [time(new Date("2050-01-01T00:00:00Z")), "18 0f 32303530303130313030303030305a"],
      [time(new Date("1949-01-01T00:00:00Z")), "18 0f 31393439303130313030303030305a"],
      [sequence(), "30 00"],
      [der(Tag.octetString, new Uint8Array(128)).subarray(0, 3), "04 81 80"],
      [der(Tag.octetString, new Uint8Array(256)).subarray(0, 4), "04 82 0100"],
    ];
    for (const [actual, expected] of table)
      assert.deepEqual(Uint8Array.from(actual), hex(expected));
  });

  test("reads what it wrote", () => {
    const element = fc.tuple(fc.integer({ min: 1, max: 255 }), fc.uint8Array({ maxLength: 700 }));
    fc.assert(
      fc.property(fc.array(element, { maxLength: 5 }), (elements) => {
        const wire = Buffer.concat(elements.map(([tag, content]) => der(tag, content)));
        const read = readDer(wire);
        assert.deepEqual(
          read.map(({ tag, content }) => [tag, Uint8Array.from(content)]),
          elements.map(([tag, content]) => [tag, Uint8Array.from(content)]),
        );
        assert.deepEqual(Buffer.concat(read.map(({ whole }) => whole)), wire);
      }),
    );
  });

  test("refuses what is cut short or too long, and loops on nothing", () => {
    for (const bad of [
      "30",
      "30 01",
      "30 80 00 00",
      "04 84 00000001 00",
      "04 82 01",
      "04 81 80 00",
    ]) {
      assert.throws(() => readDer(hex(bad)), RangeError, bad);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          readDer(bytes);
        } catch (thrown) {
          assert.ok(thrown instanceof RangeError);
        }
      }),
    );
  });
});
