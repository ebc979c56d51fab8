import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { type Fragment, fragmentsOf, isLast, readFragment, Reassembler } from "./fragments.ts";
import { encodeMessage } from "./handshake-messages.ts";

function fragment(bytes: Uint8Array): Fragment {
  const read = readFragment(bytes);
  assert.ok(read !== undefined);
  return read;
}

function whole(seq: number, body: Uint8Array, type = 11): Fragment {
  return fragment(encodeMessage({ type, seq, body }));
}

describe("handshake fragments", () => {
  test("are written with length, number, offset and length of the piece", () => {
    const message = { type: 11, seq: 2, body: hex("0102030405") };
    const pieces = [...fragmentsOf(message, 3)];
    assertBytes(pieces[0] ?? hex(""), hex("0b 000005 0002 000000 000003 010203"));
    assertBytes(pieces[1] ?? hex(""), hex("0b 000005 0002 000003 000002 0405"));
    assert.equal(pieces.length, 2);
    assertBytes(
      [...fragmentsOf({ ...message, body: hex("") }, 3)],
      hex("0b000000000200000000 0000"),
    );
    assert.deepEqual(
      pieces.map((piece) => isLast(fragment(piece))),
      [false, true],
    );
  });

  test("that reach beyond their message or the record are none", () => {
    for (const bytes of [
      "0b 000005 0002 000000 000006 010203040506",
      "0b 000005 0002 000003 000003 010203",
      "0b 000005 0002 000000 000005 01020304",
      "0b 000005 0002 000000 0000",
      "",
    ]) {
      assert.equal(readFragment(hex(bytes)), undefined);
    }
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void readFragment(bytes)));
  });

  test("make the message whatever their order, size, and overlap", () => {
    const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 5 });
    const cuts = fc.array(fc.integer({ min: 10, max: 100 }), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(bodies, cuts, fc.infiniteStream(fc.nat()), (made, sizes, order) => {
        const pieces = made.flatMap((body, seq) =>
          sizes.flatMap((size) => [...fragmentsOf({ type: 11, seq, body }, size)]),
        );
        const shuffled = pieces
          .map((piece) => ({ piece, key: order.next().value ?? 0 }))
          .toSorted((one, other) => one.key - other.key);
        const reassembler = new Reassembler(0);
        const messages: number[][] = [];
        for (const { piece } of shuffled) {
          reassembler.push(fragment(piece));
          for (;;) {
            const message = reassembler.take();
            if (message === undefined) break;
            assert.equal(message.seq, messages.length);
            messages.push([...message.body]);
          }
        }
        assert.deepEqual(
          messages,
          made.map((body) => [...body]),
        );
      }),
    );
  });
});

describe("reassembly", () => {
  test("knows what it has handed on", () => {
    const reassembler = new Reassembler(3);
    assert.equal(reassembler.push(whole(2, hex("00"))), "repeated");
    assert.equal(reassembler.push(whole(3, hex("00"))), "kept");
    assert.ok(reassembler.take() !== undefined);
    assert.equal(reassembler.push(whole(3, hex("00"))), "repeated");
    assert.equal(reassembler.nextSeq, 4);
  });

  test("keeps eight messages ahead, of 32 KiB each and 64 KiB in all", () => {
    const reassembler = new Reassembler(0);
    assert.equal(reassembler.push(whole(8, hex("00"))), "dropped");
    assert.equal(reassembler.push(whole(7, hex("00"))), "kept");
    assert.equal(reassembler.push(whole(1, new Uint8Array(32_769))), "dropped");
    assert.equal(reassembler.push(whole(1, new Uint8Array(32_768))), "kept");
    assert.equal(reassembler.push(whole(2, new Uint8Array(32_768))), "dropped");
    assert.equal(reassembler.push(whole(0, hex("00"))), "kept");
    assert.ok(reassembler.take() !== undefined);
    assert.ok(reassembler.take() !== undefined);
    assert.equal(reassembler.push(whole(2, new Uint8Array(32_768))), "kept");
  });

  test("begins anew when two pieces disagree, so that no forged one blocks it", () => {
    const reassembler = new Reassembler(0);
    const [first, second] = [...fragmentsOf({ type: 11, seq: 0, body: hex("01020304") }, 2)];
    assert.ok(first !== undefined && second !== undefined);
    reassembler.push(
      fragment([...fragmentsOf({ type: 11, seq: 0, body: hex("ffffff") }, 1)][0] ?? hex("")),
    );
    reassembler.push(fragment(first));
    reassembler.push(
      fragment([...fragmentsOf({ type: 2, seq: 0, body: hex("ffff") }, 1)][0] ?? hex("")),
    );
    reassembler.push(fragment(second));
    assert.equal(reassembler.take(), undefined);
    reassembler.push(fragment(first));
    assertBytes(reassembler.take()?.body ?? hex(""), hex("01020304"));
  });

  test("takes 64 holes and no more", () => {
    const reassembler = new Reassembler(0);
    const pieces = [...fragmentsOf({ type: 11, seq: 0, body: new Uint8Array(400) }, 1)];
    const became = pieces
      .filter((_, at) => at % 2 === 0)
      .map((piece) => reassembler.push(fragment(piece)));
    assert.equal(became.filter((one) => one === "kept").length, 64);
    for (const piece of pieces) reassembler.push(fragment(piece));
    assert.ok(reassembler.take() !== undefined);
  });
});
