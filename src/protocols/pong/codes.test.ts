import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { hex } from "../../../test/support/hex.ts";
import { type ErrorCode, TunnelError } from "../../errors.ts";
import { decodeRst, fromRstCode, RstCode, toRstCode } from "./codes.ts";

/** What each code of the wire means here. Spec: pong 1.5. */
const RECEIVED: readonly (readonly [number, ErrorCode])[] = [
  [1, "ERR_STREAM_RESET"],
  [2, "ERR_POLICY_DENIED"],
  [3, "ERR_DIAL_NETWORK_UNREACHABLE"],
  [4, "ERR_DIAL_HOST_UNREACHABLE"],
  [5, "ERR_DIAL_REFUSED"],
  [6, "ERR_CONNECTION_RESET"],
  [7, "ERR_COMMAND_UNSUPPORTED"],
  [8, "ERR_ADDRESS_UNSUPPORTED"],
  [9, "ERR_PROTOCOL"],
  [10, "ERR_DIAL_TIMEOUT"],
  [11, "ERR_DIAL_TIMEOUT"],
  [12, "ERR_CONNECTION_RESET"],
  [13, "ERR_STREAM_RESET"],
  [14, "ERR_CONNECTION_RESET"],
  [16, "ERR_DIAL_TIMEOUT"],
  [17, "ERR_ADDRESS_UNSUPPORTED"],
  [18, "ERR_ADDRESS_UNSUPPORTED"],
  [19, "ERR_DNS"],
  [20, "ERR_DNS"],
  [21, "ERR_DIAL_REFUSED"],
  [22, "ERR_ADDRESS_UNSUPPORTED"],
  [23, "ERR_CONNECTION_RESET"],
  [24, "ERR_DIAL_TIMEOUT"],
  [25, "ERR_DIAL_HOST_UNREACHABLE"],
  [26, "ERR_DIAL_HOST_UNREACHABLE"],
  [27, "ERR_CONNECTION_RESET"],
  [28, "ERR_IDLE_TIMEOUT"],
  [29, "ERR_CONNECTION_RESET"],
  [30, "ERR_CONNECTION_RESET"],
  [50, "ERR_STREAM_RESET"],
];

/** What we send for each of our errors. */
const SENT: Readonly<Record<ErrorCode, number>> = {
  ERR_CONFIG: 1,
  ERR_LISTEN: 1,
  ERR_CREDENTIAL: 1,
  ERR_MISUSE: 1,
  ERR_ABORTED: 14,
  ERR_CLOSED: 13,
  ERR_POLICY_DENIED: 2,
  ERR_ROUTE_BLOCKED: 2,
  ERR_LIMIT: 1,
  ERR_SLOW_READER: 13,
  ERR_IDLE_TIMEOUT: 28,
  ERR_SHUTDOWN: 13,
  ERR_TUNNEL_DOWN: 1,
  ERR_TUNNEL_LOST: 13,
  ERR_PEER_SILENT: 13,
  ERR_HANDSHAKE_TIMEOUT: 16,
  ERR_TLS: 1,
  ERR_AUTH: 2,
  ERR_REFUSED_FOR_GOOD: 1,
  ERR_PROTOCOL: 1,
  ERR_STREAM_RESET: 50,
  ERR_COMMAND_UNSUPPORTED: 7,
  ERR_ADDRESS_UNSUPPORTED: 8,
  ERR_DNS: 19,
  ERR_DIAL_REFUSED: 5,
  ERR_DIAL_TIMEOUT: 16,
  ERR_DIAL_HOST_UNREACHABLE: 26,
  ERR_DIAL_NETWORK_UNREACHABLE: 3,
  ERR_DIAL_FAILED: 1,
  ERR_CONNECTION_RESET: 12,
};

describe("pong reset codes", () => {
  test("mean what pong-go's source says, not what the seed text says", () => {
    for (const [code, meaning] of RECEIVED) {
      assert.equal(fromRstCode(code).code, meaning, `code ${code}`);
    }
    assert.deepEqual(
      Object.values(RstCode).toSorted((a, b) => a - b),
      RECEIVED.map(([code]) => code),
    );
  });

  test("are chosen for each of our errors", () => {
    for (const [code, wire] of Object.entries(SENT)) {
      assert.equal(toRstCode(new TunnelError(code as ErrorCode, "x")), wire, code);
    }
  });

  test("keep the meaning of a failed dial on the way there and back", () => {
    const dials: ErrorCode[] = [
      "ERR_POLICY_DENIED",
      "ERR_DNS",
      "ERR_DIAL_REFUSED",
      "ERR_DIAL_TIMEOUT",
      "ERR_DIAL_HOST_UNREACHABLE",
      "ERR_DIAL_NETWORK_UNREACHABLE",
      "ERR_COMMAND_UNSUPPORTED",
      "ERR_ADDRESS_UNSUPPORTED",
      "ERR_CONNECTION_RESET",
    ];
    for (const code of dials) {
      assert.equal(fromRstCode(toRstCode(new TunnelError(code, "x"))).code, code);
    }
  });

  test("are a plain reset when unknown or absent", () => {
    for (const code of [0, 15, 31, 49, 51, 255]) {
      assert.deepEqual(fromRstCode(code), {
        code: "ERR_STREAM_RESET",
        text: `reset with unknown code ${code}`,
      });
    }
    assert.equal(fromRstCode(undefined).text, "reset without a code");
  });

  test("are read from a payload of any length", () => {
    const bare = decodeRst(hex(""));
    assert.equal(bare.wireCode, undefined);
    assert.equal(bare.message, "reset without a code");
    const refused = decodeRst(hex("05"));
    assert.equal(refused.wireCode, 5);
    assert.equal(refused.code, "ERR_DIAL_REFUSED");
    assert.equal(refused.message, "target refused the connection");
  });

  test("bring a peer's text into the message, bounded and without control characters", () => {
    const told = decodeRst(Buffer.from("\u0005 no\u001b[31m\nway\u009b \u007f"));
    assert.equal(told.message, "target refused the connection: no [31m way");
    const long = decodeRst(Buffer.concat([hex("05"), Buffer.alloc(60_000, "x")]));
    assert.ok(long.message.length < 250);
    const broken = decodeRst(hex("05 ff fe"));
    assert.match(broken.message, /^target refused the connection: /);
    assert.equal(decodeRst(hex("05 20 00")).message, "target refused the connection");
  });
});
