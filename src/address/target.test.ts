import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { formatHostPort, formatTarget, parseHostPort } from "./target.ts";

describe("targets", () => {
  test("writes host and port, IPv6 in brackets, UDP named", () => {
    assert.equal(formatHostPort("example.com", 80), "example.com:80");
    assert.equal(formatHostPort("::1", 80), "[::1]:80");
    assert.equal(formatTarget({ network: "tcp", host: "10.0.0.1", port: 22 }), "10.0.0.1:22");
    assert.equal(formatTarget({ network: "udp", host: "::1", port: 53 }), "[::1]:53/udp");
  });

  test("reads what it writes", () => {
    const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(host, fc.nat(65_535), (name, port) => {
        assert.deepEqual(parseHostPort(formatHostPort(name, port)), { host: name, port });
      }),
    );
  });

  test("refuses what is no host and port", () => {
    for (const text of [
      "",
      ":80",
      "host",
      "host:",
      "host:65536",
      "host:-1",
      "host:8o",
      "::1:80",
      "[::1]",
      "[]:80",
      "[host]:80",
      "[127.0.0.1]:80",
      "host:80 ",
      "host:80:90",
    ]) {
      assert.equal(parseHostPort(text), undefined, text);
    }
  });

  test("never throws", () => {
    fc.assert(fc.property(fc.string(), (text) => void parseHostPort(text)));
  });
});
