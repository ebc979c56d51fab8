import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks, singleBytes } from "../../../../test/support/chunks.ts";
import { assertBytes } from "../../../../test/support/hex.ts";
import { ByteReader, type Parser } from "../../../bytes/byte-reader.ts";
import { TunnelError } from "../../../errors.ts";
import { formatHttpDate } from "./http-date.ts";
import { fieldOf, HEAD_LIMITS, type HttpHead, listOf, readHead } from "./http-head.ts";
import {
  acceptOf,
  encodeAccepted,
  encodeRequest,
  judgeAnswer,
  judgeRequest,
  offersSocks,
  readAnswer,
} from "./upgrade.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const NOW = Date.UTC(2026, 10, 20, 15, 40, 52);
const ASKED = { peer: "server:443", key: KEY, askedAt: NOW, answeredAt: NOW + 100 };

describe("an upgrade request", () => {
  test("is that of the original, but for Host and key", () => {
    const request = { host: "localhost", port: 8_443, key: KEY, authorization: "Basic eA==" };
    const lines = [
      "GET / HTTP/1.1",
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Host: localhost:8443",
      `Sec-WebSocket-Key: ${KEY}`,
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Protocol: socks5",
      "Authorization: Basic eA==",
    ];
    assertBytes(encodeRequest(request), Buffer.from(`${lines.join("\r\n")}\r\n\r\n`));
  });

  test("names the host as browsers do", () => {
    for (const [host, port, expected] of [
      ["h", 80, "h"],
      ["h", 443, "h"],
      ["h", 8_080, "h:8080"],
      ["2001:db8::1", 443, "[2001:db8::1]"],
      ["2001:db8::1", 1, "[2001:db8::1]:1"],
    ] as const) {
      const request = parse(readHead, encodeRequest({ host, port, key: KEY, authorization: "x" }));
      assert.equal(fieldOf(request, "host"), expected);
    }
  });

  test("is judged in the order of the original", () => {
    const right = {
      upgrade: "websocket",
      connection: "Upgrade",
      "sec-websocket-key": KEY,
    };
    const headers = "upgrading related headers are invalid";
    const body = "upgrading request should not contain a body";
    for (const [method, changes, hasMore, reason] of [
      ["GET", {}, false, undefined],
      ["POST", { upgrade: "x" }, true, "unsupported http method POST"],
      ["GET", { upgrade: undefined, connection: "x" }, true, "page"],
      ["GET", { upgrade: "h2c" }, true, headers],
      ["GET", { upgrade: "WebSocket, h2c" }, false, undefined],
      ["GET", { connection: "keep-alive" }, true, headers],
      ["GET", { connection: "keep-alive, upgrade" }, false, undefined],
      ["GET", { "sec-websocket-key": undefined }, true, headers],
      ["GET", { "sec-websocket-key": "!" }, true, headers],
      ["GET", { "sec-websocket-key": "YQ" }, false, undefined],
      ["GET", { "content-length": "0" }, true, headers],
      ["GET", { "transfer-encoding": "chunked" }, false, headers],
      ["GET", {}, true, body],
    ] as const) {
      const fields = Object.entries({ ...right, ...changes }).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, value] as const],
      );
      const judged = judgeRequest({ start: [method, "/", "HTTP/1.1"], fields }, hasMore);
      const found = judged.kind === "refused" ? judged.reason : judged.kind;
      assert.equal(found, reason ?? "upgrade", JSON.stringify(changes));
    }
  });

  test("may offer several protocols, in one field or in several", () => {
    const offers = (...values: string[]): boolean =>
      offersSocks(
        head(
          "GET",
          values.map((value) => ["sec-websocket-protocol", value] as const),
        ),
      );
    assert.ok(offers("socks5"));
    assert.ok(offers("chat", "socks5"));
    assert.ok(offers("chat, Socks5"));
    assert.ok(!offers());
    assert.ok(!offers("socks4", "socks55"));
  });
});

describe("an answer to an upgrade", () => {
  test("says yes in the order and the spelling of the original", () => {
    const lines = [
      "HTTP/1.1 101 Switching Protocols",
      "Date: Fri, 20 Nov 2026 15:40:52 GMT",
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
      "Sec-WebSocket-Protocol: socks5",
    ];
    assertBytes(encodeAccepted(KEY, NOW), Buffer.from(`${lines.join("\r\n")}\r\n\r\n`));
    assert.equal(judge(encodeAccepted(KEY, NOW)), undefined);
  });

  test("is looked at closely", () => {
    const right = Buffer.from(encodeAccepted(KEY, NOW)).toString();
    for (const [from, to, words] of [
      ["Upgrade: websocket", "Upgrade: h2c", /not to a WebSocket/],
      ["Connection: Upgrade", "Connection: close", /without Connection/],
      [acceptOf(KEY), acceptOf("other"), /not to our key/],
      ["Date:", "Content-Length: 3\r\nDate:", /with a length/],
      ["socks5", "chat", /not to socks5/],
      [" 101 ", " 404 ", /HTTP 404/],
      [" 101 ", " 502 ", /HTTP 502/],
      [" 101 ", " 301 ", /HTTP 301/],
      [" 101 ", " 200 ", /HTTP 200/],
    ] as const) {
      assert.match(judge(Buffer.from(right.replace(from, to)))?.message ?? "", words);
    }
    for (const [from, to] of [
      ["Upgrade: websocket", "Upgrade: WebSocket"],
      ["Connection: Upgrade", "Connection: keep-alive, upgrade"],
      ["Sec-WebSocket-Protocol: socks5\r\n", ""],
      ["Date:", "Content-Length: 0\r\nDate:"],
    ] as const) {
      assert.equal(judge(Buffer.from(right.replace(from, to))), undefined, to);
    }
  });

  test("that is 401 is final only when the clocks agree", () => {
    const unauthorized = (date: string): TunnelError | undefined =>
      judge(Buffer.from(`HTTP/1.1 401 Unauthorized\r\n${date}\r\n\r\n`));
    const agreed = unauthorized(`Date: ${formatHttpDate(NOW + 60_000)}`);
    assert.equal(agreed?.code, "ERR_REFUSED_FOR_GOOD");
    assert.match(agreed?.hint ?? "", /check user and password/);
    const unknown = unauthorized("Date: Fri Nov 20 15:40:52 CST 2026");
    assert.equal(unknown?.code, "ERR_AUTH");
    assert.match(unknown?.hint ?? "", /user and password, and the clocks/);
    for (const [aheadMs, words] of [
      [7 * 60_000 + 12_100, /our clock is 7 min 12 s behind the server's/],
      [-3 * 3_600_000 - 1_000, /our clock is 3 h 0 min ahead of the server's/],
      [72 * 3_600_000, /our clock is 3 days behind/],
    ] as const) {
      const skewed = unauthorized(`Date: ${formatHttpDate(NOW + aheadMs)}`);
      assert.equal(skewed?.code, "ERR_AUTH");
      assert.match(skewed?.message ?? "", words);
      assert.match(skewed?.hint ?? "", /NTP/);
    }
  });

  test("may follow interim ones, but not for ever", () => {
    const interim = Buffer.from("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    const accepted = encodeAccepted(KEY, NOW);
    assert.equal(judge(Buffer.concat([interim, interim, accepted])), undefined);
    const many = Array.from({ length: 6 }, () => interim);
    assert.throws(() => judge(Buffer.concat(many)), { code: "ERR_PROTOCOL" });
  });
});

describe("a head of HTTP", () => {
  const request = encodeRequest({ host: "h", port: 1, key: KEY, authorization: "Basic eA==" });

  test("is read from any chunking, and leaves what follows", () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat(20)), (sizes) => {
        const reader = new ByteReader();
        const parser = readHead(reader);
        for (const chunk of randomChunks(request, sizes)) {
          assert.ok(parser.next().done === false);
          reader.push(chunk);
        }
        reader.push(Buffer.from("more"));
        const step = parser.next();
        assert.ok(step.done === true);
        assert.deepEqual(step.value.start, ["GET", "/", "HTTP/1.1"]);
        assert.equal(fieldOf(step.value, "sec-websocket-key"), KEY);
        assert.equal(Buffer.from(reader.rest()).toString(), "more");
      }),
    );
    const singly = parse(readHead, ...singleBytes(request));
    assert.deepEqual(listOf(singly, "upgrade"), ["websocket"]);
  });

  test("may end its lines in line feeds, and repeat fields", () => {
    const found = parse(readHead, Buffer.from("GET /x HTTP/1.0\nA: 1,2\nB:\na: x\nA: \t3 \n\n"));
    assert.deepEqual(listOf(found, "a"), ["1", "2", "x", "3"]);
    assert.equal(fieldOf(found, "b"), "");
  });

  test("is refused as soon as it can be none", () => {
    for (const [text, words] of [
      ["\x16\x03\x01", /TLS/],
      ["\x05\x01\x00", /not speak HTTP/],
      ["get / HTTP/1.1\r\n", /not speak HTTP/],
      ["GET /\r\n", /first line/],
      ["GET / HTTP/2.0\r\n", /first line/],
      ["GET  / HTTP/1.1\r\n", /first line/],
      ["GET / HTTP/1.1\r\n A: folded\r\n", /malformed/],
      ["GET / HTTP/1.1\r\nA : b\r\n", /malformed/],
      ["GET / HTTP/1.1\r\nA: \0\r\n", /malformed/],
      ["GET / HTTP/1.1\r\nnothing\r\n", /malformed/],
      [`GET /${"a".repeat(HEAD_LIMITS.lineBytes)}`, /exceeds/],
      [`GET / HTTP/1.1\r\nA: ${"a".repeat(HEAD_LIMITS.lineBytes)}`, /exceeds/],
      [`GET / HTTP/1.1\r\n${`A: ${"a".repeat(4_000)}\r\n`.repeat(5)}`, /exceeds/],
      [`GET / HTTP/1.1\r\n${"A: b\r\n".repeat(101)}`, /more than 100/],
    ] as const) {
      const reader = new ByteReader();
      reader.push(Buffer.from(text, "latin1"));
      const parser = readHead(reader);
      assert.throws(() => parser.next(), words);
    }
  });

  test("yields only our errors on garbage", () => {
    const start = fc.constantFrom("", "GET / HTTP/1.1\r\n", "HTTP/1.1 101 x\r\n");
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 400 }), (line, bytes) => {
        const wire = Buffer.concat([Buffer.from(line), bytes]);
        for (const read of [readHead, readAnswer]) {
          try {
            parse(read, wire);
          } catch (thrown) {
            assert.ok(thrown instanceof TunnelError, String(thrown));
          }
        }
      }),
    );
  });
});

function judge(answer: Uint8Array): TunnelError | undefined {
  return judgeAnswer(parse(readAnswer, answer), ASKED);
}

function head(method: string, fields: HttpHead["fields"]): HttpHead {
  return { start: [method, "/", "HTTP/1.1"], fields };
}

/** Everything in chunks, then the end. */
function parse<Result>(
  read: (reader: ByteReader) => Parser<Result>,
  ...chunks: readonly Uint8Array[]
): Result {
  const reader = new ByteReader();
  const parser = read(reader);
  for (const chunk of chunks) {
    reader.push(chunk);
    const step = parser.next();
    if (step.done) return step.value;
  }
  reader.end();
  const step = parser.next();
  assert.ok(step.done, "a parser ends with its input");
  return step.value;
}
