import { type ErrorCode, StreamReset, type TunnelError } from "../../errors.ts";

/**
 * The text that tells the peer about an error of ours: its message, in front of it the words by
 * which {@link codeOf} knows the code again, unless the message holds them.
 */
export function toErrorText(error: TunnelError): string {
  const words = WORDS[error.code];
  const text = error.message === "" || isOrderly(error.message) ? error.code : error.message;
  return words === undefined || codeOf(text) === error.code ? text : `${words}: ${text}`;
}

/** Whether the text of a Disconnect means the end of the stream, and no failure. */
export function isOrderly(text: string): boolean {
  return text === "" || text === END_OF_STREAM;
}

/** What a failed ConnectResponse says. */
export function connectError(text: string): StreamReset {
  const message = told("exit could not reach the target", text);
  return new StreamReset(codeOf(text) ?? "ERR_DIAL_FAILED", message, undefined);
}

/** What a Disconnect says that is not orderly: whatever was the reason, a live stream was cut off. */
export function disconnectError(text: string): StreamReset {
  return new StreamReset("ERR_CONNECTION_RESET", told("peer cut the channel off", text), undefined);
}

/** The code that a text of the reference, or of ours, stands for; `undefined` for all others. */
export function codeOf(text: string): ErrorCode | undefined {
  return MEANINGS.find(([pattern]) => pattern.test(text))?.[1];
}

function told(what: string, text: string): string {
  // oxlint-disable-next-line no-control-regex -- a peer's text must not reach a terminal raw
  const clean = text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, " ").trim();
  return clean === "" ? what : `${what}: ${clean}`;
}

/** The reference's word for a stream that ended by itself. */
export const END_OF_STREAM = "EOF";

/** What the exit's own words for a failure are. Codes without words travel as text alone. */
const WORDS: Readonly<Partial<Record<ErrorCode, string>>> = {
  ERR_DIAL_REFUSED: "connection refused",
  ERR_DNS: "no such host",
  ERR_DIAL_TIMEOUT: "i/o timeout",
  ERR_DIAL_NETWORK_UNREACHABLE: "network is unreachable",
  ERR_DIAL_HOST_UNREACHABLE: "no route to host",
  ERR_CONNECTION_RESET: "connection reset by peer",
  ERR_TUNNEL_DOWN: "no available reverse clients",
  ERR_POLICY_DENIED: "not allowed by policy",
  ERR_ROUTE_BLOCKED: "blocked by a route",
  ERR_COMMAND_UNSUPPORTED: "command not supported",
  ERR_ADDRESS_UNSUPPORTED: "address not supported",
  ERR_LIMIT: "limit reached",
};

/**
 * Go's errors of dialling and resolving, replies of an upstream SOCKS5 proxy at the exit, and our
 * own words. The first match counts: a lookup that timed out is a matter of names.
 *
 * Spec: linksocks 1.7, 2.9. Reference: Go `net`, linksocks `relay.go`.
 */
const MEANINGS: readonly (readonly [RegExp, ErrorCode])[] = [
  [/no available (?:reverse clients|providers)/i, "ERR_TUNNEL_DOWN"],
  [/not allowed by policy|connection failed: 2$/i, "ERR_POLICY_DENIED"],
  [/blocked by a route/i, "ERR_ROUTE_BLOCKED"],
  [/command not supported|connection failed: 7$/i, "ERR_COMMAND_UNSUPPORTED"],
  [/address not supported|connection failed: 8$/i, "ERR_ADDRESS_UNSUPPORTED"],
  [/limit reached/i, "ERR_LIMIT"],
  [/no such host|\blookup \S+/i, "ERR_DNS"],
  [/connection refused|connection failed: 5$/i, "ERR_DIAL_REFUSED"],
  [/network is unreachable|connection failed: 3$/i, "ERR_DIAL_NETWORK_UNREACHABLE"],
  [/no route to host|host is down|connection failed: 4$/i, "ERR_DIAL_HOST_UNREACHABLE"],
  [/i\/o timeout|deadline exceeded|timed out|connection failed: 6$/i, "ERR_DIAL_TIMEOUT"],
  [/connection reset/i, "ERR_CONNECTION_RESET"],
];
