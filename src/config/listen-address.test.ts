import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import {
  formatListenAddress,
  isLoopback,
  isSameListener,
  parseForwardAddress,
  parseListenAddress,
} from "./listen-address.ts";

describe("a listen address", () => {
  test("reads ports, hosts with ports, and paths", () => {
    const table: Record<string, unknown> = {
      "1080": { host: "127.0.0.1", port: 1080 },
      "0": { host: "127.0.0.1", port: 0 },
      "0.0.0.0:1080": { host: "0.0.0.0", port: 1080 },
      "localhost:1080": { host: "localhost", port: 1080 },
      "[::1]:1080": { host: "::1", port: 1080 },
      ":1080": { host: "0.0.0.0", port: 1080 },
      "*:1080": { host: "0.0.0.0", port: 1080 },
      "/run/sluice.sock": { path: "/run/sluice.sock" },
      "./sluice.sock": { path: "./sluice.sock" },
      "unix:sluice.sock": { path: "sluice.sock" },
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.deepEqual(parseListenAddress(text), expected, text);
    }
    assert.equal(parseForwardAddress("-"), "stdio");
  });

  test("refuses what is neither, naming the problem", () => {
    const table: Record<string, RegExp> = {
      "": /"" is no port, host:port or \/path/,
      localhost: /"localhost" is no port/,
      "::1": /"::1" has no port: write \[::1\]:1080/,
      "65536": /port "65536" is not 0..65535/,
      "host:http": /port "http" is not 0..65535/,
      "a b:c:80": /"a b:c:80" is no host:port/,
      "unix:": /path of the Unix socket is empty/,
      [`/${"x".repeat(103)}`]: /has 104 bytes, more than 103/,
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.throws(() => parseListenAddress(text), expected, text);
    }
  });

  test("reads back what it writes", () => {
    const address = fc.oneof(
      fc
        .tuple(fc.constantFrom("127.0.0.1", "0.0.0.0", "::1", "::", "localhost"), fc.nat(65_535))
        .map(([host, port]) => ({ host, port })),
      fc.stringMatching(/^[a-z./-]{1,20}$/).map((path) => ({ path })),
      fc.constant("stdio" as const),
    );
    fc.assert(
      fc.property(address, (written) => {
        assert.deepEqual(parseForwardAddress(formatListenAddress(written)), written);
      }),
    );
  });

  test("knows which listeners exclude each other", () => {
    const same = (one: string, other: string): boolean =>
      isSameListener(parseListenAddress(one), parseListenAddress(other));
    assert.ok(same("1080", "127.0.0.1:1080"));
    assert.ok(same("1080", "localhost:1080"));
    assert.ok(same("0.0.0.0:1080", "127.0.0.1:1080"));
    assert.ok(same("/a", "/a"));
    assert.ok(!same("1080", "1081"));
    assert.ok(!same("127.0.0.1:1080", "127.0.0.2:1080"));
    assert.ok(!same("0", "0"));
    assert.ok(!same("/a", "1080"));
  });

  test("knows what only this machine can reach", () => {
    for (const text of ["1080", "localhost:1", "[::1]:1", "/a"]) {
      assert.ok(isLoopback(parseListenAddress(text)), text);
    }
    for (const text of [":1080", "10.0.0.1:1", "[::]:1"]) {
      assert.ok(!isLoopback(parseListenAddress(text)), text);
    }
  });
});
