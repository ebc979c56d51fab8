import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { ConfigError, ProtocolError } from "../../errors.ts";
import { dataHeader, encodeData, encodeMessage, parseMessage, shortText } from "./codec.ts";
import { NEW_MEMORY } from "./memory.ts";
import type { Message } from "./messages.ts";

const CH = "00112233445566778899aabbccddeeff";
const INSTANCE = "0f0e0d0c-0b0a-4908-8706-050403020100";
const SESSION = "00112233-4455-6677-8899-aabbccddeeff";
const NIL = "00000000-0000-0000-0000-000000000000";

/** Every example of the specification's section 1, made by the reference's own packer. */
const EXAMPLES: readonly (readonly [name: string, message: Message, wire: string])[] = [
  [
    "auth",
    { type: "auth", token: "my_token", isReverse: true, instance: INSTANCE },
    "01 01 08 6d795f746f6b656e 01 0f0e0d0c0b0a49088706050403020100",
  ],
  ["auth response, ok", { type: "authResponse", error: undefined }, "01 02 01"],
  [
    "auth response, failure",
    { type: "authResponse", error: "invalid token" },
    "01 02 00 0d 696e76616c696420746f6b656e",
  ],
  [
    "connect to a name",
    { type: "connect", protocol: "tcp", channelId: CH, host: "example.com", port: 443 },
    `01 03 01 ${CH} 0b 6578616d706c652e636f6d 01bb`,
  ],
  [
    "connect to IPv6",
    { type: "connect", protocol: "tcp", channelId: CH, host: "2001:db8::1", port: 80 },
    `01 03 01 ${CH} 0b 323030313a6462383a3a31 0050`,
  ],
  ["connect for datagrams", { type: "connect", protocol: "udp", channelId: CH }, `01 03 02 ${CH}`],
  [
    "connect for something else",
    { type: "connect", protocol: "unknown", protocolByte: 5, channelId: CH },
    `01 03 05 ${CH}`,
  ],
  [
    "connect response, ok",
    { type: "connectResponse", channelId: CH, error: undefined },
    `01 05 01 ${CH}`,
  ],
  [
    "connect response, failure",
    { type: "connectResponse", channelId: CH, error: "no available reverse clients" },
    `01 05 00 ${CH} 1c 6e6f20617661696c61626c65207265766572736520636c69656e7473`,
  ],
  [
    "data",
    { type: "data", protocol: "tcp", channelId: CH, compression: 0, payload: text("hello") },
    `01 04 01 ${CH} 00 00000005 68656c6c6f`,
  ],
  [
    "data of something else",
    {
      type: "data",
      protocol: "unknown",
      protocolByte: 9,
      channelId: CH,
      compression: 7,
      payload: text("hello"),
    },
    `01 04 09 ${CH} 07 00000005 68656c6c6f`,
  ],
  [
    "datagram up",
    {
      type: "data",
      protocol: "udp",
      channelId: CH,
      compression: 0,
      payload: text("ping"),
      source: { host: "", port: 0 },
      target: { host: "example.com", port: 53 },
    },
    `01 04 02 ${CH} 00 00000004 70696e67 00 0000 0b 6578616d706c652e636f6d 0035`,
  ],
  [
    "datagram down",
    {
      type: "data",
      protocol: "udp",
      channelId: CH,
      compression: 0,
      payload: text("pong"),
      source: { host: "192.0.2.1", port: 53 },
      target: { host: "", port: 0 },
    },
    `01 04 02 ${CH} 00 00000004 706f6e67 09 3139322e302e322e31 0035 00 0000`,
  ],
  ["disconnect, plain", { type: "disconnect", channelId: CH, error: "" }, `01 06 ${CH}`],
  [
    "disconnect with EOF",
    { type: "disconnect", channelId: CH, error: "EOF" },
    `01 06 ${CH} 03 454f46`,
  ],
  [
    "connector to add",
    { type: "connector", requestId: CH, token: "conn1", operation: "add" },
    `01 07 ${CH} 05 636f6e6e31 01`,
  ],
  [
    "connector to remove",
    { type: "connector", requestId: CH, token: "conn1", operation: "remove" },
    `01 07 ${CH} 05 636f6e6e31 02`,
  ],
  [
    "connector to make up",
    { type: "connector", requestId: CH, token: "", operation: "add" },
    `01 07 ${CH} 00 01`,
  ],
  [
    "connector response, added",
    { type: "connectorResponse", requestId: CH, error: undefined, token: "conn1" },
    `01 08 ${CH} 01 05 636f6e6e31`,
  ],
  [
    "connector response, removed",
    { type: "connectorResponse", requestId: CH, error: undefined, token: undefined },
    `01 08 ${CH} 01`,
  ],
  [
    "connector response, failure",
    {
      type: "connectorResponse",
      requestId: CH,
      error: "connector token already exists",
      token: undefined,
    },
    `01 08 ${CH} 00 1e 636f6e6e6563746f7220746f6b656e20616c726561647920657869737473`,
  ],
  [
    "log",
    { type: "log", level: "debug", text: "linksocks_client_hello:direct_signaling=1" },
    `01 09 00000043 ${text('{"level":"debug","msg":"linksocks_client_hello:direct_signaling=1"}').toString("hex")}`,
  ],
  ["partners", { type: "partners", count: 2 }, "01 0a 0000000b 7b22636f756e74223a327d"],
  [
    "direct capabilities",
    {
      type: "directCapabilities",
      sessionId: SESSION,
      candidates: [{ address: "203.0.113.5", port: 40_000, kind: "srflx" }],
      discoveries: ["stun"],
      publicKey: Uint8Array.from({ length: 32 }, (_, index) => index),
    },
    `01 0b 000000ca ${text(`{"session_id":"${SESSION}","candidates":[{"addr":"203.0.113.5","port":40000,"kind":"srflx"}],"discoveries":["stun"],"public_key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}`).toString("hex")}`,
  ],
  [
    "direct rendezvous",
    {
      type: "directRendezvous",
      sessionId: SESSION,
      remoteSessionId: NIL,
      candidates: [],
      publicKey: new Uint8Array(0),
    },
    `01 0c 00000070 ${text(`{"session_id":"${SESSION}","remote_session_id":"${NIL}"}`).toString("hex")}`,
  ],
  [
    "direct status",
    {
      type: "directStatus",
      sessionId: SESSION,
      status: "ready",
      rttMs: 12,
      lossPpm: 0,
      reason: "",
    },
    `01 0d 0000005e ${text(`{"session_id":"${SESSION}","status":"ready","metrics":{"rtt_ms":12}}`).toString("hex")}`,
  ],
  ["finish", { type: "finish", channelId: CH }, `01 20 ${CH}`],
  ["window", { type: "window", channelId: CH, increment: 262_144 }, `01 21 ${CH} 00040000`],
  ["unknown", { type: "unknown", messageType: 0xfe, body: hex("0102") }, "01 fe 0102"],
];

describe("linksocks codec", () => {
  for (const [name, message, wire] of EXAMPLES) {
    test(`writes and reads ${name} exactly as the reference does`, () => {
      assertBytes(encodeMessage(message), hex(wire));
      assert.deepEqual(plain(parseMessage(hex(wire))), plain(message));
    });

    test(`reads ${name} with trailing bytes, another minor version, and cut short`, () => {
      const whole = hex(wire);
      const version = Uint8Array.from(whole);
      version[0] = 0x0f;
      assert.deepEqual(plain(parseMessage(version)), plain(message));
      const isOpenEnded = ["unknown", "authResponse", "connectorResponse"].includes(message.type);
      if (!isOpenEnded && !/plain/.test(name)) {
        const longer = Buffer.concat([whole, hex("00ff")]);
        assert.deepEqual(plain(parseMessage(longer)), plain(message));
      }
      for (let cut = 0; cut < whole.byteLength; cut++) {
        const short = parseMessage(whole.subarray(0, cut));
        assert.notDeepEqual(plain(short), plain(message), `cut at ${cut}`);
      }
    });
  }

  test("reads every boolean but 0 as true", () => {
    assert.deepEqual(parseMessage(hex("01 02 07")), { type: "authResponse", error: undefined });
  });

  test("takes a failure without its text, as the Worker server sends it", () => {
    assert.deepEqual(parseMessage(hex("01 02 00")), { type: "authResponse", error: "" });
    assert.deepEqual(parseMessage(hex(`01 05 00 ${CH}`)), {
      type: "connectResponse",
      channelId: CH,
      error: "",
    });
    assert.deepEqual(parseMessage(hex(`01 08 ${CH} 00`)), {
      type: "connectorResponse",
      requestId: CH,
      error: "",
      token: undefined,
    });
  });

  test("always writes the length of a failure's text, without which the reference's socket dies", () => {
    const message: Message = { type: "connectResponse", channelId: CH, error: "" };
    assertBytes(encodeMessage(message), hex(`01 05 00 ${CH} 00`));
  });

  test("ignores what a welcome carries behind it", () => {
    assert.deepEqual(parseMessage(hex("01 02 01 04 61626364")), {
      type: "authResponse",
      error: undefined,
    });
  });

  test("cuts error texts to 255 bytes between two characters", () => {
    assert.equal(shortText("x".repeat(255)).byteLength, 255);
    assert.equal(shortText("x".repeat(256)).byteLength, 255);
    assert.equal(shortText("é".repeat(200)).byteLength, 254);
    assert.equal(shortText(`${"x".repeat(253)}€`).byteLength, 253);
    const error = "🚰".repeat(100);
    for (const message of [
      { type: "disconnect", channelId: CH, error },
      { type: "connectResponse", channelId: CH, error },
    ] as const) {
      const again = parseMessage(encodeMessage(message));
      assert.deepEqual(again, { ...message, error: "🚰".repeat(63) });
    }
  });

  test("refuses tokens and hosts that one length octet cannot tell", () => {
    const long = "x".repeat(256);
    const tokens: readonly Message[] = [
      { type: "auth", token: long, isReverse: false, instance: INSTANCE },
      { type: "connector", requestId: CH, token: long, operation: "add" },
      { type: "connectorResponse", requestId: CH, error: undefined, token: long },
    ];
    for (const message of tokens) {
      assert.throws(() => encodeMessage(message), ConfigError, message.type);
      assert.throws(() => encodeMessage(message), { code: "ERR_CREDENTIAL" });
    }
    const connect = { type: "connect", protocol: "tcp", channelId: CH, port: 80 } as const;
    assert.throws(() => encodeMessage({ ...connect, host: long }), ProtocolError);
    assert.ok(encodeMessage({ ...connect, host: long.slice(1) }));
    assert.throws(() => encodeMessage({ type: "finish", channelId: "00" }), ProtocolError);
  });

  test("names the channel of what it cannot read, and nobody else's", () => {
    const cases: readonly (readonly [string, number | undefined, string | undefined])[] = [
      ["", undefined, undefined],
      ["01", undefined, undefined],
      [`11 06 ${CH}`, 6, undefined], // another major version: nothing in it is known
      [`01 03 01 ${CH}`, 3, CH],
      [`01 03 01 ${CH} 05 6162`, 3, CH],
      [`01 04 01 ${CH} 00 00000005 68`, 4, CH],
      [`01 04 01 ${CH} 00 ffffffff 68`, 4, CH],
      [`01 04 02 ${CH} 00 00000001 68`, 4, CH],
      [`01 04 02 ${CH} 00 00000001 68 00 0000 01`, 4, CH],
      [`01 05 00 ${CH} 05 61`, 5, CH],
      [`01 06 ${CH} 05 61`, 6, CH],
      ["01 04 01 00112233", 4, undefined],
      [`01 07 ${CH} 00 03`, 7, undefined],
      [`01 08 ${CH} 01 05 61`, 8, undefined],
      ["01 09 00000002 7b", 9, undefined],
      ["01 09 00000001 7b", 9, undefined],
      ["01 0a 00000002 5b5d", 10, undefined],
      ["01 01", 1, undefined],
    ];
    for (const [wire, messageType, channelId] of cases) {
      const message = parseMessage(hex(wire));
      assert.ok(message.type === "malformed", wire);
      assert.equal(message.messageType, messageType, wire);
      assert.equal(message.channelId, channelId, wire);
      assert.ok(message.error instanceof ProtocolError, wire);
    }
  });

  test("complains of a login in the reference's words", () => {
    const cases = {
      "": "message too short",
      "01": "message too short",
      "01 01": "invalid auth message",
      "01 01 05 6162": "invalid auth message length",
      "11 01 00":
        "unsupported protocol major version: peer=0x11 (major=1 minor=1) local=0x01 (major=0 minor=1)",
      "af 01 00":
        "unsupported protocol major version: peer=0xAF (major=10 minor=15) local=0x01 (major=0 minor=1)",
    };
    for (const [wire, words] of Object.entries(cases)) {
      const message = parseMessage(hex(wire));
      assert.equal(message.type === "malformed" && message.error.message, words, wire);
    }
  });

  test("refuses messages over the limit, and still names their channel", () => {
    const data = encodeData(
      dataHeader(CH),
      { compression: 0, payload: new Uint8Array(100) },
      NEW_MEMORY,
    );
    assert.equal(parseMessage(data, data.byteLength).type, "data");
    const message = parseMessage(data, data.byteLength - 1);
    assert.equal(message.type === "malformed" && message.channelId, CH);
  });

  test("takes numbers of ours that a stranger uses for strangers", () => {
    for (const wire of ["01 20 00", "01 21 0000", `01 21 ${CH} 0000`]) {
      assert.equal(parseMessage(hex(wire)).type, "unknown", wire);
    }
  });

  test("shares the message's memory with its payload, at any offset of a slab", () => {
    const wire = encodeData(dataHeader(CH), { compression: 0, payload: text("hello") }, NEW_MEMORY);
    const slab = new Uint8Array(100);
    slab.set(wire, 7);
    const message = parseMessage(slab.subarray(7, 7 + wire.byteLength));
    assert.ok(message.type === "data");
    assert.equal(message.payload.buffer, slab.buffer);
    assertBytes(message.payload, text("hello"));
  });

  test("never throws, and what it reads survives being written again", () => {
    const kinds = fc.integer({ min: 0, max: 0x22 });
    fc.assert(
      fc.property(kinds, fc.uint8Array({ maxLength: 60 }), (type, body) => {
        const message = parseMessage(Buffer.concat([Uint8Array.of(1, type), body]));
        if (message.type === "malformed" || hasForeignText(body)) return;
        assert.deepEqual(plain(parseMessage(encodeMessage(message))), plain(message));
      }),
      { numRuns: 2000 },
    );
  });

  test("survives a round trip with every value", () => {
    fc.assert(
      fc.property(anyMessage(), (message) => {
        assert.deepEqual(plain(parseMessage(encodeMessage(message))), plain(message));
      }),
    );
  });
});

/** Bytes that are no text come back as replacement characters, which are longer. */
function hasForeignText(body: Uint8Array): boolean {
  return body.some((byte) => byte >= 0x80);
}

function anyMessage(): fc.Arbitrary<Message> {
  const channelId = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(toHex);
  const payload = fc.uint8Array({ maxLength: 200 });
  const short = fc.string({ maxLength: 60, unit: "binary" });
  const port = fc.nat(0xffff);
  const address = fc.record({ host: short, port });
  const compression = fc.nat(255);
  const error = fc.option(short, { nil: undefined });
  const c = <const Value>(value: Value): fc.Arbitrary<Value> => fc.constant(value);
  return fc.oneof(
    fc.record({
      type: c("connect"),
      protocol: c("tcp"),
      channelId,
      host: short,
      port,
    }),
    fc.record({ type: c("data"), protocol: c("tcp"), channelId, compression, payload }),
    fc.record({
      type: c("data"),
      protocol: c("udp"),
      channelId,
      compression,
      payload,
      source: address,
      target: address,
    }),
    fc.record({ type: c("connectResponse"), channelId, error }),
    fc.record({ type: c("disconnect"), channelId, error: short }),
    fc.record({ type: c("log"), level: short, text: short }),
    fc.record({ type: c("window"), channelId, increment: fc.nat(0xffff_ffff) }),
  );
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function text(value: string): Buffer {
  return Buffer.from(value);
}

/** Buffers as plain arrays, which compare by their bytes. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (value instanceof Error) return value.message;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
}
