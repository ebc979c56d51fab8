import type { ErrorCode } from "../../errors.ts";
import { Reply } from "./codec.ts";

/** The reply to each reason for not connecting: SOCKS4 knows little more than no. */
export const REPLY_OF: Readonly<Record<ErrorCode, number>> = {
  ERR_CONFIG: Reply.rejected,
  ERR_LISTEN: Reply.rejected,
  ERR_CREDENTIAL: Reply.rejected,
  ERR_MISUSE: Reply.rejected,
  ERR_ABORTED: Reply.rejected,
  ERR_CLOSED: Reply.rejected,
  ERR_POLICY_DENIED: Reply.rejected,
  ERR_ROUTE_BLOCKED: Reply.rejected,
  ERR_LIMIT: Reply.rejected,
  ERR_SLOW_READER: Reply.rejected,
  ERR_IDLE_TIMEOUT: Reply.rejected,
  ERR_SHUTDOWN: Reply.rejected,
  ERR_TUNNEL_DOWN: Reply.rejected,
  ERR_TUNNEL_LOST: Reply.rejected,
  ERR_PEER_SILENT: Reply.rejected,
  ERR_HANDSHAKE_TIMEOUT: Reply.rejected,
  ERR_TLS: Reply.rejected,
  // The closest there is to "we do not know you".
  ERR_AUTH: Reply.identMismatch,
  ERR_REFUSED_FOR_GOOD: Reply.rejected,
  ERR_PROTOCOL: Reply.rejected,
  ERR_STREAM_RESET: Reply.rejected,
  ERR_COMMAND_UNSUPPORTED: Reply.rejected,
  ERR_ADDRESS_UNSUPPORTED: Reply.rejected,
  ERR_DNS: Reply.rejected,
  ERR_DIAL_REFUSED: Reply.rejected,
  ERR_DIAL_TIMEOUT: Reply.rejected,
  ERR_DIAL_HOST_UNREACHABLE: Reply.rejected,
  ERR_DIAL_NETWORK_UNREACHABLE: Reply.rejected,
  ERR_DIAL_FAILED: Reply.rejected,
  ERR_CONNECTION_RESET: Reply.rejected,
};
