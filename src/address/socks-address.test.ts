import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ProtocolError } from "../errors.ts";
import { formatIp, parseIp } from "./ip.ts";
import { decodeSocksAddress, encodeSocksAddress, socksAddressLength } from "./socks-address.ts";

const golden = [
  // RFC 1928 section 5: ATYP, address, port in network order
  { host: "127.0.0.1", port: 80, hex: "01 7f000001 0050" },
  { host: "::1", port: 65_535, hex: "04 00000000000000000000000000000001 ffff" },
  { host: "example.com", port: 443, hex: "03 0b 6578616d706c652e636f6d 01bb" },
] as const;

describe("SOCKS addresses", () => {
  test("encodes and decodes the forms of RFC 1928", () => {
    for (const { host, port, hex } of golden) {
      const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
      assert.deepEqual(Buffer.from(encodeSocksAddress({ host, port })), bytes);
      assert.deepEqual(decodeSocksAddress(bytes), { host, port });
      assert.equal(socksAddressLength(bytes), bytes.byteLength);
    }
  });

  test("reads back what it writes, ignoring bytes behind it", () => {
    const host = fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.ipV6().filter((text) => !text.includes("%")),
    );
    fc.assert(
      fc.property(host, fc.nat(65_535), fc.uint8Array({ maxLength: 9 }), (name, port, tail) => {
        const bytes = Buffer.concat([encodeSocksAddress({ host: name, port }), tail]);
        const ip = parseIp(name);
        const expected = ip === undefined ? name : formatIp(ip);
        assert.deepEqual(decodeSocksAddress(bytes), { host: expected, port });
        assert.equal(socksAddressLength(bytes), bytes.byteLength - tail.byteLength);
      }),
    );
  });

  test("reports every truncation as cut short", () => {
    for (const { host, port } of golden) {
      const bytes = encodeSocksAddress({ host, port });
      for (let length = 0; length < bytes.byteLength; length++) {
        assert.throws(() => decodeSocksAddress(bytes.subarray(0, length)), /is cut short/);
      }
    }
  });

  test("refuses empty, overlong and zoned hosts on the way out", () => {
    for (const host of ["", "x".repeat(256), "fe80::1%eth0"]) {
      assert.throws(() => encodeSocksAddress({ host, port: 1 }), ProtocolError);
    }
    assert.equal(encodeSocksAddress({ host: "x".repeat(255), port: 1 }).byteLength, 259);
  });

  test("refuses unknown types, empty names and control characters on the way in", () => {
    const bad = [
      ["02 00000000 0000", /type 2 is not 1, 3 or 4/],
      ["03 00 0050", /empty/],
      ["03 03 610062 0050", /control character/],
      ["03 03 610d0a 0050", /control character/],
      ["03 03 612062 0050", /control character or space/],
    ] as const;
    for (const [hex, message] of bad) {
      const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
      assert.throws(() => decodeSocksAddress(bytes), { name: "ProtocolError", message });
    }
  });

  test("throws only ProtocolError on garbage", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          decodeSocksAddress(bytes);
        } catch (thrown) {
          assert.ok(thrown instanceof ProtocolError);
        }
      }),
    );
  });
});
