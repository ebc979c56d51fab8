import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { readHeaderRows } from "../../../test/golden/godoxy-transcript.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { TunnelError } from "../../errors.ts";
import { decodeHeader, encodeHeader, encodeProbe, HEADER_BYTES, isProbe } from "./header.ts";
import { targetOf } from "./header-target.ts";

describe("godoxy header", () => {
  test("encodes every target as the original does", () => {
    let count = 0;
    for (const row of readHeaderRows("header-encode")) {
      if (row.hex === undefined) continue;
      const { host = "", port = "", flags = 0 } = row;
      assertBytes(encodeHeader({ host, port, flags }), hex(row.hex), row.case);
      if ("health" in row) assertBytes(encodeProbe(), hex(row.hex), row.case);
      count++;
    }
    assert.equal(count, 39);
  });

  test("refuses what the original refuses: hosts and ports that do not fit", () => {
    for (const row of readHeaderRows("header-encode")) {
      // Splitting host:port is not the header's affair: our targets come split.
      if (row.error === undefined || row.host === undefined || row.port === undefined) continue;
      const { host, port } = row;
      assert.throws(
        () => encodeHeader({ host, port }),
        { code: "ERR_ADDRESS_UNSUPPORTED", message: /bytes exceeds (?:255|5)/ },
        row.case,
      );
    }
  });

  test("judges every header as the original does", () => {
    for (const row of readHeaderRows("header-decode")) {
      const bytes = hex(row.hex ?? "");
      if (row.valid !== true) {
        assert.throws(() => decodeHeader(bytes), { code: "ERR_PROTOCOL" }, row.case);
        continue;
      }
      const header = decodeHeader(bytes);
      assert.equal(isProbe(header), row.closeImmediately, row.case);
      const text = (digits = ""): string => Buffer.from(digits, "hex").toString("utf8");
      assert.equal(header.host, text(row.hostHex), row.case);
      assert.equal(header.port, text(row.portHex), row.case);
    }
  });

  test("has the checksums of the table", () => {
    for (const [host, port, flags, checksum] of TABLE) {
      const bytes = encodeHeader({ host, port, flags });
      assertBytes(bytes.subarray(271), hex(checksum), `${host}:${port} ${flags}`);
    }
  });

  test("says which check failed, in the original's order", () => {
    const spoilt = encodeHeader({ host: "a", port: "1" });
    spoilt[264] = 6;
    assert.throws(() => decodeHeader(spoilt), /header port length 6 exceeds 5/);
    spoilt[7] = 0x20;
    assert.throws(() => decodeHeader(spoilt), /header version 302e312e30000020 is not 0\.1\.0/);
    const changed = encodeHeader({ host: "a", port: "1" });
    changed[9] = 0x62;
    assert.throws(() => decodeHeader(changed), /header checksum [0-9a-f]{8} is not [0-9a-f]{8}/);
    assert.throws(() => decodeHeader(changed.subarray(1)), /header of 274 bytes is not 275/);
  });

  test("reads back what it wrote, and garbage breaks nothing", () => {
    // At most four bytes each.
    const part = (max: number): fc.Arbitrary<string> => {
      return fc.string({ unit: "binary", maxLength: Math.floor(max / 4) });
    };
    fc.assert(
      fc.property(part(255), part(5), fc.nat(255), (host, port, flags) => {
        const bytes = encodeHeader({ host, port, flags });
        assert.equal(bytes.byteLength, HEADER_BYTES);
        assert.deepEqual(decodeHeader(bytes), { host, port, flags });
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 270, maxLength: 280 }), (bytes) => {
        assert.throws(() => decodeHeader(bytes), TunnelError);
      }),
    );
  });
});

describe("godoxy header target", () => {
  test("reads the odd forms the original takes", () => {
    const ports = { "08901": 8901, "+8901": 8901, ssh: 22, HTTP: 80, "65535": 65_535 };
    for (const [port, expected] of Object.entries(ports)) {
      assert.equal(targetOf({ host: "a", port }, "tcp").port, expected, port);
    }
    assert.deepEqual(targetOf({ host: "", port: "18901" }, "tcp"), {
      network: "tcp",
      host: "localhost",
      port: 18_901,
    });
    assert.equal(targetOf({ host: "fe80::1%eth0", port: "53" }, "udp").host, "fe80::1%eth0");
  });

  test("refuses what cannot be dialled", () => {
    for (const port of ["", "0", "00000", "65536", "-1", "1.5", "nope", "h\ufffdp", " 80"]) {
      assert.throws(() => targetOf({ host: "a", port }, "tcp"), /header (?:names no )?port/, port);
    }
    for (const host of ["[::1]", "a\0b", "a b", "\u0001", "\ufffd", `a${"\0".repeat(254)}`]) {
      assert.throws(() => targetOf({ host, port: "1" }, "tcp"), /header host/, host);
    }
  });
});

/** Host, port, flags, checksum: specification 1.1. */
const TABLE = [
  ["example.com", "443", 0, "e8 9b 2e 09"],
  ["", "", 1, "7d 62 1c 75"],
  ["", "", 0, "0a 65 2c e3"],
  ["127.0.0.1", "8080", 0, "24 9c ed ad"],
  ["127.0.0.1", "8080", 2, "ca 92 8c 81"],
  ["::1", "53", 0, "32 b7 9c bb"],
  ["db.internal", "5432", 0, "12 3b de 46"],
  ["a".repeat(255), "65535", 0, "b5 68 8f 8d"],
] as const;
