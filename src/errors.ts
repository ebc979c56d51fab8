/** Every code an error of this package can carry. Append only: users match on them. */
export type ErrorCode =
  // the operator
  | "ERR_CONFIG"
  | "ERR_LISTEN"
  | "ERR_CREDENTIAL"
  // our caller
  | "ERR_MISUSE"
  | "ERR_ABORTED"
  | "ERR_CLOSED"
  // our own rules and limits
  | "ERR_POLICY_DENIED"
  | "ERR_ROUTE_BLOCKED"
  | "ERR_LIMIT"
  | "ERR_SLOW_READER"
  | "ERR_IDLE_TIMEOUT"
  | "ERR_SHUTDOWN"
  // the way to the peer, and the peer
  | "ERR_TUNNEL_DOWN"
  | "ERR_TUNNEL_LOST"
  | "ERR_PEER_SILENT"
  | "ERR_HANDSHAKE_TIMEOUT"
  | "ERR_TLS"
  | "ERR_AUTH"
  | "ERR_REFUSED_FOR_GOOD"
  | "ERR_PROTOCOL"
  | "ERR_STREAM_RESET"
  | "ERR_COMMAND_UNSUPPORTED"
  | "ERR_ADDRESS_UNSUPPORTED"
  // the target, seen from wherever it was dialled
  | "ERR_DNS"
  | "ERR_DIAL_REFUSED"
  | "ERR_DIAL_TIMEOUT"
  | "ERR_DIAL_HOST_UNREACHABLE"
  | "ERR_DIAL_NETWORK_UNREACHABLE"
  | "ERR_DIAL_FAILED"
  | "ERR_CONNECTION_RESET";

/** Options of every error here: its cause, and one thing the reader can try. */
export interface TunnelErrorOptions extends ErrorOptions {
  readonly hint?: string | undefined;
}

/** Root of every error this package throws. Match on `code`, read `cause` for the origin. */
export class TunnelError extends Error {
  override readonly name: string = "TunnelError";
  readonly code: ErrorCode;
  /** One thing to try, in the imperative; absent when there is nothing to try. */
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options?: TunnelErrorOptions) {
    super(message, options);
    this.code = code;
    this.hint = options?.hint;
  }
}

/** The peer broke its protocol. */
export class ProtocolError extends TunnelError {
  override readonly name = "ProtocolError";

  constructor(message: string, options?: TunnelErrorOptions) {
    super("ERR_PROTOCOL", message, options);
  }
}

/** Our caller asked for something the state forbids; nothing changed. */
export class MisuseError extends TunnelError {
  override readonly name = "MisuseError";

  constructor(message: string, options?: TunnelErrorOptions) {
    super("ERR_MISUSE", message, options);
  }
}

/** The world between the ends failed: a name, a route, a dial, a link. */
export class NetworkError extends TunnelError {
  override readonly name = "NetworkError";
}

/** The operator's configuration, flags or credentials cannot work. */
export class ConfigError extends TunnelError {
  override readonly name = "ConfigError";

  constructor(message: string, options?: TunnelErrorOptions & { readonly code?: ErrorCode }) {
    super(options?.code ?? "ERR_CONFIG", message, options);
  }
}

/** Our own policy, routes or limits said no. */
export class PolicyError extends TunnelError {
  override readonly name = "PolicyError";
}

/** The peer ended one stream hard. */
export class StreamReset extends TunnelError {
  override readonly name = "StreamReset";
  /** The code as it stood on the wire; `undefined` when the wire carried none. */
  readonly wireCode: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    wireCode: number | undefined,
    options?: TunnelErrorOptions,
  ) {
    super(code, message, options);
    this.wireCode = wireCode;
  }
}

/** Whose fault the end of a stream was, in the words of the log. */
export type Blame = "ours" | "peer" | "target" | "client";

/** Who is to blame for `error`, judged by its code alone. */
export function blameOf(error: TunnelError): Blame {
  return BLAME[error.code];
}

/** Turns anything thrown into a {@link TunnelError}, keeping it as the cause. */
export function toTunnelError(thrown: unknown, code: ErrorCode, what: string): TunnelError {
  if (thrown instanceof TunnelError) return thrown;
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new NetworkError(code, `${what}: ${reason}`, { cause: thrown });
}

/** The `code` of a Node system error (`ECONNREFUSED`), or `undefined`. */
export function systemCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined;
  if ("code" in thrown && typeof thrown.code === "string") return thrown.code;
  return undefined;
}

const BLAME: Readonly<Record<ErrorCode, Blame>> = {
  ERR_CONFIG: "ours",
  ERR_LISTEN: "ours",
  ERR_CREDENTIAL: "ours",
  ERR_MISUSE: "ours",
  ERR_ABORTED: "client",
  ERR_CLOSED: "ours",
  ERR_POLICY_DENIED: "client",
  ERR_ROUTE_BLOCKED: "client",
  ERR_LIMIT: "ours",
  ERR_SLOW_READER: "client",
  ERR_IDLE_TIMEOUT: "ours",
  ERR_SHUTDOWN: "ours",
  ERR_TUNNEL_DOWN: "peer",
  ERR_TUNNEL_LOST: "peer",
  ERR_PEER_SILENT: "peer",
  ERR_HANDSHAKE_TIMEOUT: "peer",
  ERR_TLS: "peer",
  ERR_AUTH: "client",
  ERR_REFUSED_FOR_GOOD: "peer",
  ERR_PROTOCOL: "peer",
  ERR_STREAM_RESET: "peer",
  ERR_COMMAND_UNSUPPORTED: "client",
  ERR_ADDRESS_UNSUPPORTED: "client",
  ERR_DNS: "target",
  ERR_DIAL_REFUSED: "target",
  ERR_DIAL_TIMEOUT: "target",
  ERR_DIAL_HOST_UNREACHABLE: "target",
  ERR_DIAL_NETWORK_UNREACHABLE: "target",
  ERR_DIAL_FAILED: "target",
  ERR_CONNECTION_RESET: "target",
};
