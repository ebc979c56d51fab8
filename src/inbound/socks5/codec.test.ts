import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks, singleBytes } from "../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { encodeSocksAddress } from "../../address/socks-address.ts";
import { ByteReader, type Parser } from "../../bytes/byte-reader.ts";
import { TunnelError } from "../../errors.ts";
import {
  encodeAuthStatus,
  encodeMethod,
  encodeReply,
  Method,
  readCredentials,
  readGreeting,
  readRequest,
  Reply,
} from "./codec.ts";

// Bytes by hand from RFC 1928 and RFC 1929; those of the greeting and the requests are what curl
// 7.88 sends with --socks5 and --socks5-hostname.
const GREETING = "05 03 00 01 02";
const CREDENTIALS = "01 05 616c696365 06 736563726574";
const REQUESTS = {
  "05 01 00 01 7f000001 0050": { command: 1, host: "127.0.0.1", port: 80 },
  "05 01 00 03 0b 6578616d706c652e636f6d 01bb": { command: 1, host: "example.com", port: 443 },
  "05 01 00 04 20010db8000000000000000000000001 1f90": {
    command: 1,
    host: "2001:db8::1",
    port: 8080,
  },
  "05 02 00 01 00000000 0000": { command: 2, host: "0.0.0.0", port: 0 },
  "05 03 ff 01 00000000 ffff": { command: 3, host: "0.0.0.0", port: 65_535 },
  "05 77 00 03 01 61 0001": { command: 0x77, host: "a", port: 1 },
};

describe("socks5 codec", () => {
  test("reads a greeting", () => {
    assert.deepEqual(parse(readGreeting, hex(GREETING)), { methods: [0, 1, 2] });
  });

  test("reads credentials, empty ones too", () => {
    const credentials = parse(readCredentials, hex(CREDENTIALS));
    assert.deepEqual(credentials, { user: "alice", password: "secret" });
    assert.deepEqual(parse(readCredentials, hex("01 00 00")), { user: "", password: "" });
    const unicode = parse(readCredentials, hex("01 02 c3a9 00"));
    assert.equal(unicode.user, "é");
  });

  test("reads requests for every kind of address", () => {
    for (const [wire, request] of Object.entries(REQUESTS)) {
      assert.deepEqual(parse(readRequest, hex(wire)), request);
    }
  });

  test("reads them from single bytes, and leaves what comes behind", () => {
    for (const wire of Object.keys(REQUESTS)) {
      const reader = new ByteReader();
      const parser = readRequest(reader);
      const bytes = hex(wire);
      for (const [at, byte] of [...singleBytes(bytes)].entries()) {
        assert.equal(parser.next().done, false, `done after ${at} bytes`);
        reader.push(byte);
      }
      reader.push(hex("16 03 01"));
      assert.equal(parser.next().done, true);
      assertBytes(reader.rest(), hex("16 03 01"));
    }
  });

  test("reads any address from any chunking", () => {
    const host = fc.oneof(fc.ipV4(), fc.domain(), fc.constantFrom("::1", "2001:db8::5:0:1"));
    fc.assert(
      fc.property(host, fc.nat(65_535), fc.infiniteStream(fc.nat(9)), (name, port, sizes) => {
        const wire = Buffer.concat([hex("05 01 00"), encodeSocksAddress({ host: name, port })]);
        const request = parse(readRequest, ...randomChunks(wire, sizes));
        assert.deepEqual(request, { command: 1, host: name, port });
      }),
    );
  });

  test("says how much is missing when any message is cut", () => {
    for (const [read, wires] of [
      [readGreeting, [GREETING]],
      [readCredentials, [CREDENTIALS]],
      [readRequest, Object.keys(REQUESTS)],
    ] as const) {
      for (const wire of wires) {
        const bytes = hex(wire);
        for (let length = 1; length < bytes.byteLength; length++) {
          assert.throws(() => parse<unknown>(read, bytes.subarray(0, length)), {
            name: /ProtocolError|TunnelError/,
          });
        }
      }
    }
    assert.throws(() => parse(readGreeting), { code: "ERR_ABORTED" });
  });

  test("rejects what is malformed, by its reason", () => {
    assert.throws(() => parse(readGreeting, hex("47 45")), { message: "version 71 is not 5" });
    assert.throws(() => parse(readGreeting, hex("05 00")), { code: "ERR_PROTOCOL" });
    assert.throws(() => parse(readCredentials, hex("05 00")), { message: "version 5 is not 1" });
    assert.throws(() => parse(readRequest, hex("04 01")), { code: "ERR_PROTOCOL" });
    assert.throws(() => parse(readRequest, hex("05 01 00 03 00 0050")), { code: "ERR_PROTOCOL" });
    assert.throws(() => parse(readRequest, hex("05 01 00 03 02 6100 0050")), {
      code: "ERR_PROTOCOL",
    });
    for (const type of [0, 2, 5, 255]) {
      const wire = Uint8Array.of(5, 1, 0, type, 0, 0, 0);
      assert.throws(() => parse(readRequest, wire), { code: "ERR_ADDRESS_UNSUPPORTED" });
    }
  });

  test("yields only our errors on garbage", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(2), (bytes, which) => {
        const read = [readGreeting, readCredentials, readRequest][which] ?? assert.fail();
        try {
          parse<unknown>(read, bytes);
        } catch (thrown) {
          assert.ok(thrown instanceof TunnelError, String(thrown));
        }
      }),
    );
  });

  test("writes every answer", () => {
    assertBytes(encodeMethod(Method.none), hex("05 00"));
    assertBytes(encodeMethod(Method.userPassword), hex("05 02"));
    assertBytes(encodeMethod(Method.noneAcceptable), hex("05 ff"));
    assertBytes(encodeAuthStatus(true), hex("01 00"));
    assertBytes(encodeAuthStatus(false), hex("01 01"));
    assertBytes(encodeReply(Reply.succeeded), hex("05 00 00 01 00000000 0000"));
    for (const reply of Object.values(Reply)) {
      assertBytes(encodeReply(reply), Uint8Array.of(5, reply, 0, 1, 0, 0, 0, 0, 0, 0));
    }
    const bound = { host: "::1", port: 1080 };
    assertBytes(
      encodeReply(Reply.succeeded, bound),
      hex("05 00 00 04 00000000000000000000000000000001 0438"),
    );
  });
});

/** Everything at once or in chunks, then the end. */
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
