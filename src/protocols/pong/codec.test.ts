import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes, randomChunks, singleBytes } from "../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { encodeSocksAddress } from "../../address/socks-address.ts";
import { ByteReader } from "../../bytes/byte-reader.ts";
import { ProtocolError } from "../../errors.ts";
import {
  describeFrame,
  encodeData,
  encodeFrame,
  encodeHeader,
  type Frame,
  FrameDecoder,
  FrameType,
  MAX_PAYLOAD,
  parseHeader,
  REFERENCE_MIN_PAYLOAD,
  REFERENCE_PAYLOAD,
} from "./codec.ts";

const CLIENT_ID = hex("0f608556 88f7 11ec a8a3 0242ac120002");
const NO_BYTES = new Uint8Array(0);

/** The worked examples of pong 1.8, as pong-go writes them. */
const GOLDEN: readonly (readonly [string, Frame, string])[] = [
  [
    "CONNECT to an IPv4 address",
    { streamId: 1, type: FrameType.connect, payload: address("127.0.0.1", 80) },
    "000e 00000001 01 01 7f000001 0050",
  ],
  [
    "CONNECT to a name",
    { streamId: 3, type: FrameType.connect, payload: address("example.com", 443) },
    "0016 00000003 01 03 0b 6578616d706c652e636f6d 01bb",
  ],
  [
    "CONNECT to an IPv6 address",
    { streamId: 5, type: FrameType.connect, payload: address("::1", 22) },
    "001a 00000005 01 04 00000000000000000000000000000001 0016",
  ],
  [
    "DATA",
    { streamId: 1, type: FrameType.data, payload: Buffer.alloc(40, "Q") },
    `002f 00000001 00 ${"51".repeat(40)}`,
  ],
  ["FINISH", { streamId: 1, type: FrameType.finish, payload: NO_BYTES }, "0007 00000001 07"],
  ["CLOSE", { streamId: 1, type: FrameType.close, payload: NO_BYTES }, "0007 00000001 08"],
  [
    "RST with a code",
    { streamId: 7, type: FrameType.rst, payload: hex("05") },
    "0008 00000007 09 05",
  ],
  [
    "RST without a code",
    { streamId: 7, type: FrameType.rst, payload: NO_BYTES },
    "0007 00000007 09",
  ],
  [
    "RELAY",
    { streamId: 9, type: FrameType.relay, payload: address("8.8.8.8", 53) },
    "000e 00000009 05 01 08080808 0035",
  ],
  [
    "the largest stream id",
    { streamId: 0xffff_ffff, type: FrameType.close, payload: NO_BYTES },
    "0007 ffffffff 08",
  ],
];

describe("pong codec", () => {
  for (const [name, frame, wire] of GOLDEN) {
    test(`encodes ${name} exactly as pong-go does`, () => {
      assertBytes(encodeFrame(frame), hex(wire));
    });

    test(`decodes ${name} exactly as pong-go sends it`, () => {
      assert.deepEqual(decodeAll([hex(wire)]), [plain(frame)]);
    });
  }

  test("encodes the connection header as pong-go's local does", () => {
    assertBytes(encodeHeader(CLIENT_ID), hex("00 0f608556 88f7 11ec a8a3 0242ac120002"));
  });

  test("reads a whole connection as pong-go starts it, byte by byte", () => {
    const reader = new ByteReader();
    const parser = parseHeader(reader);
    const decoder = new FrameDecoder();
    const seen: Frame[] = [];
    const wire = hex(
      `000f60855688f711eca8a30242ac120002 000e0000000101017f0000010050 002f0000000100${"51".repeat(40)}`,
    );
    let result = parser.next();
    for (const byte of singleBytes(wire)) {
      if (result.done) {
        seen.push(...decoder.decode(byte));
        continue;
      }
      reader.push(byte);
      result = parser.next();
    }
    assert.ok(result.done);
    assert.equal(result.value.version, 0);
    assertBytes(result.value.clientId, CLIENT_ID);
    assert.deepEqual(joined(seen), [
      { streamId: 1, type: FrameType.connect, payload: "017f0000010050" },
      { streamId: 1, type: FrameType.data, payload: "51".repeat(40) },
    ]);
  });

  test("leaves the version of the header to its caller, and bytes behind it to the next", () => {
    const reader = new ByteReader();
    reader.push(hex("09 00112233445566778899aabbccddeeff 0007"));
    const result = parseHeader(reader).next();
    assert.ok(result.done);
    assert.equal(result.value.version, 9);
    assertBytes(reader.rest(), hex("0007"));
  });

  test("decodes the same frames from any chunking", () => {
    fc.assert(
      fc.property(fc.array(frames()), fc.infiniteStream(fc.nat(20)), (sent, sizes) => {
        const wire = Buffer.concat(sent.flatMap(encodeFrame));
        const decoder = new FrameDecoder();
        const seen = [...randomChunks(wire, sizes)].flatMap((chunk) => [...decoder.decode(chunk)]);
        assert.deepEqual(joined(seen), joined(sent));
        assert.ok(decoder.isBetweenFrames);
      }),
    );
  });

  test("decodes the same frames one byte at a time", () => {
    fc.assert(
      fc.property(fc.array(frames(), { maxLength: 5 }), (sent) => {
        const wire = Buffer.concat(sent.flatMap(encodeFrame));
        assert.deepEqual(joined(decodeRaw([...singleBytes(wire)])), joined(sent));
      }),
    );
  });

  test("yields DATA piece by piece and everything else whole", () => {
    const wire = Buffer.concat([
      ...encodeFrame({ streamId: 1, type: FrameType.data, payload: patternBytes(100) }),
      ...encodeFrame({ streamId: 1, type: FrameType.connect, payload: patternBytes(100) }),
    ]);
    const seen = decodeRaw([wire.subarray(0, 50), wire.subarray(50, 150), wire.subarray(150)]);
    assert.deepEqual(
      seen.map(({ type, payload }) => [type, payload.byteLength]),
      [
        [FrameType.data, 43],
        [FrameType.data, 57],
        [FrameType.connect, 100],
      ],
    );
    assertBytes(seen[2]?.payload ?? NO_BYTES, patternBytes(100));
  });

  test("yields empty frames of every type, once, also at the end of a chunk", () => {
    for (const type of [FrameType.data, FrameType.finish, 0x04, 0xff]) {
      const wire = encodeFrame({ streamId: 2, type, payload: NO_BYTES });
      assert.deepEqual(decodeAll(wire), [{ streamId: 2, type, payload: "" }]);
      assert.equal(decodeAll([...singleBytes(Buffer.concat(wire))]).length, 1);
    }
  });

  test("accepts the largest payload of every type", () => {
    const payload = patternBytes(MAX_PAYLOAD);
    for (const type of [FrameType.data, FrameType.set]) {
      const wire = Buffer.concat(encodeFrame({ streamId: 1, type, payload }));
      assert.equal(wire.byteLength, 0xffff);
      const [frame] = joined(decodeRaw([...randomChunks(wire, [4_000, 1, 30_000])]));
      assert.equal(frame?.payload, Buffer.from(payload).toString("hex"));
    }
  });

  test("says whether the bytes end between two frames", () => {
    const wire = Buffer.concat(
      encodeFrame({ streamId: 1, type: FrameType.data, payload: patternBytes(9) }),
    );
    for (let cut = 0; cut <= wire.byteLength; cut++) {
      const decoder = new FrameDecoder();
      for (const frame of decoder.decode(wire.subarray(0, cut))) assert.equal(frame.streamId, 1);
      assert.equal(decoder.isBetweenFrames, cut === 0 || cut === wire.byteLength, `cut at ${cut}`);
    }
  });

  test("yields nothing whole from a frame that is cut short", () => {
    for (const [name, { type }, text] of GOLDEN) {
      if (type === FrameType.data) continue;
      const wire = hex(text);
      for (let cut = 0; cut < wire.byteLength; cut++) {
        assert.deepEqual(decodeRaw([wire.subarray(0, cut)]), [], `${name} cut at ${cut}`);
      }
    }
  });

  test("rejects a length shorter than the header", () => {
    for (let length = 0; length < 7; length++) {
      const wire = hex(`000${length} 00000001 00`);
      assert.throws(() => decodeRaw([wire]), {
        name: "ProtocolError",
        message: `pong frame length ${length} is below 7`,
      });
      assert.throws(() => decodeRaw([...singleBytes(wire)]), ProtocolError);
    }
  });

  test("throws nothing but ProtocolError on garbage", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.infiniteStream(fc.nat(9)),
        (bytes, sizes) => {
          try {
            let payloadBytes = 0;
            for (const frame of decodeRaw([...randomChunks(bytes, sizes)])) {
              payloadBytes += frame.payload.byteLength;
            }
            assert.ok(payloadBytes <= bytes.byteLength);
          } catch (thrown) {
            assert.ok(thrown instanceof ProtocolError);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test("keeps whole frames apart from chunks whose memory is used again", () => {
    const sent: Frame = { streamId: 1, type: FrameType.connect, payload: patternBytes(30) };
    const wire = Buffer.concat(encodeFrame(sent));
    const decoder = new FrameDecoder();
    const seen: Frame[] = [];
    for (const chunk of randomChunks(wire, [5, 6, 7])) {
      seen.push(...decoder.decode(chunk));
      chunk.fill(0xee);
    }
    assert.deepEqual(seen.map(plain), [plain(sent)]);
  });

  test("cuts data into frames the receiver takes, and loses no byte", () => {
    fc.assert(
      fc.property(
        fc.nat(40_000),
        fc.integer({ min: 2 * REFERENCE_MIN_PAYLOAD, max: MAX_PAYLOAD }),
        fc.constantFrom(0, REFERENCE_MIN_PAYLOAD),
        (byteLength, maxPayload, minTail) => {
          const limit = Math.max(maxPayload, 1_024); // below, everything is one small frame
          const data = patternBytes(byteLength);
          const seen = decodeRaw([Buffer.concat(encodeData(5, data, limit, minTail))]);
          assertBytes(
            seen.map(({ payload }) => payload),
            data,
          );
          assert.equal(seen.length, Math.max(1, Math.ceil(byteLength / limit)));
          for (const { payload } of seen) {
            assert.ok(payload.byteLength <= limit);
            if (seen.length > 1) assert.ok(payload.byteLength >= minTail);
          }
        },
      ),
    );
  });

  test("never leaves a tail that pong-go HEAD would drop", () => {
    for (let tail = 1; tail <= REFERENCE_MIN_PAYLOAD; tail++) {
      const data = patternBytes(2 * REFERENCE_PAYLOAD + tail);
      const sizes = decodeRaw([
        Buffer.concat(encodeData(1, data, REFERENCE_PAYLOAD, REFERENCE_MIN_PAYLOAD)),
      ]).map(({ payload }) => payload.byteLength);
      const borrowed = REFERENCE_MIN_PAYLOAD - tail;
      assert.deepEqual(sizes, [
        REFERENCE_PAYLOAD,
        REFERENCE_PAYLOAD - borrowed,
        REFERENCE_MIN_PAYLOAD,
      ]);
    }
  });

  test("does not copy large payloads", () => {
    const data = patternBytes(3 * REFERENCE_PAYLOAD);
    const views = encodeData(1, data, REFERENCE_PAYLOAD).filter(
      ({ buffer }) => buffer === data.buffer,
    );
    assert.equal(
      views.reduce((sum, { byteLength }) => sum + byteLength, 0),
      data.byteLength,
    );
    const [, payload] = encodeFrame({ streamId: 1, type: FrameType.data, payload: data });
    assert.equal(payload, data);
  });

  test("describes a frame without its payload", () => {
    const payload = hex("0102");
    assert.equal(describeFrame({ streamId: 3, type: 0, payload }), "data stream 3 2 bytes");
    assert.equal(describeFrame({ streamId: 3, type: 4, payload }), "type 4 stream 3 2 bytes");
  });
});

function address(host: string, port: number): Uint8Array {
  return encodeSocksAddress({ host, port });
}

function frames(): fc.Arbitrary<Frame> {
  return fc.record({
    streamId: fc.integer({ min: 0, max: 0xffff_ffff }),
    type: fc.oneof(fc.constantFrom(...Object.values(FrameType)), fc.integer({ min: 0, max: 255 })),
    payload: fc.uint8Array({ maxLength: 60 }),
  });
}

function decodeRaw(chunks: readonly Uint8Array[]): Frame[] {
  const decoder = new FrameDecoder();
  return chunks.flatMap((chunk) => [...decoder.decode(chunk)]);
}

function decodeAll(chunks: readonly Uint8Array[]): PlainFrame[] {
  return decodeRaw(chunks).map(plain);
}

interface PlainFrame {
  streamId: number;
  type: number;
  payload: string;
}

function plain({ streamId, type, payload }: Frame): PlainFrame {
  return { streamId, type, payload: Buffer.from(payload).toString("hex") };
}

/** The frames with neighbouring DATA of one stream joined: its borders mean nothing. */
function joined(seen: readonly Frame[]): PlainFrame[] {
  const result: PlainFrame[] = [];
  for (const frame of seen.map(plain)) {
    const last = result.at(-1);
    const isMore = last?.type === FrameType.data && frame.type === FrameType.data;
    if (last !== undefined && isMore && last.streamId === frame.streamId) {
      last.payload += frame.payload;
    } else {
      result.push(frame);
    }
  }
  return result;
}
