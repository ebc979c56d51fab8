import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { KNOWN_MESSAGES } from "../../../test/support/dtls-known-session.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { DtlsAlert } from "./alerts.ts";
import { helloVerifyRequest, peekClientHello } from "./client-hello-peek.ts";
import { readClientHello } from "./client-hello.ts";
import { fragmentsOf } from "./fragments.ts";
import { encodeClientHello, judgeClientHello, judgeServerHello } from "./hello-messages.ts";
import { ContentType, encodeRecord } from "./records.ts";

const HEADER_BYTES = 12;
const hello = KNOWN_MESSAGES.firstClientHello.subarray(HEADER_BYTES);
const answer = KNOWN_MESSAGES.serverHello.subarray(HEADER_BYTES);

/** `bytes` with one piece of hex, which is in there once, replaced by one of its length. */
function changed(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const text = Buffer.from(bytes).toString("hex");
  const [was, is] = [from.replaceAll(" ", ""), to.replaceAll(" ", "")];
  assert.equal(text.split(was).length, 2, from);
  return hex(text.replace(was, is));
}

describe("ClientHello", () => {
  test("of the original fits, with its first group", () => {
    const offer = judgeClientHello(hello);
    assert.equal(offer.group, "x25519");
    assert.equal(offer.asksRenegotiation, true);
    assert.equal(judgeClientHello(hello, ["P-384"]).group, "P-384");
  });

  for (const [name, alert, from, to] of [
    ["version 1.0", 70, "fefd6b00", "feff6b00"],
    ["another suite", 71, "0002 c02b 0100", "0002 c02c 0100"],
    ["no extended master secret", 71, "0017 0000 0000", "0099 0000 0000"],
    ["no group of ours", 71, "0006 001d 0017 0018", "0006 0019 001e 0100"],
    ["compression alone", 47, "c02b 0100", "c02b 0101"],
    ["no uncompressed points", 47, "000b 0002 0100", "000b 0002 0101"],
    ["no ECDSA with SHA-256", 40, "0014 0403", "0014 0402"],
    ["a renegotiation", 40, "ff01 0001 00", "ff01 0001 01"],
    ["an extension twice", 47, "0017 0000 0000", "000a 0000 0000"],
  ] as const) {
    test(`with ${name} is answered with alert ${alert}`, () => {
      const body = changed(hello, from, to);
      assert.throws(() => judgeClientHello(body), { name: "DtlsAlert", alert });
      const message = { type: 1, seq: 0, body };
      const datagram = encodeRecord(22, 0, 4, Buffer.concat([...fragmentsOf(message, 10_000)]));
      const read = readClientHello(datagram);
      assert.ok(read !== undefined);
    });
  }

  test("cut anywhere is answered with alert 50, changed anywhere with some alert", () => {
    for (let cut = 0; cut < hello.byteLength; cut += 1) {
      // Without its extensions it is whole, and lacks the extended master secret.
      const alert = cut === 42 ? 71 : 50;
      assert.throws(() => judgeClientHello(hello.subarray(0, cut)), { alert }, `${cut} bytes`);
    }
    assert.throws(() => judgeClientHello(Buffer.concat([hello, hex("00")])), { alert: 50 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 90 }), fc.nat(hello.byteLength), (bytes, at) => {
        const body = Buffer.concat([hello.subarray(0, at), bytes]);
        try {
          judgeClientHello(body);
        } catch (error) {
          assert.ok(error instanceof DtlsAlert);
        }
      }),
    );
  });

  test("asks for no address by name", () => {
    const made = { random: new Uint8Array(32), cookie: hex("") };
    const named = encodeClientHello({ ...made, serverName: "godoxy.agent" });
    for (const serverName of ["127.0.0.1", "::1", ""]) {
      const bare = encodeClientHello({ ...made, serverName });
      assert.equal(named.byteLength - bare.byteLength, 4 + 2 + 3 + "godoxy.agent".length);
      judgeClientHello(bare);
    }
  });

  test("is read from pieces in one datagram, and from nothing else", () => {
    const message = { type: 1, seq: 1, body: KNOWN_MESSAGES.clientHello.subarray(HEADER_BYTES) };
    const records = [...fragmentsOf(message, 50)].map((piece, index) =>
      encodeRecord(ContentType.handshake, 0, 7 + index, piece),
    );
    assert.equal(records.length, 3);
    const read = readClientHello(Buffer.concat(records));
    assert.ok(read !== undefined);
    assertBytes(read.body, message.body);
    assert.deepEqual([read.messageSeq, read.recordSeq], [1, 9]);
    assert.equal(read.cookie.byteLength, 20);
    for (const wrong of [
      records.slice(1),
      records.slice(0, 2),
      records.toReversed(),
      [encodeRecord(ContentType.handshake, 1, 0, [...fragmentsOf(message, 500)][0] ?? hex(""))],
      [encodeRecord(ContentType.alert, 0, 0, hex("0228"))],
      [encodeRecord(ContentType.handshake, 0, 0, KNOWN_MESSAGES.serverHello)],
    ]) {
      assert.equal(readClientHello(Buffer.concat(wrong)), undefined);
    }
  });

  test("reader throws at nothing", () => {
    const record = encodeRecord(ContentType.handshake, 0, 0, KNOWN_MESSAGES.firstClientHello);
    fc.assert(
      fc.property(fc.nat(record.byteLength - 1), fc.nat(255), (at, value) => {
        const copy = Uint8Array.from(record);
        copy[at] = value;
        const read = readClientHello(copy);
        const peeked = peekClientHello(copy);
        if (peeked !== undefined) helloVerifyRequest(peeked, hex("00"));
        assert.ok(read === undefined || read.body.byteLength > 0);
        readClientHello(copy.subarray(0, at));
      }),
    );
  });
});

describe("ServerHello", () => {
  test("of the original fits", () => {
    assertBytes(judgeServerHello(answer), answer.subarray(2, 34));
  });

  for (const [name, alert, from, to] of [
    ["version 1.0", 70, "fefd6b00", "feff6b00"],
    ["another suite", 71, "c02b 00", "c02c 00"],
    ["compression", 47, "c02b 00", "c02b 01"],
    ["no extended master secret", 71, "0017 0000", "000a 0000"],
    ["an extension nobody offered", 110, "0017 0000", "0023 0000"],
    ["a renegotiation", 40, "ff01 0001 00", "ff01 0001 01"],
  ] as const) {
    test(`with ${name} is answered with alert ${alert}`, () => {
      assert.throws(() => judgeServerHello(changed(answer, from, to)), {
        name: "DtlsAlert",
        alert,
      });
    });
  }
});
