import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes, randomChunks, singleBytes } from "../../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../../test/support/hex.ts";
import { ProtocolError } from "../../../errors.ts";
import {
  decodeGoaway,
  describeFrame,
  encodeData,
  encodeFrame,
  encodeGoaway,
  type Frame,
  FRAME_HEADER_BYTES,
  FrameDecoder,
  FrameFlag,
  FrameType,
  MAX_SENT_PAYLOAD,
} from "./frames.ts";
import { deflate, inflate } from "./gzip.ts";

const NONE = new Uint8Array(0);
const LIMITS = { maxFrameBytes: 1024 * 1024 };

/** Every message, captured. Spec: vproxy 3.1. */
const MESSAGES: readonly (readonly [string, string, Frame])[] = [
  [
    "the handshake",
    "00 00 00 04 00 00 00 00 00",
    { type: FrameType.settings, flags: 0, streamId: 0, payload: NONE },
  ],
  [
    "SYN",
    "00 00 00 01 00 00 00 00 01",
    { type: FrameType.headers, flags: 0, streamId: 1, payload: NONE },
  ],
  [
    "PSH",
    "00 00 02 00 00 00 00 00 01 68 69",
    { type: FrameType.data, flags: 0, streamId: 1, payload: hex("6869") },
  ],
  [
    "FIN",
    "00 00 00 00 01 00 00 00 01",
    { type: FrameType.data, flags: 1, streamId: 1, payload: NONE },
  ],
  [
    "RST",
    "00 00 00 01 01 00 00 00 01",
    { type: FrameType.headers, flags: 1, streamId: 1, payload: NONE },
  ],
  [
    "PING",
    "00 00 08 06 00 00 00 00 00 00 00 00 00 00 00 00 06",
    { type: FrameType.ping, flags: 0, streamId: 0, payload: hex("0000000000000006") },
  ],
  [
    "its answer",
    "00 00 08 06 01 00 00 00 00 00 00 00 00 00 00 00 06",
    { type: FrameType.ping, flags: 1, streamId: 0, payload: hex("0000000000000006") },
  ],
  [
    "a frame of the last id",
    "00 00 00 01 00 7f ff ff ff",
    { type: FrameType.headers, flags: 0, streamId: 0x7fff_ffff, payload: NONE },
  ],
];

describe("vproxy frames", () => {
  for (const [what, digits, frame] of MESSAGES) {
    test(`encode ${what} exactly as the reference does`, () => {
      assertBytes(encodeFrame(frame), hex(digits));
    });
  }

  test("encode a GOAWAY exactly as the reference does", () => {
    const digits =
      "00 00 22 07 00 00 00 00 00 ff ff ff ff ff ff ff ff 6b 65 65 70 61 6c 69 76 65 20 72 65 73 70 6f 6e 73 65 20 74 69 6d 65 6f 75 74";
    assertBytes(encodeGoaway("keepalive response timeout"), hex(digits));
  });

  test("read the reason of a GOAWAY, if it has one, fit for a log", () => {
    const reasonOf = (digits: string): string => decodeGoaway(hex(digits));
    assert.equal(reasonOf("ffffffffffffffff 627965"), "bye");
    assert.equal(reasonOf("ffffffffffffffff"), "");
    assert.equal(reasonOf("ffff"), "");
    assert.equal(reasonOf(""), "");
    assert.equal(reasonOf("0000000000000000 610a1b5b336d62"), "a??[3mb");
    assert.equal(decodeGoaway(new Uint8Array(10_000).fill(0x61)).length, 300);
  });

  test("cut data into payloads everybody takes", () => {
    const data = patternBytes(2 * MAX_SENT_PAYLOAD + 5);
    const frames = decodeAll(Buffer.concat(encodeData(7, data)));
    const sizes = frames.map(({ payload }) => payload.byteLength);
    assert.deepEqual(sizes, [MAX_SENT_PAYLOAD, MAX_SENT_PAYLOAD, 5]);
    assertBytes(
      frames.map(({ payload }) => payload),
      data,
    );
    assert.deepEqual(encodeData(7, NONE), [], "an empty PSH means nothing");
  });

  test("compress what becomes smaller by it, and nothing up to 1024 bytes", () => {
    const framesOf = (data: Uint8Array): Frame[] =>
      decodeAll(Buffer.concat(encodeData(1, data, deflate)));
    const flagsOf = (data: Uint8Array): number[] => framesOf(data).map(({ flags }) => flags);
    assert.deepEqual(flagsOf(new Uint8Array(1024)), [0]);
    assert.deepEqual(flagsOf(new Uint8Array(1025)), [FrameFlag.gzip]);
    assert.deepEqual(flagsOf(patternBytes(2000)), [0], "no smaller");
    const text = Buffer.alloc(3 * MAX_SENT_PAYLOAD, "some text ");
    const plain = framesOf(text).map(({ payload }) => inflate(payload, 1e6));
    assertBytes(plain, text);
  });

  test("inflate no more than they may", () => {
    const bomb = deflate(new Uint8Array(1_000_000)) ?? NONE;
    assert.ok(bomb.byteLength < 10_000);
    assert.equal(inflate(bomb, 1_000_000).byteLength, 1_000_000);
    assert.throws(() => inflate(bomb, 999_999), invalid("decompress data failed"));
    assert.throws(() => inflate(bomb, 0), invalid("decompress data failed"));
    assert.throws(() => inflate(bomb, -5), invalid("decompress data failed"));
    assert.throws(() => inflate(bomb.subarray(0, 100), 1e7), invalid("decompress data failed"));
    assert.throws(() => inflate(hex("6869"), 1e7), invalid("decompress data failed"));
  });

  test("describe themselves without their payload", () => {
    const text = describeFrame({ type: 0, flags: 5, streamId: 3, payload: hex("736563726574") });
    assert.equal(text, "data flags 5 stream 3 6 bytes");
    assert.equal(
      describeFrame({ type: 9, flags: 0, streamId: 0, payload: NONE }),
      "type 9 stream 0 0 bytes",
    );
  });
});

describe("vproxy frame decoder", () => {
  test("reads the same frames from any chunking", () => {
    fc.assert(
      fc.property(fc.array(frame), fc.infiniteStream(fc.nat(40)), (frames, sizes) => {
        const wire = Buffer.concat(frames.flatMap((it) => encodeFrame(it)));
        const decoder = new FrameDecoder(LIMITS);
        const seen = [...randomChunks(wire, sizes)].flatMap((it) => [...decoder.decode(it)]);
        assert.deepEqual(joined(seen), joined(frames));
        assert.ok(decoder.isBetweenFrames);
      }),
    );
  });

  test("copies what comes in pieces and must be whole", () => {
    const data = Buffer.concat([patternBytes(3000), new Uint8Array(3000)]);
    const payload = deflate(data) ?? NONE;
    const gzip = { type: FrameType.data, flags: FrameFlag.gzip, streamId: 1, payload };
    const decoder = new FrameDecoder(LIMITS);
    const chunk = new Uint8Array(100);
    const seen: Frame[] = [];
    for (const part of randomChunks(Buffer.concat(encodeFrame(gzip)), Array(100).fill(100))) {
      chunk.set(part);
      seen.push(...decoder.decode(chunk.subarray(0, part.byteLength)));
      chunk.fill(0xee);
    }
    assertBytes(
      seen.map((it) => inflate(it.payload, 1e6)),
      data,
    );
  });

  test("passes plain data on as it comes, and the end of the frame with its last piece", () => {
    const wire = Buffer.concat(
      encodeFrame({ type: 0, flags: FrameFlag.end, streamId: 1, payload: patternBytes(6) }),
    );
    const decoder = new FrameDecoder(LIMITS);
    const [head, middle, tail] = [
      wire.subarray(0, FRAME_HEADER_BYTES + 2),
      wire.subarray(FRAME_HEADER_BYTES + 2, -1),
      wire.subarray(-1),
    ];
    assert.deepEqual(
      [head, middle, tail].map((it) =>
        Array.from(decoder.decode(it), ({ flags, payload }) => [flags, payload.byteLength]),
      ),
      [[[0, 2]], [[0, 3]], [[FrameFlag.end, 1]]],
    );
  });

  test("waits for a frame whose header ends the chunk", () => {
    const decoder = new FrameDecoder(LIMITS);
    assert.deepEqual([...decoder.decode(hex("00 00 02 00 00 00 00 00 01"))], []);
    assert.ok(!decoder.isBetweenFrames);
    assert.equal([...decoder.decode(hex("68 69"))].length, 1);
    assert.ok(decoder.isBetweenFrames);
  });

  for (const [what, digits, reason] of [
    ["a second handshake", "000000 04 00 00000000", "invalid frame type: 4"],
    ["WINDOW_UPDATE", "000004 08 00 00000000", "invalid frame type: 8"],
    ["PRIORITY", "000005 02 00 00000001", "invalid frame type: 2"],
    ["type 255", "000000 ff 00 00000000", "invalid frame type: -1"],
    [
      "HEADERS with payload",
      "000001 01 00 00000001",
      "invalid frame type with payload len: type=1, len=1",
    ],
    ["an id with the top bit", "000000 01 00 80000001", "invalid streamId: -2147483647"],
    ["DATA beyond the limit", "100001 00 00 00000001", "frame of 1048577 bytes exceeds 1048576"],
    ["the longest DATA", "ffffff 00 00 00000001", "frame of 16777215 bytes exceeds 1048576"],
    ["the longest compressed", "ffffff 00 04 00000001", "frame of 16777215 bytes exceeds 1048576"],
    ["a novel as a PING", "004001 06 00 00000000", "frame of 16385 bytes exceeds 16384"],
    ["a novel as a GOAWAY", "ffffff 07 00 00000000", "frame of 16777215 bytes exceeds 16384"],
  ] as const) {
    test(`refuses ${what} by its header`, () => {
      const decoder = new FrameDecoder(LIMITS);
      const feed = (): void => {
        for (const byte of singleBytes(hex(digits))) for (const _ of decoder.decode(byte));
      };
      assert.throws(feed, invalid(reason));
    });
  }

  test("yields only what it may, or fails, whatever it reads", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.infiniteStream(fc.nat(30)),
        (bytes, sizes) => {
          const decoder = new FrameDecoder(LIMITS);
          try {
            for (const chunk of randomChunks(bytes, sizes)) {
              for (const { type, streamId } of decoder.decode(chunk)) {
                assert.ok([0, 1, 6, 7].includes(type));
                assert.ok(streamId >= 0 && streamId <= 0x7fff_ffff);
              }
            }
          } catch (thrown) {
            assert.ok(thrown instanceof ProtocolError, String(thrown));
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({
    type: fc.constant(FrameType.data),
    flags: fc.constantFrom(0, 1, 4, 5),
    streamId: fc.integer({ min: 0, max: 0x7fff_ffff }),
    payload: fc.uint8Array({ maxLength: 200 }),
  }),
  fc.record({
    type: fc.constant(FrameType.headers),
    flags: fc.constantFrom(0, 1),
    streamId: fc.integer({ min: 0, max: 0x7fff_ffff }),
    payload: fc.constant(NONE),
  }),
  fc.record({
    type: fc.constantFrom(FrameType.ping, FrameType.goaway),
    flags: fc.constantFrom(0, 1),
    streamId: fc.constant(0),
    payload: fc.uint8Array({ maxLength: 40 }),
  }),
);

/** Pieces of one plain DATA frame become one again. */
function joined(frames: readonly Frame[]): string[] {
  const texts: string[] = [];
  let bytes = "";
  let stream = -1;
  const flush = (): void => {
    if (bytes !== "") texts.push(`data ${stream} ${bytes}`);
    bytes = "";
  };
  for (const { type, flags, streamId, payload } of frames) {
    const digits = Buffer.from(payload).toString("hex");
    const isPlain = type === FrameType.data && (flags & FrameFlag.gzip) === 0;
    if (isPlain && streamId !== stream) flush();
    if (isPlain) {
      stream = streamId;
      bytes += digits;
      if (flags !== 0) flush();
      if (flags !== 0) texts.push(`end ${streamId}`);
    } else {
      flush();
      texts.push(`${type} ${flags} ${streamId} ${digits}`);
    }
  }
  flush();
  return texts;
}

function decodeAll(bytes: Uint8Array): Frame[] {
  return [...new FrameDecoder(LIMITS).decode(bytes)];
}

function invalid(message: string): object {
  return { name: "ProtocolError", message };
}
