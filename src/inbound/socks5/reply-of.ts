import type { ErrorCode } from "../../errors.ts";
import { Reply } from "./codec.ts";

/** The reply that comes closest to each reason for not connecting. Spec: RFC 1928 section 6. */
export const REPLY_OF: Readonly<Record<ErrorCode, number>> = {
  ERR_CONFIG: Reply.generalFailure,
  ERR_LISTEN: Reply.generalFailure,
  ERR_CREDENTIAL: Reply.generalFailure,
  ERR_MISUSE: Reply.generalFailure,
  ERR_ABORTED: Reply.generalFailure,
  ERR_CLOSED: Reply.generalFailure,
  ERR_POLICY_DENIED: Reply.notAllowed,
  ERR_ROUTE_BLOCKED: Reply.notAllowed,
  ERR_LIMIT: Reply.generalFailure,
  ERR_SLOW_READER: Reply.generalFailure,
  ERR_IDLE_TIMEOUT: Reply.ttlExpired,
  ERR_SHUTDOWN: Reply.generalFailure,
  // The tunnel is our network: without it there is none.
  ERR_TUNNEL_DOWN: Reply.networkUnreachable,
  ERR_TUNNEL_LOST: Reply.networkUnreachable,
  ERR_PEER_SILENT: Reply.networkUnreachable,
  ERR_HANDSHAKE_TIMEOUT: Reply.ttlExpired,
  ERR_TLS: Reply.generalFailure,
  ERR_AUTH: Reply.generalFailure,
  ERR_REFUSED_FOR_GOOD: Reply.generalFailure,
  ERR_PROTOCOL: Reply.generalFailure,
  ERR_STREAM_RESET: Reply.generalFailure,
  ERR_COMMAND_UNSUPPORTED: Reply.commandNotSupported,
  ERR_ADDRESS_UNSUPPORTED: Reply.addressTypeNotSupported,
  ERR_DNS: Reply.hostUnreachable,
  ERR_DIAL_REFUSED: Reply.connectionRefused,
  ERR_DIAL_TIMEOUT: Reply.ttlExpired,
  ERR_DIAL_HOST_UNREACHABLE: Reply.hostUnreachable,
  ERR_DIAL_NETWORK_UNREACHABLE: Reply.networkUnreachable,
  ERR_DIAL_FAILED: Reply.generalFailure,
  ERR_CONNECTION_RESET: Reply.connectionRefused,
};
