import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorCode, TunnelError } from "../../errors.ts";
import { authAnswer, encodeAnswer, encodeHead, failureAnswer } from "./answer.ts";
import { parseBasicAuth } from "./basic-auth.ts";
import { STATUS_OF } from "./status-of.ts";

describe("http proxy answers", () => {
  test("have a status and a phase for every error", () => {
    const expected: Readonly<Record<ErrorCode, string>> = {
      ERR_CONFIG: "500 proxy",
      ERR_LISTEN: "500 proxy",
      ERR_CREDENTIAL: "500 proxy",
      ERR_MISUSE: "500 proxy",
      ERR_ABORTED: "503 proxy",
      ERR_CLOSED: "503 proxy",
      ERR_POLICY_DENIED: "403 policy",
      ERR_ROUTE_BLOCKED: "403 policy",
      ERR_LIMIT: "503 proxy",
      ERR_SLOW_READER: "502 exchange",
      ERR_IDLE_TIMEOUT: "504 exchange",
      ERR_SHUTDOWN: "503 proxy",
      ERR_TUNNEL_DOWN: "503 tunnel",
      ERR_TUNNEL_LOST: "502 tunnel",
      ERR_PEER_SILENT: "504 tunnel",
      ERR_HANDSHAKE_TIMEOUT: "504 tunnel",
      ERR_TLS: "502 tunnel",
      ERR_AUTH: "502 tunnel",
      ERR_REFUSED_FOR_GOOD: "503 tunnel",
      ERR_PROTOCOL: "502 exchange",
      ERR_STREAM_RESET: "502 exchange",
      ERR_COMMAND_UNSUPPORTED: "501 tunnel",
      ERR_ADDRESS_UNSUPPORTED: "501 tunnel",
      ERR_DNS: "502 dns",
      ERR_DIAL_REFUSED: "502 dial",
      ERR_DIAL_TIMEOUT: "504 dial",
      ERR_DIAL_HOST_UNREACHABLE: "502 dial",
      ERR_DIAL_NETWORK_UNREACHABLE: "502 dial",
      ERR_DIAL_FAILED: "502 dial",
      ERR_CONNECTION_RESET: "502 exchange",
    };
    const actual = Object.entries(STATUS_OF).map(([code, { status, phase }]) => [
      code,
      `${status} ${phase}`,
    ]);
    assert.deepEqual(Object.fromEntries(actual), expected);
  });

  test("say what failed, where, and what to try", () => {
    const error = new TunnelError("ERR_POLICY_DENIED", "loopback is denied", {
      hint: "run with --allow",
    });
    const bytes = encodeAnswer(failureAnswer("opening h:1", error));
    const text =
      "sluice: opening h:1 failed\n\nreason: loopback is denied\nphase:  policy\n" +
      "code:   ERR_POLICY_DENIED\ntry:    run with --allow\n";
    assert.equal(
      Buffer.from(bytes).toString(),
      `HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\n` +
        `Content-Length: ${text.length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n${text}`,
    );
  });

  test("count bytes, not characters", () => {
    const bytes = encodeAnswer({ status: 400, text: "é" });
    assert.match(Buffer.from(bytes).toString(), /Content-Length: 2\r\n/);
  });

  test("ask for a password with 407, and for patience with 429", () => {
    const asking = authAnswer(undefined);
    assert.equal(asking.status, 407);
    assert.deepEqual(asking.headers, [
      ["Proxy-Authenticate", 'Basic realm="sluice", charset="UTF-8"'],
    ]);
    assert.equal(authAnswer(new TunnelError("ERR_AUTH", "wrong")).status, 407);
    const blocked = authAnswer(new TunnelError("ERR_LIMIT", "too many", { hint: "wait 3 s" }));
    assert.equal(blocked.status, 429);
    assert.match(blocked.text, /wait 3 s/);
  });

  test("write heads with every field in order", () => {
    const head = encodeHead(101, "Switching Protocols", ["A", "1", "a", "2"]);
    const text = "HTTP/1.1 101 Switching Protocols\r\nA: 1\r\na: 2\r\n\r\n";
    assert.equal(Buffer.from(head).toString(), text);
  });
});

describe("basic authentication", () => {
  test("reads user and password", () => {
    const encode = (text: string): string => `Basic ${Buffer.from(text).toString("base64")}`;
    assert.deepEqual(parseBasicAuth(encode("alice:se:cret")), {
      user: "alice",
      password: "se:cret",
    });
    assert.deepEqual(parseBasicAuth(encode(":")), { user: "", password: "" });
    assert.deepEqual(parseBasicAuth("bAsIc  w6k6w7w="), { user: "é", password: "ü" });
  });

  test("rejects other schemes and malformed fields", () => {
    for (const field of ["", "Basic", "Basic ", "Bearer YTpi", "Basic YWI=", "Basic !!!", "YTpi"]) {
      assert.equal(parseBasicAuth(field), undefined, field);
    }
  });
});
