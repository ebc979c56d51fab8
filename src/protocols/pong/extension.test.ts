import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { decodeExtension, encodeExtension, type Extension } from "./extension.ts";

/** The wire of every message two Sluice ends say on stream 0. */
const GOLDEN: readonly (readonly [Extension, string])[] = [
  [
    { kind: "hello", maxPayload: 65_528, initialWindow: 262_144 },
    "00 736c75696365 01 fff8 00040000",
  ],
  [{ kind: "ping", nonce: 0xdead_beef }, "01 deadbeef"],
  [{ kind: "pong", nonce: 1 }, "02 00000001"],
  [{ kind: "accepted", streamId: 0xffff_fffd }, "03 fffffffd"],
  [{ kind: "window", streamId: 3, increment: 131_072 }, "04 00000003 00020000"],
];

describe("pong extensions", () => {
  for (const [extension, wire] of GOLDEN) {
    test(`put ${extension.kind} on the wire and read it back`, () => {
      assertBytes(encodeExtension(extension), hex(wire));
      assert.deepEqual(decodeExtension(hex(wire)), extension);
    });

    test(`ignore bytes behind ${extension.kind}`, () => {
      assert.deepEqual(decodeExtension(hex(`${wire} 0102 ffff`)), extension);
    });

    test(`ignore a ${extension.kind} that is cut short`, () => {
      const whole = hex(wire);
      for (let cut = 0; cut < whole.byteLength; cut++) {
        assert.equal(decodeExtension(whole.subarray(0, cut)), undefined, `cut at ${cut}`);
      }
    });
  }

  test("survive a round trip with every value", () => {
    const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
    const any: fc.Arbitrary<Extension> = fc.oneof(
      fc.record({
        kind: fc.constant("hello" as const),
        maxPayload: fc.integer({ min: 0, max: 0xffff }),
        initialWindow: u32,
      }),
      fc.record({ kind: fc.constantFrom("ping" as const, "pong" as const), nonce: u32 }),
      fc.record({ kind: fc.constant("accepted" as const), streamId: u32 }),
      fc.record({ kind: fc.constant("window" as const), streamId: u32, increment: u32 }),
    );
    fc.assert(
      fc.property(any, fc.nat(20), (extension, offset) => {
        // As a view into a larger chunk, which is how frames come.
        const bytes = encodeExtension(extension);
        const slab = new Uint8Array(offset + bytes.byteLength + 3).fill(0xee);
        slab.set(bytes, offset);
        const view = slab.subarray(offset, offset + bytes.byteLength);
        assert.deepEqual(decodeExtension(view), { ...extension });
      }),
    );
  });

  test("ignore what they do not know", () => {
    const strangers = [
      "",
      "05 00000001",
      "ff",
      "00 736c75696365 02 fff8 00040000", // another version
      "00 736c75696366 01 fff8 00040000", // another program
    ];
    for (const text of strangers) assert.equal(decodeExtension(hex(text)), undefined, text);
  });

  test("never throw, whatever comes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), (bytes) => {
        const extension = decodeExtension(bytes);
        if (extension === undefined) return;
        const again = encodeExtension(extension);
        assertBytes(again, bytes.subarray(0, again.byteLength));
      }),
      { numRuns: 500 },
    );
  });
});
