import type { ErrorCode, TunnelError } from "../../../errors.ts";

/**
 * A failure to connect in the words of the reference, which GoDoxy shows to its users.
 *
 * @param network as asked for: `tcp4`
 * @param what `host:port`
 */
export function dialFailure(network: string, what: string, error: TunnelError): string {
  return `dial ${network} ${what}: ${WORDS[error.code] ?? error.message}`;
}

/** Whether rules of ours forbid a target, and nothing is wrong with it. */
export function isPolicy({ code }: TunnelError): boolean {
  return code === "ERR_POLICY_DENIED" || code === "ERR_ROUTE_BLOCKED";
}

/** What is said of targets this agent does not speak of. */
export const NOT_ALLOWED = "not allowed by the rules of this agent";

/** Reference: Go's `syscall.Errno` and `net`. */
const WORDS: Partial<Readonly<Record<ErrorCode, string>>> = {
  ERR_DIAL_REFUSED: "connect: connection refused",
  ERR_CONNECTION_RESET: "connect: connection reset by peer",
  ERR_DIAL_TIMEOUT: "i/o timeout",
  ERR_DIAL_HOST_UNREACHABLE: "connect: no route to host",
  ERR_DIAL_NETWORK_UNREACHABLE: "connect: network is unreachable",
  ERR_DNS: "no such host",
};
