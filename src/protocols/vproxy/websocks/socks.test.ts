import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks, singleBytes } from "../../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../../test/support/hex.ts";
import { ByteReader, type Parser } from "../../../bytes/byte-reader.ts";
import { type ErrorCode, StreamReset, TunnelError } from "../../../errors.ts";
import {
  encodeConnect,
  encodeReply,
  GREETING,
  METHOD_NONE,
  METHOD_NONE_ACCEPTABLE,
  readAnswers,
  readConnect,
  readGreeting,
  RefusedConnect,
  replyOf,
} from "./socks.ts";

describe("the SOCKS5 inside WebSocks", () => {
  test("writes what the original writes", () => {
    assertBytes(GREETING, hex("05 01 00"));
    assertBytes(METHOD_NONE, hex("05 00"));
    assertBytes(METHOD_NONE_ACCEPTABLE, hex("05 ff"));
    assertBytes(
      encodeConnect({ host: "127.0.0.1", port: 20_080 }),
      hex("05 01 00 01 7f 00 00 01 4e 70"),
    );
    assertBytes(
      encodeConnect({ host: "localhost", port: 28_043 }),
      hex("05 01 00 03 09 6c6f63616c686f7374 6d8b"),
    );
    assertBytes(encodeReply(0x00, 20_080), hex("05 00 00 01 00 00 00 00 4e 70"));
  });

  test("reads any request from any chunking", () => {
    const host = fc.oneof(fc.ipV4(), fc.domain(), fc.constantFrom("::1", "2001:db8::5:0:1"));
    fc.assert(
      fc.property(host, fc.nat(65_535), fc.infiniteStream(fc.nat(9)), (name, port, sizes) => {
        const wire = encodeConnect({ host: name, port });
        assert.deepEqual(parse(readConnect, ...randomChunks(wire, sizes)), { host: name, port });
      }),
    );
  });

  test("says which greetings it can do without authentication", () => {
    for (const [wire, isRight] of [
      ["05 01 00", true],
      ["05 03 02 01 00", true],
      ["05 01 02", false],
      ["05 00", false],
      ["04 01 00", false],
      ["47 45 54", false],
    ] as const) {
      assert.equal(parse(readGreeting, hex(wire)), isRight, wire);
    }
  });

  test("refuses requests with the reply and the port of the original", () => {
    for (const [wire, reply] of [
      ["05 02 00 01 7f 00 00 01 00 50", "05 07 00 01 00 00 00 00 00 00"],
      ["05 03 00 01 7f 00 00 01 00 50", "05 07 00 01 00 00 00 00 00 00"],
      ["05 01 00 02 7f 00 00 01 00 50", "05 08 00 01 00 00 00 00 00 00"],
      ["05 01 00 03 00 00 50", "05 02 00 01 00 00 00 00 00 50"],
      ["05 01 00 03 02 61 20 00 50", "05 02 00 01 00 00 00 00 00 50"],
      ["04 01 00 01 7f 00 00 01 00 50", "05 01 00 01 00 00 00 00 00 00"],
    ] as const) {
      const error = thrownBy(() => parse(readConnect, hex(wire)));
      assert.ok(error instanceof RefusedConnect, wire);
      assertBytes(encodeReply(replyOf(error.code), error.port), hex(reply), wire);
    }
  });

  test("answers every failure with the code of the table", () => {
    const expected: Partial<Record<ErrorCode, number>> = {
      ERR_DIAL_NETWORK_UNREACHABLE: 3,
      ERR_DIAL_HOST_UNREACHABLE: 4,
      ERR_DIAL_REFUSED: 5,
      ERR_DIAL_TIMEOUT: 6,
      ERR_DNS: 2,
      ERR_POLICY_DENIED: 2,
      ERR_ROUTE_BLOCKED: 2,
      ERR_COMMAND_UNSUPPORTED: 7,
      ERR_ADDRESS_UNSUPPORTED: 8,
      ERR_SHUTDOWN: 1,
      ERR_TUNNEL_DOWN: 3,
    };
    for (const [code, reply] of Object.entries(expected)) {
      assert.equal(replyOf(code as ErrorCode), reply, code);
    }
  });

  test("reads answers in one piece or in many, of every address type, and leaves what follows", () => {
    for (const reply of [
      "05 00 00 01 00 00 00 00 6d 8b",
      "05 00 00 03 03 61 62 63 6d 8b",
      "05 00 00 04 00000000000000000000000000000000 6d 8b",
    ]) {
      const wire = Buffer.concat([METHOD_NONE, hex(reply)]);
      for (const chunks of [[wire], [...singleBytes(wire)]]) {
        const reader = new ByteReader();
        const parser = readAnswers(reader, "host");
        for (const chunk of chunks) {
          assert.ok(parser.next().done === false);
          reader.push(chunk);
        }
        reader.push(hex("16 03"));
        assert.ok(parser.next().done === true);
        assertBytes(reader.rest(), hex("16 03"));
      }
    }
  });

  test("tells the reasons of the server apart", () => {
    const wire = (reply: number): Uint8Array =>
      Buffer.concat([METHOD_NONE, encodeReply(reply, 80)]);
    for (const [reply, host, code] of [
      [1, "name", "ERR_DIAL_FAILED"],
      [2, "name", "ERR_DNS"],
      [2, "192.0.2.1", "ERR_POLICY_DENIED"],
      [3, "name", "ERR_DIAL_NETWORK_UNREACHABLE"],
      [4, "name", "ERR_DIAL_HOST_UNREACHABLE"],
      [5, "name", "ERR_DIAL_REFUSED"],
      [6, "name", "ERR_DIAL_TIMEOUT"],
      [7, "name", "ERR_COMMAND_UNSUPPORTED"],
      [8, "name", "ERR_ADDRESS_UNSUPPORTED"],
      [99, "name", "ERR_STREAM_RESET"],
    ] as const) {
      const error = thrownBy(() => parse((reader) => readAnswers(reader, host), wire(reply)));
      assert.ok(error instanceof StreamReset);
      assert.equal(error.code, code);
      assert.equal(error.wireCode, reply);
    }
  });

  test("refuses answers that are none", () => {
    for (const wire of [
      "05 ff",
      "05 02",
      "04 00",
      "05 00 04 00 00",
      "05 00 05 00 00 09 00",
      "05",
    ]) {
      const error = thrownBy(() => parse((reader) => readAnswers(reader, "name"), hex(wire)));
      assert.equal(error instanceof TunnelError ? error.code : "", "ERR_PROTOCOL", wire);
    }
  });

  test("yields only our errors on garbage", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(2), (bytes, which) => {
        const parsers: ((reader: ByteReader) => Parser<unknown>)[] = [
          readGreeting,
          readConnect,
          (reader) => readAnswers(reader, "name"),
        ];
        try {
          parse(parsers[which] ?? assert.fail(), bytes);
        } catch (thrown) {
          assert.ok(thrown instanceof TunnelError, String(thrown));
        }
      }),
    );
  });
});

/** Everything in chunks, then the end. */
function parse<Result>(
  read: (reader: ByteReader) => Parser<Result>,
  ...chunks: readonly Uint8Array[]
): Result {
  const reader = new ByteReader();
  const parser = read(reader);
  for (const chunk of chunks) {
    reader.push(chunk);
    const step = parser.next();
    if (step.done) return step.value;
  }
  reader.end();
  const step = parser.next();
  assert.ok(step.done, "a parser ends with its input");
  return step.value;
}

function thrownBy(act: () => unknown): unknown {
  try {
    act();
  } catch (thrown) {
    return thrown;
  }
  return assert.fail("nothing was thrown");
}
