import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  clientResponseHeaders,
  encodeHead,
  endToEndHeaders,
  framingOf,
  originRequestHeaders,
} from "./headers.ts";

describe("headers on their way through the agent", () => {
  const from = { method: "GET", address: "192.0.2.1", host: "godoxy.agent" };

  test("say where a request comes from, whatever it says itself", () => {
    const raw = fields(
      "Host: godoxy.agent",
      "X-Forwarded-For: 203.0.113.9",
      "x-forwarded-for: 10.0.0.1",
      "Forwarded: for=evil",
      "X-Forwarded-Proto: http",
      "X-Forwarded-Host: evil",
      "X-Forwarded-Method: DELETE",
      "X-Forwarded-Uri: /evil",
      "X-Own: kept",
      "TE: gzip, trailers",
    );
    const wanted = fields(
      "Host: godoxy.agent",
      "X-Own: kept",
      "X-Forwarded-For: 203.0.113.9, 10.0.0.1, 192.0.2.1",
      "X-Forwarded-Host: godoxy.agent",
      "X-Forwarded-Method: GET",
      "X-Forwarded-Proto: https",
      "X-Forwarded-Uri: ",
      "Te: trailers",
    );
    assert.deepEqual(originRequestHeaders(raw, from), wanted);
  });

  test("leave those of the connection behind, and those it names, but never the framing", () => {
    const raw = fields(
      "Connection: close, X-Secret , content-length",
      "connection: host",
      "X-Secret: 1",
      "Content-Length: 3",
      "Host: h",
      "Keep-Alive: 5",
      "Upgrade: h2c",
      "HTTP2-Settings: AA",
      "Proxy-Authorization: x",
      "X-Own: 1",
    );
    assert.deepEqual(endToEndHeaders(raw), fields("Content-Length: 3", "Host: h", "X-Own: 1"));
  });

  test("frame the body as it was framed", () => {
    assert.deepEqual(framingOf(["Transfer-Encoding", "chunked"], "POST"), [
      "Transfer-Encoding",
      "chunked",
    ]);
    assert.deepEqual(framingOf([], "POST"), ["Content-Length", "0"]);
    assert.deepEqual(framingOf(["Content-Length", "1"], "POST"), []);
    assert.deepEqual(framingOf([], "GET"), []);
    assert.deepEqual(clientResponseHeaders(["Transfer-Encoding", "Chunked", "A", "b"]), ["A", "b"]);
    assert.deepEqual(clientResponseHeaders(["Transfer-Encoding", "gzip, chunked"]), [
      "Transfer-Encoding",
      "gzip, chunked",
    ]);
    const head = Buffer.from(encodeHead(101, "Go", ["A", "b"])).toString();
    assert.equal(head, "HTTP/1.1 101 Go\r\nA: b\r\n\r\n");
  });
});

function fields(...lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const colon = line.indexOf(": ");
    return [line.slice(0, colon), line.slice(colon + 2)];
  });
}
