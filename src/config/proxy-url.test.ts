import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatProxyUrl, parseProxyUrl } from "./proxy-url.ts";

describe("a proxy URL", () => {
  test("reads every kind, with and without a user", () => {
    assert.deepEqual(parseProxyUrl("http://proxy.example:3128"), {
      scheme: "http",
      host: "proxy.example",
      port: 3128,
    });
    assert.deepEqual(parseProxyUrl("socks5h://[::1]/"), {
      scheme: "socks5",
      host: "::1",
      port: 1080,
    });
    assert.deepEqual(parseProxyUrl("https://bob:env:PROXY_PASSWORD@proxy"), {
      scheme: "https",
      host: "proxy",
      port: 443,
      user: { name: "bob", password: { kind: "env", name: "PROXY_PASSWORD" } },
    });
  });

  test("reads back what it writes, and hides the password otherwise", () => {
    for (const text of [
      "http://proxy:3128",
      "socks5://[::1]:1080",
      "http://bob:env:P@proxy:80",
      "socks4a://bob@proxy:1080",
      "http://b%40b%3A:s%20%25%3F@proxy:80",
    ]) {
      assert.equal(formatProxyUrl(parseProxyUrl(text), { reveal: true }), text);
    }
    assert.equal(formatProxyUrl(parseProxyUrl("http://bob:pw@proxy")), "http://bob:***@proxy:80");
  });

  test("refuses what it cannot use, naming the problem", () => {
    const table: Record<string, RegExp> = {
      "proxy:3128": /a proxy is written http:\/\/host:port/,
      "htp://proxy": /proxy kind "htp" is not one of .* \(did you mean "http"\?\)/,
      "http://proxy:x": /port "x" is not 0..65535/,
      "http://b%zz:x@proxy": /written %25/,
      "http://pro xy": /holds a character/,
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.throws(() => parseProxyUrl(text), expected, text);
    }
  });
});
