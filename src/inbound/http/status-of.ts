import type { ErrorCode } from "../../errors.ts";

/** How an error is answered, and where on the way it happened. */
export interface StatusAndPhase {
  readonly status: number;
  readonly phase: "proxy" | "policy" | "tunnel" | "dns" | "dial" | "exchange";
}

/** The status that comes closest to each reason for having no answer of the origin. */
export const STATUS_OF: Readonly<Record<ErrorCode, StatusAndPhase>> = {
  ERR_CONFIG: { status: 500, phase: "proxy" },
  ERR_LISTEN: { status: 500, phase: "proxy" },
  ERR_CREDENTIAL: { status: 500, phase: "proxy" },
  ERR_MISUSE: { status: 500, phase: "proxy" },
  ERR_ABORTED: { status: 503, phase: "proxy" },
  ERR_CLOSED: { status: 503, phase: "proxy" },
  ERR_POLICY_DENIED: { status: 403, phase: "policy" },
  ERR_ROUTE_BLOCKED: { status: 403, phase: "policy" },
  ERR_LIMIT: { status: 503, phase: "proxy" },
  ERR_SLOW_READER: { status: 502, phase: "exchange" },
  ERR_IDLE_TIMEOUT: { status: 504, phase: "exchange" },
  ERR_SHUTDOWN: { status: 503, phase: "proxy" },
  ERR_TUNNEL_DOWN: { status: 503, phase: "tunnel" },
  ERR_TUNNEL_LOST: { status: 502, phase: "tunnel" },
  ERR_PEER_SILENT: { status: 504, phase: "tunnel" },
  ERR_HANDSHAKE_TIMEOUT: { status: 504, phase: "tunnel" },
  ERR_TLS: { status: 502, phase: "tunnel" },
  // Our credential at the next hop. The client's own would be 407, and is checked before.
  ERR_AUTH: { status: 502, phase: "tunnel" },
  ERR_REFUSED_FOR_GOOD: { status: 503, phase: "tunnel" },
  ERR_PROTOCOL: { status: 502, phase: "exchange" },
  ERR_STREAM_RESET: { status: 502, phase: "exchange" },
  ERR_COMMAND_UNSUPPORTED: { status: 501, phase: "tunnel" },
  ERR_ADDRESS_UNSUPPORTED: { status: 501, phase: "tunnel" },
  ERR_DNS: { status: 502, phase: "dns" },
  ERR_DIAL_REFUSED: { status: 502, phase: "dial" },
  ERR_DIAL_TIMEOUT: { status: 504, phase: "dial" },
  ERR_DIAL_HOST_UNREACHABLE: { status: 502, phase: "dial" },
  ERR_DIAL_NETWORK_UNREACHABLE: { status: 502, phase: "dial" },
  ERR_DIAL_FAILED: { status: 502, phase: "dial" },
  ERR_CONNECTION_RESET: { status: 502, phase: "exchange" },
};
