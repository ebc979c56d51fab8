import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { encodeProxyHeader } from "./proxy-header.ts";

describe("PROXY header", () => {
  test("writes version 1 for both families", () => {
    const text = (source: string, destination: string): string => {
      return Buffer.from(encodeProxyHeader("v1", { source, destination })).toString();
    };
    const v4 = text("192.0.2.1:50000", "198.51.100.2:22");
    assert.equal(v4, "PROXY TCP4 192.0.2.1 198.51.100.2 50000 22\r\n");
    assert.equal(
      text("[2001:db8::1]:50000", "[::1]:22"),
      "PROXY TCP6 2001:db8:0:0:0:0:0:1 0:0:0:0:0:0:0:1 50000 22\r\n",
    );
    assert.equal(
      text("192.0.2.1:1", "[2001:db8::2]:2"),
      "PROXY TCP6 0:0:0:0:0:ffff:c000:201 2001:db8:0:0:0:0:0:2 1 2\r\n",
    );
    assert.equal(
      text("[::ffff:192.0.2.1]:1", "10.0.0.1:2"),
      "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
    );
  });

  test("writes version 2 for both families", () => {
    assertBytes(
      encodeProxyHeader("v2", { source: "192.0.2.1:50000", destination: "198.51.100.2:22" }),
      hex("0d0a0d0a000d0a515549540a 21 11 000c c0000201 c6336402 c350 0016"),
    );
    assertBytes(
      encodeProxyHeader("v2", { source: "[2001:db8::1]:50000", destination: "[::1]:22" }),
      hex(`0d0a0d0a000d0a515549540a 21 21 0024
        20010db8000000000000000000000001 00000000000000000000000000000001 c350 0016`),
    );
  });

  test("keeps the source where the destination is a name", () => {
    const ends = { source: "192.0.2.1:50000", destination: "db.internal:22" };
    const v1 = Buffer.from(encodeProxyHeader("v1", ends)).toString();
    assert.equal(v1, "PROXY TCP4 192.0.2.1 0.0.0.0 50000 22\r\n");
    assertBytes(
      encodeProxyHeader("v2", ends),
      hex("0d0a0d0a000d0a515549540a 21 11 000c c0000201 00000000 c350 0016"),
    );
  });

  test("says that it knows nothing where the source is no address", () => {
    for (const source of ["/run/socket", "stdio", "name:1"]) {
      const ends = { source, destination: "10.0.0.1:22" };
      assert.equal(Buffer.from(encodeProxyHeader("v1", ends)).toString(), "PROXY UNKNOWN\r\n");
      assertBytes(encodeProxyHeader("v2", ends), hex("0d0a0d0a000d0a515549540a 20 00 0000"));
    }
  });
});
