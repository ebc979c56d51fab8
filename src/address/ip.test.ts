import assert from "node:assert/strict";
import { isIP } from "node:net";
import { describe, test } from "node:test";
import fc from "fast-check";
import { formatIp, parseIp, plainIp, unmapIpv4 } from "./ip.ts";

const address = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // Zero runs are where the text form is hard.
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 })
    .map((bytes) => Uint8Array.from(bytes)),
);

describe("IP addresses", () => {
  test("reads literals of both families", () => {
    assert.deepEqual(parseIp("127.0.0.1"), Uint8Array.of(127, 0, 0, 1));
    const cases: readonly (readonly [string, string])[] = [
      ["::", "00000000000000000000000000000000"],
      ["::1", "00000000000000000000000000000001"],
      ["1::", "00010000000000000000000000000000"],
      ["2001:db8::8:800:200c:417a", "20010db80000000000080800200c417a"],
      ["::ffff:192.0.2.1", "00000000000000000000ffffc0000201"],
      ["64:ff9b::255.255.255.255", "0064ff9b0000000000000000ffffffff"],
      ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
    ];
    for (const [text, hex] of cases) {
      assert.equal(Buffer.from(parseIp(text) ?? []).toString("hex"), hex, text);
    }
  });

  test("refuses names, zones and unusual spellings", () => {
    for (const text of [
      "",
      "localhost",
      "127.1",
      "0177.0.0.1",
      "2130706433",
      "0x7f000001",
      "127.0.0.1.",
      "256.0.0.1",
      "fe80::1%eth0",
      "[::1]",
      "1:2:3",
      " ::1",
    ]) {
      assert.equal(parseIp(text), undefined, text);
    }
  });

  test("writes the text of RFC 5952", () => {
    const cases = ["::", "::1", "1::", "2001:db8::1", "2001:db8:0:1:1:1:1:1", "2001:0:0:1::1"];
    for (const text of cases) assert.equal(formatIp(parseIp(text) ?? new Uint8Array()), text);
    assert.equal(
      formatIp(parseIp("2001:DB8:0:0:1:0:0:1") ?? new Uint8Array()),
      "2001:db8::1:0:0:1",
    );
  });

  test("reads back every address it writes, as the same text Node would accept", () => {
    fc.assert(
      fc.property(address, (bytes) => {
        const text = formatIp(bytes);
        assert.equal(isIP(text), bytes.byteLength === 4 ? 4 : 6, text);
        assert.deepEqual(parseIp(text), bytes);
      }),
    );
  });

  test("takes IPv4 out of mapped addresses only", () => {
    assert.deepEqual(
      unmapIpv4(parseIp("::ffff:10.1.2.3") ?? new Uint8Array()),
      Uint8Array.of(10, 1, 2, 3),
    );
    for (const text of ["::10.1.2.3", "64:ff9b::10.1.2.3", "1::ffff:10.1.2.3", "10.1.2.3"]) {
      const bytes = parseIp(text);
      assert.equal(unmapIpv4(bytes ?? new Uint8Array()), bytes, text);
    }
  });

  test("spells IPv4 inside IPv6 as IPv4, and nothing else differently", () => {
    assert.equal(plainIp("::ffff:192.0.2.1"), "192.0.2.1");
    for (const text of ["192.0.2.1", "::1", "::ffff:0:1", "::ffff:x", "fe80::1%eth0", "name", ""]) {
      assert.equal(plainIp(text), text);
    }
  });
});
