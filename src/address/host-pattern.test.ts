import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ConfigError } from "../errors.ts";
import { normalizeHostName } from "./host-name.ts";
import { parseHostPattern } from "./host-pattern.ts";
import { parseHostPort } from "./target.ts";

function matches(pattern: string, hostPort: string): boolean {
  const target = parseHostPort(hostPort);
  assert.ok(target, hostPort);
  return parseHostPattern(pattern).matchesTarget({ network: "tcp", ...target });
}

describe("host patterns", () => {
  test("match as the table says", () => {
    const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
      ["10.0.0.0/8:22", ["10.9.9.9:22", "[::ffff:10.0.0.1]:22"], ["10.0.0.1:23", "11.0.0.1:22"]],
      ["127.0.0.1", ["127.0.0.1:1", "127.0.0.1:65535"], ["127.0.0.2:1", "localhost:1"]],
      ["::1", ["[::1]:80"], ["[::2]:80"]],
      ["[::1]:8080", ["[::1]:8080"], ["[::1]:80"]],
      ["[fd00::/8]:443", ["[fd12::1]:443"], ["[fd12::1]:80", "[fe80::1]:443"]],
      ["fd00::/8:443", ["[fd12::1]:443"], ["[fd12::1]:80"]],
      ["db.internal:5432", ["db.internal:5432", "DB.Internal.:5432"], ["x.db.internal:5432"]],
      ["*.internal:443", ["a.internal:443", "a.b.INTERNAL:443"], ["internal:443", "a.internal:80"]],
      [".internal", ["a.internal:1", "internal:1"], ["xinternal:1", "internal.example:1"]],
      ["*:8000-8999", ["x:8000", "10.0.0.1:8999"], ["x:7999", "x:9000"]],
      ["host:*", ["host:1", "host:65535"], ["other:1"]],
      ["*", ["host:1", "[::1]:1"], []],
      ["*.bücher.example", ["a.xn--bcher-kva.example:1", "a.BÜCHER.example:1"], []],
      ["0.0.0.0/0", ["1.2.3.4:5"], ["[2001:db8::1]:5", "name:5"]],
    ];
    for (const [pattern, yes, no] of cases) {
      for (const target of yes) assert.ok(matches(pattern, target), `${pattern} ~ ${target}`);
      for (const target of no) assert.ok(!matches(pattern, target), `${pattern} !~ ${target}`);
    }
  });

  test("say what is wrong", () => {
    const cases = [
      ["", /is empty/],
      [":80", /has no host/],
      ["10.0.0.0/33", /host pattern "10\.0\.0\.0\/33": prefix \/33 exceeds 32/],
      ["10.0.0.1/8:22", /bits behind its prefix; write 10\.0\.0\.0\/8/],
      ["http://host", /is a URL; write host:port/],
      ["host:0", /port 0 is not 1\.\.65535/],
      ["host:70000", /port 70000 is not 1\.\.65535/],
      ["host:90-80", /port range 90-80 runs backwards/],
      ["host:ssh", /port "ssh" is no port, no range/],
      ["host:", /port "" is no port/],
      ["[::1", /needs its \]/],
      ["[host]:80", /brackets are for IPv6/],
      ["a.*.example", /whole labels at the front/],
      ["db-*.example", /whole labels at the front/],
      ["*.", /"" is no host name/],
      ["ho st", /"ho st" is no host name/],
      ["a..b", /no host name/],
      ["127.1", /unusual spelling of an address/],
      ["2130706433:80", /unusual spelling of an address/],
      ["0x7f000001", /unusual spelling of an address/],
      ["256.0.0.1", /unusual spelling of an address/],
      ["fe80::1%eth0", /has a zone/],
      ["host/8", /host is no IP address/],
      ["1:2:3", /1:2:3 is no IP address/],
    ] as const;
    for (const [text, message] of cases) {
      assert.throws(() => parseHostPattern(text), { name: "ConfigError", message }, text);
    }
  });

  test("are read back from their own text", () => {
    const host = fc.oneof(
      fc.domain(),
      fc.domain().map((name) => `*.${name}`),
      fc.domain().map((name) => `.${name}`),
      fc.ipV4(),
      fc.ipV6().map((text) => `[${text}]`),
      fc.constant("*"),
      fc
        .nat(8)
        .map((bits) => `${256 - (1 << bits) === 256 ? 0 : 256 - (1 << bits)}.0.0.0/${8 - bits}`),
    );
    const ports = fc.oneof(
      fc.constant(""),
      fc.constant(":*"),
      fc.integer({ min: 1, max: 65_535 }).map((port) => `:${port}`),
      fc.integer({ min: 1, max: 65_000 }).map((port) => `:${port}-${port + 500}`),
    );
    fc.assert(
      fc.property(host, ports, (left, right) => {
        const pattern = parseHostPattern(left + right);
        assert.deepEqual(parseHostPattern(pattern.toString()), pattern);
      }),
    );
  });

  test("throw only ConfigError on garbage", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseHostPattern(text);
        } catch (thrown) {
          assert.ok(thrown instanceof ConfigError);
        }
      }),
    );
  });

  test("know whether they name one thing", () => {
    for (const text of ["127.0.0.1", "[::1]:80", "host:80"]) {
      assert.ok(parseHostPattern(text).isExact, text);
    }
    for (const text of ["127.0.0.0/31", "*.host", ".host", "*:80"]) {
      assert.ok(!parseHostPattern(text).isExact, text);
    }
  });
});

describe("host names", () => {
  test("have one form", () => {
    assert.equal(normalizeHostName("Example.COM."), "example.com");
    assert.equal(normalizeHostName("Bücher.example"), "xn--bcher-kva.example");
    // Fullwidth digits become an address, which the resolver and then the policy see.
    assert.equal(normalizeHostName("１２７.０.０.１"), "127.0.0.1");
  });

  test("never carry separators of other protocols", () => {
    for (const name of ["", ".", "a b", "a\r\nb", "a\0b", "x".repeat(254)]) {
      assert.equal(normalizeHostName(name), undefined, JSON.stringify(name));
    }
  });
});
