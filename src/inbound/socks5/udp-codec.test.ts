import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { decodeDatagram, encodeDatagram } from "./udp-codec.ts";

describe("socks5 datagrams", () => {
  test("decodes and encodes the three kinds of address", () => {
    for (const [wire, host, port, data] of [
      ["0000 00 01 c0000201 0035 70696e67", "192.0.2.1", 53, "ping"],
      ["0000 00 03 0b 6578616d706c652e636f6d 0035 70", "example.com", 53, "p"],
      ["0000 00 04 20010db8000000000000000000000001 ffff 70", "2001:db8::1", 65_535, "p"],
      ["0000 00 01 7f000001 0001", "127.0.0.1", 1, ""],
    ] as const) {
      const packet = decodeDatagram(hex(wire));
      assert.ok(typeof packet === "object", wire);
      assert.deepEqual(
        { ...packet, data: Buffer.from(packet.data).toString() },
        { host, port, data },
      );
      assertBytes(encodeDatagram(packet) ?? new Uint8Array(), hex(wire));
    }
  });

  test("names what is wrong with anything else", () => {
    const table: Readonly<Record<string, "malformed" | "fragment">> = {
      "": "malformed",
      "00": "malformed",
      "0000 00": "malformed",
      "0000 00 01": "malformed",
      "0000 00 01 7f": "malformed", // the five bytes that end the reference
      "0000 00 01 7f000001 00": "malformed",
      "0000 00 01 7f000001 0000 70": "malformed", // port 0
      "0000 00 00 7f000001 0035": "malformed",
      "0000 00 02 7f000001 0035": "malformed",
      "0000 00 05 7f000001 0035": "malformed",
      "0000 00 03": "malformed",
      "0000 00 03 00 0035": "malformed", // a name of no bytes
      "0000 00 03 05 61 0035": "malformed",
      "0000 00 03 02 6100 0035": "malformed", // NUL in a name
      "0000 00 03 02 610a 0035": "malformed",
      "0000 00 03 ff 61": "malformed",
      "0000 00 04 00000000000000000000000000000001 00": "malformed",
      "0000 01 01 7f000001 0035 70": "fragment",
      "0000 81 01 7f000001 0035 70": "fragment", // the last of some
      "0000 ff 03 01 61 0035": "fragment",
      "0000 01 01 7f": "malformed",
    };
    for (const [wire, fault] of Object.entries(table)) {
      assert.equal(decodeDatagram(hex(wire)), fault, wire);
    }
  });

  test("does not look at the reserved bytes", () => {
    assert.equal(typeof decodeDatagram(hex("ffff 00 01 7f000001 0035")), "object");
  });

  test("leaves out a zone, and refuses a name that is too long", () => {
    const data = Buffer.from("x");
    const encoded = encodeDatagram({ host: "fe80::1%eth0", port: 1, data });
    assertBytes(
      encoded ?? new Uint8Array(),
      hex("000000 04 fe80000000000000 0000000000000001 0001 78"),
    );
    assert.equal(encodeDatagram({ host: "a".repeat(256), port: 1, data }), undefined);
    assert.equal(encodeDatagram({ host: "", port: 1, data }), undefined);
  });

  test("never throws, whatever comes", () => {
    const header = fc.tuple(
      fc.constantFrom(0, 0, 1, 255),
      fc.constantFrom(0, 1, 2, 3, 4, 255),
      fc.uint8Array({ maxLength: 300 }),
    );
    const near = header.map(([fragment, type, rest]) =>
      Uint8Array.of(0, 0, fragment, type, ...rest),
    );
    fc.assert(
      fc.property(fc.oneof(near, fc.uint8Array({ maxLength: 300 })), (datagram) => {
        const packet = decodeDatagram(datagram);
        if (typeof packet === "string") return;
        assert.ok(packet.host !== "" && packet.port > 0);
        assert.ok(packet.data.byteLength <= datagram.byteLength - 8);
      }),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), fc.nat(65_535), (host, port) => {
        encodeDatagram({ host, port, data: new Uint8Array(3) });
      }),
    );
  });

  test("round-trips every address and payload", () => {
    const name = fc.stringMatching(/^[a-z0-9][a-z0-9.-]{0,60}$/);
    const host = fc.oneof(
      fc.ipV4(),
      name.filter((text) => !/^[\d.]+$/.test(text)),
    );
    const packet = fc.record({
      host,
      port: fc.integer({ min: 1, max: 65_535 }),
      data: fc.uint8Array({ maxLength: 2_000 }),
    });
    fc.assert(
      fc.property(packet, (given) => {
        const decoded = decodeDatagram(encodeDatagram(given) ?? new Uint8Array());
        assert.ok(typeof decoded === "object");
        assert.deepEqual(
          { ...decoded, data: [...decoded.data] },
          { ...given, data: [...given.data] },
        );
      }),
    );
  });
});
