import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ConfigError, ProtocolError } from "../../../errors.ts";
import { decodeGoBase64 } from "./go-base64.ts";
import { DEFAULT_TLS, readProxyConfig } from "./proxy-config.ts";

describe("base64 as Go reads it", () => {
  test("names the byte that is wrong", () => {
    for (const [text, faultAt] of [
      ["not-base64", 3],
      ["a", 0],
      ["ab", 0],
      ["abc", 0],
      ["abcda", 4],
      ["a===", 1],
      ["=", 0],
      ["ab=", 3],
      ["ab=c", 2],
      ["ab==c", 4],
      ["abc==", 4],
      ["abc=d", 4],
      ["abc_", 3],
      ["abcd ", 4],
    ] as const) {
      assert.deepEqual(decodeGoBase64(text), { faultAt }, text);
    }
  });

  test("reads back whatever was written", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const result = decodeGoBase64(Buffer.from(bytes).toString("base64"));
        assert.ok("bytes" in result);
        assert.deepEqual(Buffer.from(result.bytes), Buffer.from(bytes));
      }),
    );
  });

  test("never takes what Node would write differently", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), (text) => {
        const result = decodeGoBase64(text);
        if (!("bytes" in result)) return;
        assert.equal(
          Buffer.from(result.bytes).byteLength,
          Math.floor((text.replace(/=+$/, "").length * 3) / 4),
        );
        assert.equal(text.length % 4, 0);
      }),
    );
  });
});

describe("the configuration of a proxied request", () => {
  test("is read from the present headers", () => {
    const config = readProxyConfig(
      modern({
        no_tls_verify: true,
        response_header_timeout: 1_500_000_000,
        max_conns_per_host: 7,
        disable_compression: true,
        ssl_server_name: "inner.example",
        ssl_protocols: ["TLSv1.1", "tlsv1.2"],
        something_new: [1],
      }),
    );
    assert.deepEqual(config, {
      scheme: "https",
      host: "h",
      port: 443,
      responseHeaderTimeoutMs: 1_500,
      maxConnections: 7,
      tls: {
        insecure: true,
        serverName: "inner.example",
        hasSni: true,
        minVersion: "TLSv1.2",
        maxVersion: "TLSv1.2",
      },
    });
    assert.deepEqual(readProxyConfig(modern({})), {
      scheme: "https",
      host: "h",
      port: 443,
      maxConnections: 0,
      responseHeaderTimeoutMs: undefined,
      tls: DEFAULT_TLS,
    });
    assert.equal(readProxyConfig(modern({ ssl_server_name: "off" })).tls.hasSni, false);
    assert.equal(readProxyConfig(modern({ ssl_server_name: "on" })).tls.serverName, undefined);
    const newest = readProxyConfig(modern({ ssl_protocols: ["tlsv1.3"] })).tls;
    assert.deepEqual([newest.minVersion, newest.maxVersion], ["TLSv1.3", "TLSv1.3"]);
    assert.equal(
      readProxyConfig(modern({ response_header_timeout: 9e15 })).responseHeaderTimeoutMs,
      3_600_000,
    );
    assert.equal(
      readProxyConfig(modern({ response_header_timeout: -1 })).responseHeaderTimeoutMs,
      undefined,
    );
  });

  test("is read from the headers of old servers", () => {
    const config = readProxyConfig({
      "x-proxy-host": ["[::1]:8443"],
      "x-proxy-https": ["true"],
      "x-proxy-skip-tls-verify": ["1"],
      "x-proxy-response-header-timeout": ["3"],
    });
    assert.deepEqual(config, {
      scheme: "https",
      host: "::1",
      port: 8443,
      maxConnections: 0,
      responseHeaderTimeoutMs: 3_000,
      tls: { ...DEFAULT_TLS, insecure: true },
    });
    const plain = readProxyConfig({
      "x-proxy-host": ["h"],
      "x-proxy-https": ["yes"],
      "x-proxy-response-header-timeout": ["soon"],
    });
    assert.equal(plain.scheme, "http");
    assert.equal(plain.port, 80);
    assert.equal(plain.responseHeaderTimeoutMs, undefined);
  });

  test("is refused in the words of the reference", () => {
    const good = modern({});
    for (const [headers, text] of [
      [{ ...good, "x-proxy-config": ["not-base64"] }, "illegal base64 data at input byte 3"],
      [{ ...good, "x-proxy-host": undefined }, "missing proxy host"],
      [{ "x-proxy-host": ["h"], "x-proxy-config": ["e30="] }, "invalid proxy scheme"],
      [{ ...good, "x-proxy-scheme": ["ftp"] }, "invalid proxy scheme"],
      [{}, "missing proxy host"],
      [{ ...good, "x-proxy-config": [""] }, "config is no JSON"],
      [{ ...good, "x-proxy-config": ["W10="] }, "config is no JSON object"],
      [{ ...good, "x-proxy-config": ["bnVsbA=="] }, "config is no JSON object"],
      [{ ...good, "x-proxy-config": ["/w=="] }, "config is no JSON"],
      [{ ...good, "x-proxy-config": ["A".repeat(16_388)] }, "config of 16388 bytes exceeds 16384"],
      [modern({ no_tls_verify: "yes" }), "no_tls_verify is of the wrong type"],
      [modern({ response_header_timeout: 1.5 }), "response_header_timeout is of the wrong type"],
      [modern({ max_conns_per_host: "1" }), "max_conns_per_host is of the wrong type"],
      [modern({ ssl_protocols: "tlsv1.2" }), "ssl_protocols is of the wrong type"],
      [modern({ ssl_protocols: [12] }), "ssl_protocols is of the wrong type"],
    ] as const) {
      assert.throws(() => readProxyConfig(headers), new ProtocolError(text));
    }
  });

  test("names nothing twice, so that nobody on the way understands it differently", () => {
    for (const name of ["x-proxy-host", "x-proxy-scheme", "x-proxy-config", "x-proxy-https"]) {
      const twice = { ...modern({}), [name]: ["a", "b"] };
      assert.throws(() => readProxyConfig(twice), new ProtocolError(`more than one ${name}`));
    }
  });

  test("names a host and nothing beside it", () => {
    for (const host of [
      "h:0x50",
      "h:65536",
      "u@h",
      "h/x",
      "h?x",
      "h#",
      "a b",
      "::1",
      "[h]",
      "h\\x",
      ":80",
      "h%00",
      "[::1",
    ]) {
      const headers = { ...modern({}), "x-proxy-host": [host] };
      assert.throws(() => readProxyConfig(headers), new ProtocolError("invalid proxy host"), host);
    }
  });

  test("never makes this agent read a file, or speak an old TLS", () => {
    for (const [json, text] of [
      [
        { ssl_trusted_certificate: "/etc/x" },
        /^ssl_trusted_certificate: this agent reads no files/,
      ],
      [{ ssl_certificate: "/etc/x" }, /^ssl_certificate: this agent reads no files/],
      [{ ssl_certificate_key: "/etc/x" }, /^ssl_certificate_key: this agent reads no files/],
      [{ ssl_protocols: ["sslv3"] }, /^sslv3: unsupported TLS protocol/],
      [{ ssl_protocols: ["tlsv1.0", "tlsv1.1"] }, /^ssl_protocols: TLS before 1\.2/],
    ] as const) {
      assert.throws(
        () => readProxyConfig(modern(json)),
        (error) => error instanceof ConfigError && text.test(error.message),
      );
    }
  });

  test("never fails otherwise, whatever the headers say", () => {
    const value = fc.option(fc.array(fc.string(), { maxLength: 2 }), { nil: undefined });
    const json = fc.json().map((text) => [Buffer.from(text).toString("base64")]);
    fc.assert(
      fc.property(value, value, json, value, (host, scheme, config, https) => {
        try {
          readProxyConfig({
            "x-proxy-host": host,
            "x-proxy-scheme": scheme,
            "x-proxy-config": config,
            "x-proxy-https": https,
          });
        } catch (error) {
          assert.ok(error instanceof ProtocolError || error instanceof ConfigError);
        }
      }),
    );
  });
});

function modern(json: object): Readonly<Record<string, readonly string[] | undefined>> {
  return {
    "x-proxy-host": ["h"],
    "x-proxy-scheme": ["https"],
    "x-proxy-config": [Buffer.from(JSON.stringify(json)).toString("base64")],
  };
}
