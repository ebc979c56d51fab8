import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorCode, NetworkError, TunnelError } from "../../errors.ts";
import { codeOf, connectError, disconnectError, isOrderly, toErrorText } from "./error-texts.ts";

/** Texts as Go's exits, the Worker server and upstream proxies at an exit write them. */
const TEXTS: Readonly<Record<string, ErrorCode>> = {
  "dial tcp 127.0.0.1:1: connect: connection refused": "ERR_DIAL_REFUSED",
  "dial tcp: lookup x on 10.0.0.1:53: no such host": "ERR_DNS",
  "dial tcp: lookup x on 10.0.0.1:53: server misbehaving": "ERR_DNS",
  "dial tcp: lookup x on 10.0.0.1:53: read udp 10.0.0.2:4711->10.0.0.1:53: i/o timeout": "ERR_DNS",
  "dial tcp 192.0.2.1:80: i/o timeout": "ERR_DIAL_TIMEOUT",
  "dial tcp 192.0.2.1:80: connect: connection timed out": "ERR_DIAL_TIMEOUT",
  "dial tcp 192.0.2.1:80: context deadline exceeded": "ERR_DIAL_TIMEOUT",
  "dial tcp 192.0.2.1:80: connect: network is unreachable": "ERR_DIAL_NETWORK_UNREACHABLE",
  "dial tcp 192.0.2.1:80: connect: no route to host": "ERR_DIAL_HOST_UNREACHABLE",
  "dial tcp 192.0.2.1:80: connect: host is down": "ERR_DIAL_HOST_UNREACHABLE",
  "no available reverse clients": "ERR_TUNNEL_DOWN",
  "No available providers": "ERR_TUNNEL_DOWN",
  "socks5 connect error: connection failed: 2": "ERR_POLICY_DENIED",
  "socks5 connect error: connection failed: 3": "ERR_DIAL_NETWORK_UNREACHABLE",
  "socks5 connect error: connection failed: 4": "ERR_DIAL_HOST_UNREACHABLE",
  "socks5 connect error: connection failed: 5": "ERR_DIAL_REFUSED",
  "socks5 connect error: connection failed: 6": "ERR_DIAL_TIMEOUT",
  "socks5 connect error: connection failed: 7": "ERR_COMMAND_UNSUPPORTED",
  "socks5 connect error: connection failed: 8": "ERR_ADDRESS_UNSUPPORTED",
  "socks5 connect error: connection failed: 1": "ERR_DIAL_FAILED",
  "HTTP CONNECT failed: HTTP/1.1 502 Bad Gateway": "ERR_DIAL_FAILED",
  "": "ERR_DIAL_FAILED",
};

describe("linksocks error texts", () => {
  test("of exits become the codes of what happened there", () => {
    for (const [text, code] of Object.entries(TEXTS)) {
      const error = connectError(text);
      assert.equal(error.code, code, text);
      assert.ok(error.message.endsWith(text), error.message);
    }
  });

  test("of cut channels are kept, whatever they say", () => {
    for (const text of ["remote write error: broken pipe", "connection refused"]) {
      const error = disconnectError(text);
      assert.equal(error.code, "ERR_CONNECTION_RESET");
      assert.equal(error.message, `peer cut the channel off: ${text}`);
    }
  });

  test("reach nobody's terminal raw", () => {
    assert.equal(disconnectError("a\u001b[2Jb\n").message, "peer cut the channel off: a [2Jb");
  });

  test("of ours keep their code on the way to another Sluice", () => {
    const codes = [
      "ERR_DIAL_REFUSED",
      "ERR_DNS",
      "ERR_DIAL_TIMEOUT",
      "ERR_DIAL_NETWORK_UNREACHABLE",
      "ERR_DIAL_HOST_UNREACHABLE",
      "ERR_CONNECTION_RESET",
      "ERR_TUNNEL_DOWN",
      "ERR_POLICY_DENIED",
      "ERR_ROUTE_BLOCKED",
      "ERR_COMMAND_UNSUPPORTED",
      "ERR_ADDRESS_UNSUPPORTED",
      "ERR_LIMIT",
    ] as const;
    for (const code of codes) {
      const text = toErrorText(new NetworkError(code, "some words of ours"));
      assert.equal(codeOf(text), code, text);
      assert.ok(text.endsWith("some words of ours"), text);
    }
  });

  test("of ours are not said twice", () => {
    const text = "dial tcp 127.0.0.1:1: connect: connection refused";
    assert.equal(toErrorText(new NetworkError("ERR_DIAL_REFUSED", text)), text);
    assert.equal(toErrorText(new TunnelError("ERR_SHUTDOWN", "bye")), "bye");
  });

  test("of ours never look like a stream that ended by itself", () => {
    for (const message of ["", "EOF"]) {
      assert.ok(!isOrderly(toErrorText(new TunnelError("ERR_ABORTED", message))), message);
    }
    assert.ok(isOrderly(""));
    assert.ok(isOrderly("EOF"));
    assert.ok(!isOrderly("eof of something"));
  });
});
