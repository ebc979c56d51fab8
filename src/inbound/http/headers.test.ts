import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  clientResponseHeaders,
  endToEndHeaders,
  originRequestHeaders,
  parseAbsoluteTarget,
  parseAuthority,
} from "./headers.ts";

describe("http proxy targets", () => {
  test("reads absolute URLs and leaves the path as it is", () => {
    for (const [url, host, port, authority, path] of [
      ["http://example.com/", "example.com", 80, "example.com", "/"],
      ["http://example.com", "example.com", 80, "example.com", "/"],
      ["HTTP://Example.COM:8080/a/../b?c#d", "Example.COM", 8080, "Example.COM:8080", "/a/../b?c"],
      ["http://h?q=/x", "h", 80, "h", "/?q=/x"],
      ["http://u:p@h:1/", "h", 1, "h:1", "/"],
      ["http://h:/x", "h", 80, "h", "/x"],
      ["http://[::1]/x", "::1", 80, "[::1]", "/x"],
      ["http://[2001:db8::1]:81", "2001:db8::1", 81, "[2001:db8::1]:81", "/"],
      ["ws://h/socket", "h", 80, "h", "/socket"],
      ["http://h/%7Ea/%2F//", "h", 80, "h", "/%7Ea/%2F//"],
    ] as const) {
      assert.deepEqual(parseAbsoluteTarget(url), { host, port, authority, path }, url);
    }
    assert.equal(parseAbsoluteTarget("http://h", "OPTIONS")?.path, "*");
    assert.equal(parseAbsoluteTarget("http://h/", "OPTIONS")?.path, "/");
  });

  test("rejects everything else", () => {
    for (const url of [
      "",
      "/",
      "/path",
      "*",
      "example.com:80",
      "https://h/",
      "ftp://h/",
      "http:/h/",
      "http://",
      "http:///x",
      "http://:80/",
      "http://h:99999/",
      "http://h:x/",
      "http://[::1/",
      "http://[h]/",
      "http://a b/",
      "http://h\\x/",
      "http://h\u0000/",
    ]) {
      assert.equal(parseAbsoluteTarget(url), undefined, JSON.stringify(url));
    }
  });

  test("reads the authority of a CONNECT, which needs a port", () => {
    assert.deepEqual(parseAuthority("example.com:443"), { host: "example.com", port: 443 });
    assert.deepEqual(parseAuthority("[::1]:22"), { host: "::1", port: 22 });
    for (const text of ["example.com", "[::1]", "::1", "h:", ":1", "u@h:1", "h:1/", "h:65536"]) {
      assert.equal(parseAuthority(text), undefined, text);
    }
  });

  test("survives any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        parseAbsoluteTarget(`http://${text}`);
        const found = parseAuthority(text, 80);
        if (found !== undefined) assert.ok(found.host !== "" && found.port <= 65_535);
      }),
    );
  });
});

describe("http proxy headers", () => {
  test("drops hop-by-hop fields, and those that Connection lists", () => {
    const raw = [
      "Host",
      "h",
      "Connection",
      "keep-alive, X-Private",
      "X-Private",
      "1",
      "Accept",
      "*/*",
      "Proxy-Authorization",
      "Basic x",
      "Proxy-Connection",
      "keep-alive",
      "TE",
      "trailers",
      "Keep-Alive",
      "timeout=5",
      "Upgrade",
      "h2c",
      "Trailer",
      "X-Sum",
      "connection",
      "x-late",
      "Cookie",
      "a=1",
      "COOKIE",
      "b=2",
      "X-LATE",
      "2",
      "Transfer-Encoding",
      "chunked",
    ];
    const kept = [
      "Host",
      "h",
      "Accept",
      "*/*",
      "Trailer",
      "X-Sum",
      "Cookie",
      "a=1",
      "COOKIE",
      "b=2",
    ];
    assert.deepEqual(endToEndHeaders(raw), kept);
  });

  test("lets no client talk a length or host away", () => {
    const raw = ["Host", "h", "Content-Length", "5", "Connection", "content-length, host"];
    assert.deepEqual(endToEndHeaders(raw), ["Host", "h", "Content-Length", "5"]);
  });

  test("names the origin that the URL names", () => {
    const raw = ["User-Agent", "x", "Host", "other.example", "host", "third.example"];
    const headers = originRequestHeaders(raw, { method: "GET", authority: "h:8080" });
    assert.deepEqual(headers, ["Host", "h:8080", "User-Agent", "x"]);
  });

  test("says how a request's body is framed", () => {
    const framing = (raw: string[], method = "POST"): string[] =>
      originRequestHeaders(raw, { method, authority: "h" }).slice(2);
    assert.deepEqual(framing(["Content-Length", "3"]), ["Content-Length", "3"]);
    assert.deepEqual(framing(["transfer-encoding", "chunked"]), ["Transfer-Encoding", "chunked"]);
    assert.deepEqual(framing([]), ["Content-Length", "0"]);
    assert.deepEqual(framing([], "GET"), []);
    assert.deepEqual(framing([], "DELETE"), []);
  });

  test("keeps a response's coding, and leaves its chunks to the server", () => {
    assert.deepEqual(clientResponseHeaders(["Transfer-Encoding", "chunked", "A", "b"]), ["A", "b"]);
    assert.deepEqual(clientResponseHeaders(["transfer-encoding", "gzip, chunked"]), [
      "Transfer-Encoding",
      "gzip, chunked",
    ]);
  });
});
