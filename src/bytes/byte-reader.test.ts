import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks, singleBytes } from "../../test/support/chunks.ts";
import { assertBytes, hex } from "../../test/support/hex.ts";
import { ProtocolError } from "../errors.ts";
import { ByteReader, type Parser } from "./byte-reader.ts";

describe("byte reader", () => {
  test("reads the same from any chunking", () => {
    const fields = fc.array(fc.uint8Array({ maxLength: 40 }));
    fc.assert(
      fc.property(fields, fc.infiniteStream(fc.nat(20)), (written, sizes) => {
        const wire = Buffer.concat(
          written.flatMap((field) => [[field.byteLength], field]).map(raw),
        );
        for (const chunks of [randomChunks(wire, sizes), singleBytes(wire)]) {
          const reader = new ByteReader();
          const read = feed(reader, lengthPrefixed(reader, written.length), chunks);
          assert.deepEqual(read?.map(plain), written.map(plain));
          assert.equal(reader.length, 0);
        }
      }),
    );
  });

  test("waits for missing bytes without taking any", () => {
    const reader = new ByteReader();
    const parser = reader.read(3);
    reader.push(hex("01 02"));
    assert.equal(parser.next().done, false);
    assert.equal(reader.length, 2);
    reader.push(hex("03 04"));
    assertBytes(finished(parser), hex("01 02 03"));
    assert.equal(reader.length, 1);
  });

  test("peeks without taking, and sees what there is when the stream ended", () => {
    const reader = new ByteReader();
    const parser = reader.peek(3);
    reader.push(hex("01"));
    assert.equal(parser.next().done, false);
    reader.push(hex("02"));
    assert.equal(parser.next().done, false);
    reader.end();
    assertBytes(finished(parser), hex("01 02"));
    assert.equal(reader.length, 2);
    assertBytes(finished(reader.peek(1)), hex("01"));
  });

  test("reads up to a delimiter and takes it too", () => {
    const reader = new ByteReader();
    reader.push(Buffer.from("us"));
    const parser = reader.readUntil(0, 4);
    assert.equal(parser.next().done, false);
    reader.push(Buffer.from("er\0rest"));
    assert.equal(Buffer.from(finished(parser)).toString(), "user");
    assert.equal(Buffer.from(reader.rest()).toString(), "rest");
    assert.equal(reader.length, 0);
  });

  test("reads an empty field", () => {
    const reader = new ByteReader();
    reader.push(hex("00"));
    assertBytes(finished(reader.readUntil(0, 4)), new Uint8Array(0));
    assertBytes(finished(reader.read(0)), new Uint8Array(0));
  });

  test("refuses a field above its limit as soon as that shows", () => {
    for (const text of ["12345", "12345\0"]) {
      const reader = new ByteReader();
      reader.push(Buffer.from(text));
      assert.throws(() => reader.readUntil(0, 4).next(), {
        name: "ProtocolError",
        message: "field exceeds 4 bytes",
      });
    }
  });

  test("fails a read that can no longer be served", () => {
    const reader = new ByteReader();
    const [read, until] = [reader.read(3), reader.readUntil(0, 10)];
    reader.push(hex("01"));
    read.next();
    until.next();
    reader.end();
    assert.throws(() => read.next(), { message: "ended after 1 of 3 bytes" });
    assert.throws(
      () => until.next(),
      (error) => error instanceof ProtocolError,
    );
    assertBytes(finished(reader.read(1)), hex("01"));
  });

  test("never throws anything but a protocol error on a cut stream", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(5), (bytes, count) => {
        const reader = new ByteReader();
        const parser = lengthPrefixed(reader, count);
        try {
          feed(reader, parser, singleBytes(bytes));
          reader.end();
          parser.next();
        } catch (error) {
          assert.ok(error instanceof ProtocolError);
        }
      }),
    );
  });
});

function* lengthPrefixed(reader: ByteReader, count: number): Parser<Uint8Array[]> {
  const fields: Uint8Array[] = [];
  while (fields.length < count) fields.push(yield* reader.read(yield* reader.readByte()));
  return fields;
}

function feed<Result>(
  reader: ByteReader,
  parser: Parser<Result>,
  chunks: Iterable<Uint8Array>,
): Result | undefined {
  let step = parser.next();
  for (const chunk of chunks) {
    reader.push(chunk);
    if (step.done !== true) step = parser.next();
  }
  return step.done === true ? step.value : undefined;
}

function finished<Result>(parser: Parser<Result>): Result {
  const step = parser.next();
  assert.ok(step.done === true, "the parser still waits");
  return step.value;
}

function raw(part: Uint8Array | readonly number[]): Uint8Array {
  return Uint8Array.from(part);
}

function plain(bytes: Uint8Array): number[] {
  return [...bytes];
}
