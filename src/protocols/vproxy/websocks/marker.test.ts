import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks } from "../../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../../test/support/hex.ts";
import { ByteReader, type Parser } from "../../../bytes/byte-reader.ts";
import { MARKER, PONG, readMarker, readWaiting } from "./marker.ts";

const OTHER_MARKERS = ["82 7f 00 00 00 00 00 00 00 03", "41 41 41 41 41 41 41 41 41 41"];

describe("the marker of WebSocks", () => {
  test("is ten bytes, the PONG two", () => {
    assertBytes(MARKER, hex("82 7f 7f ff ff ff ff ff ff ff"));
    assertBytes(PONG, hex("8a 00"));
  });

  test("is read behind any PONGs, whatever it holds and however it is cut", () => {
    const marker = fc.constantFrom(MARKER, ...OTHER_MARKERS.map(hex));
    const pong = fc.constantFrom(PONG, hex("8a 05"), hex("0a ff"), hex("8a 82"));
    fc.assert(
      fc.property(marker, fc.array(pong), fc.infiniteStream(fc.nat(4)), (one, pongs, sizes) => {
        const reader = new ByteReader();
        const parser = readMarker(reader);
        const wire = Buffer.concat([...pongs, one]);
        let isDone = false;
        for (const chunk of randomChunks(wire, sizes)) {
          assert.ok(!isDone);
          reader.push(chunk);
          isDone = parser.next().done === true;
        }
        assert.ok(isDone);
        assert.equal(reader.length, 0);
      }),
    );
  });

  test("leaves what follows", () => {
    const reader = new ByteReader();
    reader.push(Buffer.concat([PONG, MARKER, hex("05 01 00")]));
    finish(readMarker(reader));
    assertBytes(reader.rest(), hex("05 01 00"));
  });

  test("is left in place by who only waits for it", () => {
    const reader = new ByteReader();
    reader.push(Buffer.concat([PONG, PONG]));
    assert.equal(finish(readWaiting(reader)), "pong");
    assert.equal(reader.length, 0);
    reader.push(Buffer.concat([PONG, MARKER]));
    assert.equal(finish(readWaiting(reader)), "marker");
    assert.equal(reader.length, MARKER.byteLength);
    assert.equal(finish(readWaiting(reader)), "marker");
  });

  test("is missed when the stream ends before", () => {
    for (const before of ["", "8a", "8a 00", "82 7f", "8a 00 8a"]) {
      const reader = new ByteReader();
      reader.push(hex(before));
      reader.end();
      assert.throws(() => finish(readMarker(reader)), { code: "ERR_PROTOCOL" }, before);
    }
  });
});

function finish<Result>(parser: Parser<Result>): Result {
  const step = parser.next();
  assert.ok(step.done === true);
  return step.value;
}
