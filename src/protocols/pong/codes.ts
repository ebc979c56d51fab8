import { type ErrorCode, StreamReset, type TunnelError } from "../../errors.ts";

/**
 * RST codes as pong-go's source has them, which is the wire's truth; the seed text rotates 10-12.
 *
 * Spec: pong 1.5. Reference: pong-go `proxy/error.go`.
 */
export const RstCode = {
  serverError: 1,
  rule: 2,
  network: 3,
  host: 4,
  refused: 5,
  ttl: 6,
  command: 7,
  addressType: 8,
  repeatedId: 9,
  connectionTimeout: 10,
  dialTimeout: 11,
  targetReset: 12,
  forceClose: 13,
  abort: 14,
  timeout: 16,
  invalidAddress: 17,
  unknownNetwork: 18,
  dns: 19,
  dnsConfig: 20,
  refuse: 21,
  address: 22,
  sourceAbort: 23,
  targetTimeout: 24,
  targetDown: 25,
  targetUnreachable: 26,
  reset: 27,
  readTimeout: 28,
  closed: 29,
  targetAbort: 30,
  unknown: 50,
} as const;

/** What a received code means here. Unknown codes and none at all are plain resets. */
export function fromRstCode(code: number | undefined): { code: ErrorCode; text: string } {
  const known = code === undefined ? undefined : MEANINGS[code];
  if (known !== undefined) return { code: known[0], text: known[1] };
  const text = code === undefined ? "reset without a code" : `reset with unknown code ${code}`;
  return { code: "ERR_STREAM_RESET", text };
}

/** The code to send for an error of ours. Only codes the reference itself emits where one fits. */
export function toRstCode(error: TunnelError): number {
  return CODES[error.code];
}

/**
 * Reads an RST payload: nothing, or a code and, from peers that are not pong-go, a text.
 *
 * Never send a text: pong-go's process dies of payloads over 7 bytes in command frames.
 */
export function decodeRst(payload: Uint8Array): StreamReset {
  const code = payload[0];
  const { code: errorCode, text } = fromRstCode(code);
  const told = new TextDecoder().decode(payload.subarray(1, 1 + MAX_TEXT_BYTES));
  // oxlint-disable-next-line no-control-regex -- a peer's text must not reach a terminal raw
  const clean = told.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ").trim();
  return new StreamReset(errorCode, clean === "" ? text : `${text}: ${clean}`, code);
}

const MEANINGS: Readonly<Record<number, readonly [ErrorCode, string] | undefined>> = {
  [RstCode.serverError]: ["ERR_STREAM_RESET", "remote reports a server error"],
  [RstCode.rule]: ["ERR_POLICY_DENIED", "remote's rules refuse the target"],
  [RstCode.network]: ["ERR_DIAL_NETWORK_UNREACHABLE", "network unreachable from the remote"],
  [RstCode.host]: ["ERR_DIAL_HOST_UNREACHABLE", "host unreachable from the remote"],
  [RstCode.refused]: ["ERR_DIAL_REFUSED", "target refused the connection"],
  [RstCode.ttl]: ["ERR_CONNECTION_RESET", "remote found the connection closed"],
  [RstCode.command]: ["ERR_COMMAND_UNSUPPORTED", "remote does not support the command"],
  [RstCode.addressType]: ["ERR_ADDRESS_UNSUPPORTED", "remote does not support the address"],
  [RstCode.repeatedId]: ["ERR_PROTOCOL", "remote says the stream id is in use"],
  [RstCode.connectionTimeout]: ["ERR_DIAL_TIMEOUT", "target did not answer in time"],
  [RstCode.dialTimeout]: ["ERR_DIAL_TIMEOUT", "target did not answer in time"],
  [RstCode.targetReset]: ["ERR_CONNECTION_RESET", "target reset the connection"],
  [RstCode.forceClose]: ["ERR_STREAM_RESET", "remote forced the stream closed"],
  [RstCode.abort]: ["ERR_CONNECTION_RESET", "connection aborted"],
  [RstCode.timeout]: ["ERR_DIAL_TIMEOUT", "target did not answer in time"],
  [RstCode.invalidAddress]: ["ERR_ADDRESS_UNSUPPORTED", "remote calls the address invalid"],
  [RstCode.unknownNetwork]: ["ERR_ADDRESS_UNSUPPORTED", "remote does not know the network"],
  [RstCode.dns]: ["ERR_DNS", "name does not resolve at the remote"],
  [RstCode.dnsConfig]: ["ERR_DNS", "remote's name service is misconfigured"],
  [RstCode.refuse]: ["ERR_DIAL_REFUSED", "target refused the connection"],
  [RstCode.address]: ["ERR_ADDRESS_UNSUPPORTED", "remote calls the address wrong"],
  [RstCode.sourceAbort]: ["ERR_CONNECTION_RESET", "connection aborted at the remote"],
  [RstCode.targetTimeout]: ["ERR_DIAL_TIMEOUT", "connection to the target timed out"],
  [RstCode.targetDown]: ["ERR_DIAL_HOST_UNREACHABLE", "target is down"],
  [RstCode.targetUnreachable]: ["ERR_DIAL_HOST_UNREACHABLE", "target is unreachable"],
  [RstCode.reset]: ["ERR_CONNECTION_RESET", "target reset the connection"],
  [RstCode.readTimeout]: ["ERR_IDLE_TIMEOUT", "remote waited too long for data"],
  [RstCode.closed]: ["ERR_CONNECTION_RESET", "remote found the connection closed"],
  [RstCode.targetAbort]: ["ERR_CONNECTION_RESET", "target aborted the connection"],
  [RstCode.unknown]: ["ERR_STREAM_RESET", "remote reports an unknown error"],
};

const CODES: Readonly<Record<ErrorCode, number>> = {
  ERR_CONFIG: RstCode.serverError,
  ERR_LISTEN: RstCode.serverError,
  ERR_CREDENTIAL: RstCode.serverError,
  ERR_MISUSE: RstCode.serverError,
  ERR_ABORTED: RstCode.abort,
  ERR_CLOSED: RstCode.forceClose,
  ERR_POLICY_DENIED: RstCode.rule,
  ERR_ROUTE_BLOCKED: RstCode.rule,
  ERR_LIMIT: RstCode.serverError,
  ERR_SLOW_READER: RstCode.forceClose,
  ERR_IDLE_TIMEOUT: RstCode.readTimeout,
  ERR_SHUTDOWN: RstCode.forceClose,
  ERR_TUNNEL_DOWN: RstCode.serverError,
  ERR_TUNNEL_LOST: RstCode.forceClose,
  ERR_PEER_SILENT: RstCode.forceClose,
  ERR_HANDSHAKE_TIMEOUT: RstCode.timeout,
  ERR_TLS: RstCode.serverError,
  ERR_AUTH: RstCode.rule,
  ERR_REFUSED_FOR_GOOD: RstCode.serverError,
  ERR_PROTOCOL: RstCode.serverError,
  ERR_STREAM_RESET: RstCode.unknown,
  ERR_COMMAND_UNSUPPORTED: RstCode.command,
  ERR_ADDRESS_UNSUPPORTED: RstCode.addressType,
  ERR_DNS: RstCode.dns,
  ERR_DIAL_REFUSED: RstCode.refused,
  ERR_DIAL_TIMEOUT: RstCode.timeout,
  ERR_DIAL_HOST_UNREACHABLE: RstCode.targetUnreachable,
  ERR_DIAL_NETWORK_UNREACHABLE: RstCode.network,
  ERR_DIAL_FAILED: RstCode.serverError,
  ERR_CONNECTION_RESET: RstCode.targetReset,
};

/** Longer texts than this say nothing more. */
const MAX_TEXT_BYTES = 200;
