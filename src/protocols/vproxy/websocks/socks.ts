import {
  AddressType,
  decodeSocksAddress,
  encodeSocksAddress,
  type HostPort,
  socksAddressLength,
} from "../../../address/socks-address.ts";
import type { ByteReader, Parser } from "../../../bytes/byte-reader.ts";
import { type ErrorCode, ProtocolError, StreamReset, TunnelError } from "../../../errors.ts";
import { parseIp } from "../../../address/ip.ts";

/** `VER | NMETHODS | METHODS`: no authentication, that was done before. Spec: vproxy 1.7. */
export const GREETING: Uint8Array = Uint8Array.of(0x05, 0x01, 0x00);

/** The answer to a greeting that says to go on. */
export const METHOD_NONE: Uint8Array = Uint8Array.of(0x05, 0x00);

/** The answer to a greeting that wants another one, or is none. */
export const METHOD_NONE_ACCEPTABLE: Uint8Array = Uint8Array.of(0x05, 0xff);

/** `VER | CMD | RSV | ATYP | ADDR | PORT`. */
export function encodeConnect(target: HostPort): Uint8Array {
  return encodeAddressed(CONNECT, target);
}

/** @returns whether the client can do without authentication; what else it says is of no use then */
export function* readGreeting(reader: ByteReader): Parser<boolean> {
  const version = yield* reader.readByte();
  if (version !== VERSION) return false;
  const methods = yield* reader.read(yield* reader.readByte());
  return methods.includes(0x00);
}

/**
 * Reads a request for a connection.
 *
 * @throws RefusedConnect with the reply to give
 */
export function* readConnect(reader: ByteReader): Parser<HostPort> {
  const version = yield* reader.readByte();
  if (version !== VERSION) throw refused("ERR_PROTOCOL", `version ${version} is not 5`);
  const command = yield* reader.readByte();
  yield* reader.readByte();
  if (command !== CONNECT) {
    throw refused("ERR_COMMAND_UNSUPPORTED", `command ${command} is not CONNECT`);
  }
  const [type = 0] = yield* reader.peek(1);
  if (type !== AddressType.ipv4 && type !== AddressType.name && type !== AddressType.ipv6) {
    throw refused("ERR_ADDRESS_UNSUPPORTED", `address type ${type} is not 1, 3 or 4`);
  }
  // A type alone tells the length, but for a name, whose length comes second.
  const length = socksAddressLength(yield* reader.peek(2)) ?? 2;
  const bytes = yield* reader.read(length);
  try {
    return decodeSocksAddress(bytes);
  } catch (cause) {
    // QUIRK(vproxy): a name that cannot be one is answered like one that does not resolve.
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new RefusedConnect("ERR_DNS", text, portAt(bytes, length - 2));
  }
}

/** A request that cannot be served, with the port that its reply repeats. */
export class RefusedConnect extends TunnelError {
  override readonly name = "RefusedConnect";
  readonly port: number;

  constructor(code: ErrorCode, message: string, port: number) {
    super(code, message);
    this.port = port;
  }
}

/**
 * `VER | REP | RSV | 1 | 0.0.0.0 | PORT`.
 *
 * QUIRK(vproxy): the port is the one that was asked for, or 0 when it was not understood.
 */
export function encodeReply(reply: number, port: number): Uint8Array {
  return encodeAddressed(reply, { host: "0.0.0.0", port });
}

/** How a server answers an error. */
export function replyOf(code: ErrorCode): number {
  return REPLY_OF[code];
}

/**
 * Reads the answers to a greeting and to a request, which may come in one piece.
 *
 * @throws StreamReset with the server's reason; ProtocolError
 */
export function* readAnswers(reader: ByteReader, host: string): Parser<void> {
  yield* readMethod(reader);
  yield* readReply(reader, host);
}

/** Reads the answer to a greeting. @throws ProtocolError */
export function* readMethod(reader: ByteReader): Parser<void> {
  const [version, method] = yield* reader.read(2);
  if (version !== VERSION) throw new ProtocolError(`socks version ${version} is not 5`);
  if (method !== 0x00) throw new ProtocolError(`server wants socks method ${method}`);
}

/**
 * Reads the answer to a request; what follows is the target's.
 *
 * @param host that was asked for
 * @throws StreamReset with the server's reason; ProtocolError
 */
export function* readReply(reader: ByteReader, host: string): Parser<void> {
  const [version, reply = 0] = yield* reader.read(3);
  if (version !== VERSION) throw new ProtocolError(`socks version ${version} is not 5`);
  const length = socksAddressLength(yield* reader.peek(2));
  if (length === undefined) throw new ProtocolError("reply has an unknown address type");
  yield* reader.read(length);
  if (reply === 0x00) return;
  const [code, text] = meaningOf(reply, host);
  throw new StreamReset(code, text, reply);
}

function encodeAddressed(code: number, place: HostPort): Uint8Array {
  const address = encodeSocksAddress(place);
  const bytes = new Uint8Array(3 + address.byteLength);
  bytes.set([VERSION, code, 0x00]);
  bytes.set(address, 3);
  return bytes;
}

function refused(code: ErrorCode, text: string): RefusedConnect {
  return new RefusedConnect(code, text, 0);
}

function portAt(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
}

function meaningOf(reply: number, host: string): readonly [ErrorCode, string] {
  // QUIRK(vproxy): 2 is a name that does not resolve; an address needs no resolving.
  if (reply === 0x02) {
    return parseIp(host) === undefined
      ? ["ERR_DNS", "name does not resolve at the server, or its rules forbid the target"]
      : ["ERR_POLICY_DENIED", "server's rules forbid the target"];
  }
  return MEANINGS[reply] ?? ["ERR_STREAM_RESET", `server answered with unknown reply ${reply}`];
}

const MEANINGS: Readonly<Record<number, readonly [ErrorCode, string] | undefined>> = {
  0x01: ["ERR_DIAL_FAILED", "server could not connect"],
  0x03: ["ERR_DIAL_NETWORK_UNREACHABLE", "network unreachable from the server"],
  0x04: ["ERR_DIAL_HOST_UNREACHABLE", "host unreachable from the server"],
  0x05: ["ERR_DIAL_REFUSED", "target refused the connection"],
  0x06: ["ERR_DIAL_TIMEOUT", "target did not answer in time"],
  0x07: ["ERR_COMMAND_UNSUPPORTED", "server does not support the command"],
  0x08: ["ERR_ADDRESS_UNSUPPORTED", "server does not support the address"],
};

// DEVIATION(vproxy): it says success before it dials, so its clients know 0, 1, 2, 7 and 8 only.
const REPLY_OF: Readonly<Record<ErrorCode, number>> = {
  ERR_CONFIG: 0x01,
  ERR_LISTEN: 0x01,
  ERR_CREDENTIAL: 0x01,
  ERR_MISUSE: 0x01,
  ERR_ABORTED: 0x01,
  ERR_CLOSED: 0x01,
  ERR_POLICY_DENIED: 0x02,
  ERR_ROUTE_BLOCKED: 0x02,
  ERR_LIMIT: 0x01,
  ERR_SLOW_READER: 0x01,
  ERR_IDLE_TIMEOUT: 0x06,
  ERR_SHUTDOWN: 0x01,
  ERR_TUNNEL_DOWN: 0x03,
  ERR_TUNNEL_LOST: 0x03,
  ERR_PEER_SILENT: 0x03,
  ERR_HANDSHAKE_TIMEOUT: 0x06,
  ERR_TLS: 0x01,
  ERR_AUTH: 0x01,
  ERR_REFUSED_FOR_GOOD: 0x01,
  ERR_PROTOCOL: 0x01,
  ERR_STREAM_RESET: 0x01,
  ERR_COMMAND_UNSUPPORTED: 0x07,
  ERR_ADDRESS_UNSUPPORTED: 0x08,
  ERR_DNS: 0x02,
  ERR_DIAL_REFUSED: 0x05,
  ERR_DIAL_TIMEOUT: 0x06,
  ERR_DIAL_HOST_UNREACHABLE: 0x04,
  ERR_DIAL_NETWORK_UNREACHABLE: 0x03,
  ERR_DIAL_FAILED: 0x01,
  ERR_CONNECTION_RESET: 0x05,
};

const VERSION = 0x05;
const CONNECT = 0x01;
