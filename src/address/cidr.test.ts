import assert from "node:assert/strict";
import { BlockList } from "node:net";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Cidr, embeddedIpv4, parseCidr } from "./cidr.ts";
import { formatIp, parseIp } from "./ip.ts";

function ip(text: string): Uint8Array {
  const bytes = parseIp(text);
  assert.ok(bytes, text);
  return bytes;
}

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert.ok(parsed instanceof Cidr, String(parsed));
  return parsed;
}

describe("address blocks", () => {
  test("holds the first and the last address and not their neighbours", () => {
    const block = cidr("10.64.0.0/10");
    for (const text of ["10.64.0.0", "10.127.255.255", "::ffff:10.100.0.1"]) {
      assert.ok(block.contains(ip(text)), text);
    }
    for (const text of ["10.63.255.255", "10.128.0.0", "::10.64.0.0"]) {
      assert.ok(!block.contains(ip(text)), text);
    }
  });

  test("agrees with Node's block list", () => {
    const v4 = fc.tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.nat(32));
    const v6 = fc.tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(128));
    fc.assert(
      fc.property(fc.oneof(v4, v6), fc.nat(127), ([bytes, prefix], flip) => {
        // An address that differs from the block in one bit only: the edge of every prefix.
        const other = bytes.slice();
        const bit = flip % (8 * bytes.byteLength);
        other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
        const family = bytes.byteLength === 4 ? "ipv4" : "ipv6";
        const list = new BlockList();
        list.addSubnet(formatIp(bytes), prefix, family);
        assert.equal(
          new Cidr(bytes, prefix).contains(other),
          list.check(formatIp(other), family),
          `${formatIp(other)} in ${formatIp(bytes)}/${prefix}`,
        );
      }),
    );
  });

  test("reads mapped blocks as IPv4", () => {
    assert.equal(cidr("::ffff:10.0.0.0/104").toString(), "10.0.0.0/8");
    assert.equal(cidr("::ffff:127.0.0.1").toString(), "127.0.0.1");
    assert.equal(cidr("fd00::/8").toString(), "fd00::/8");
    assert.ok(!cidr("::/0").contains(ip("10.0.0.1")));
  });

  test("says what is wrong with a text", () => {
    const cases = [
      ["10.0.0.0/33", "prefix /33 exceeds 32"],
      ["::/129", "prefix /129 exceeds 128"],
      ["10.0.0.0/x", "prefix /x is no number"],
      ["10.0.0.0/", "prefix / is no number"],
      ["10.0.0.1/8", "10.0.0.1/8 has bits behind its prefix; write 10.0.0.0/8"],
      ["host/8", "host is no IP address"],
      ["/8", "nothing is no IP address"],
    ];
    for (const [text = "", message] of cases) assert.equal(parseCidr(text), message);
  });
});

describe("embedded IPv4", () => {
  test("is found in NAT64, 6to4, compatible and translated addresses", () => {
    for (const text of [
      "64:ff9b::127.0.0.1",
      "64:ff9b:1::127.0.0.1",
      "2002:7f00:1::1",
      "::127.0.0.1",
      "::ffff:0:127.0.0.1",
    ]) {
      assert.equal(formatIp(embeddedIpv4(ip(text)) ?? new Uint8Array(16)), "127.0.0.1", text);
    }
  });

  test("is not found elsewhere", () => {
    for (const text of ["::", "::1", "fe80::1", "2001:db8::127.0.0.1", "127.0.0.1"]) {
      assert.equal(embeddedIpv4(ip(text)), undefined, text);
    }
  });
});
