import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks, singleBytes } from "../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { ByteReader } from "../../bytes/byte-reader.ts";
import { TunnelError } from "../../errors.ts";
import { encodeReply, readRequest, Reply, type Socks4Request } from "./codec.ts";

// By hand from the SOCKS 4 and 4a descriptions; the first and third are what curl 7.88 sends with
// --socks4 and --socks4a.
const REQUESTS = {
  "04 01 0050 7f000001 00": { command: 1, host: "127.0.0.1", port: 80, userId: "" },
  "04 02 ffff 00000000 626f6200": { command: 2, host: "0.0.0.0", port: 65_535, userId: "bob" },
  "04 01 01bb 00000001 00 6578616d706c652e636f6d00": {
    command: 1,
    host: "example.com",
    port: 443,
    userId: "",
  },
  "04 01 0016 000000ff 6100 6200": { command: 1, host: "b", port: 22, userId: "a" },
};

describe("socks4 codec", () => {
  test("reads requests with addresses and names", () => {
    for (const [wire, request] of Object.entries(REQUESTS)) {
      assert.deepEqual(parse(hex(wire)), request);
    }
  });

  test("reads them from any chunking, and leaves what comes behind", () => {
    for (const [wire, request] of Object.entries(REQUESTS)) {
      assert.deepEqual(parse(...singleBytes(hex(wire))), request);
      const sizes = fc.infiniteStream(fc.nat(9));
      fc.assert(
        fc.property(sizes, (drawn) => {
          assert.deepEqual(parse(...randomChunks(hex(wire), drawn)), request);
        }),
        { numRuns: 20 },
      );
    }
    const reader = new ByteReader();
    reader.push(hex("04 01 0050 7f000001 00 474554"));
    assert.equal(readRequest(reader).next().done, true);
    assertBytes(reader.rest(), hex("474554"));
  });

  test("says that a request is cut short, wherever it is cut", () => {
    for (const wire of Object.keys(REQUESTS)) {
      const bytes = hex(wire);
      for (let length = 1; length < bytes.byteLength; length++) {
        assert.throws(() => parse(bytes.subarray(0, length)), { code: "ERR_PROTOCOL" });
      }
    }
    assert.throws(() => parse(), { code: "ERR_ABORTED" });
  });

  test("rejects what is malformed or endless", () => {
    assert.throws(() => parse(hex("05 01 00 01")), { message: "version 5 is not 4" });
    const endless = Buffer.concat([hex("04 01 0050 7f000001"), Buffer.alloc(257, "u")]);
    assert.throws(() => parse(endless), { message: "field exceeds 255 bytes" });
    assert.throws(() => parse(hex("04 01 0050 00000001 00 00")), { code: "ERR_PROTOCOL" });
    assert.throws(() => parse(hex("04 01 0050 00000001 00 612000")), { code: "ERR_PROTOCOL" });
  });

  test("yields only our errors on garbage", () => {
    const anything = fc.uint8Array({ maxLength: 600 });
    fc.assert(
      fc.property(anything, fc.boolean(), (bytes, isFour) => {
        if (isFour && bytes.byteLength > 0) bytes[0] = 4;
        try {
          parse(bytes);
        } catch (thrown) {
          assert.ok(thrown instanceof TunnelError, String(thrown));
        }
      }),
    );
  });

  test("writes every answer", () => {
    assertBytes(encodeReply(Reply.granted), hex("00 5a 0000 00000000"));
    assertBytes(encodeReply(Reply.rejected), hex("00 5b 0000 00000000"));
    assertBytes(encodeReply(Reply.identUnreachable), hex("00 5c 0000 00000000"));
    assertBytes(encodeReply(Reply.identMismatch), hex("00 5d 0000 00000000"));
  });
});

/** Everything at once or in chunks, then the end. */
function parse(...chunks: readonly Uint8Array[]): Socks4Request {
  const reader = new ByteReader();
  const parser = readRequest(reader);
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
