import {
  AddressType,
  decodeSocksAddress,
  encodeSocksAddress,
  type HostPort,
  socksAddressLength,
} from "../../address/socks-address.ts";
import type { ByteReader, Parser } from "../../bytes/byte-reader.ts";
import { ProtocolError, TunnelError } from "../../errors.ts";
import { peekFirstByte } from "../../tunnel/handshakes.ts";

/** Authentication methods. Spec: RFC 1928 section 3. */
export const Method = {
  none: 0x00,
  gssapi: 0x01,
  userPassword: 0x02,
  noneAcceptable: 0xff,
} as const;

/** What a client can ask for. Spec: RFC 1928 section 4. */
export const Command = { connect: 0x01, bind: 0x02, udpAssociate: 0x03 } as const;

/** How a request is answered. Spec: RFC 1928 section 6. */
export const Reply = {
  succeeded: 0x00,
  generalFailure: 0x01,
  notAllowed: 0x02,
  networkUnreachable: 0x03,
  hostUnreachable: 0x04,
  connectionRefused: 0x05,
  ttlExpired: 0x06,
  commandNotSupported: 0x07,
  addressTypeNotSupported: 0x08,
} as const;

/** What a client says first: `VER | NMETHODS | METHODS`. */
export interface Greeting {
  readonly methods: readonly number[];
}

/** `VER | ULEN | UNAME | PLEN | PASSWD`. Spec: RFC 1929 section 2. */
export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** `VER | CMD | RSV | ATYP | DST.ADDR | DST.PORT`. */
export interface Socks5Request extends HostPort {
  /** Raw: values beyond {@link Command} survive, the inbound judges them. */
  readonly command: number;
}

/** @throws ProtocolError on another version or no methods */
export function* readGreeting(reader: ByteReader): Parser<Greeting> {
  yield* peekFirstByte(reader);
  yield* readVersion(reader, VERSION);
  const count = yield* reader.readByte();
  if (count === 0) throw new ProtocolError("no authentication method offered");
  return { methods: [...(yield* reader.read(count))] };
}

/** @throws ProtocolError on another version of the subnegotiation */
export function* readCredentials(reader: ByteReader): Parser<Credentials> {
  yield* readVersion(reader, AUTH_VERSION);
  const user = yield* readText(reader);
  const password = yield* readText(reader);
  return { user, password };
}

/**
 * @throws ProtocolError on another version or a malformed name; TunnelError
 *   (`ERR_ADDRESS_UNSUPPORTED`) on an unknown address type
 */
export function* readRequest(reader: ByteReader): Parser<Socks5Request> {
  yield* readVersion(reader, VERSION);
  const command = yield* reader.readByte();
  yield* reader.readByte(); // reserved: zero says the RFC, whatever say some clients
  const [type = 0] = yield* reader.peek(1);
  if (type !== AddressType.ipv4 && type !== AddressType.name && type !== AddressType.ipv6) {
    throw new TunnelError("ERR_ADDRESS_UNSUPPORTED", `address type ${type} is not 1, 3 or 4`);
  }
  // A type alone tells the length, but for a name, whose length comes second.
  const length = socksAddressLength(yield* reader.peek(2)) ?? 2;
  return { command, ...decodeSocksAddress(yield* reader.read(length)) };
}

/** `VER | METHOD`: the answer to a greeting. */
export function encodeMethod(method: number): Uint8Array {
  return Uint8Array.of(VERSION, method);
}

/** `VER | STATUS`: the answer to credentials; anything but 0 is a failure. */
export function encodeAuthStatus(isAccepted: boolean): Uint8Array {
  return Uint8Array.of(AUTH_VERSION, isAccepted ? 0x00 : 0x01);
}

/** `VER | REP | RSV | ATYP | BND.ADDR | BND.PORT`: the answer to a request. */
export function encodeReply(reply: number, bound: HostPort = UNSPECIFIED): Uint8Array {
  const address = encodeSocksAddress(bound);
  const bytes = new Uint8Array(3 + address.byteLength);
  bytes.set([VERSION, reply, 0x00]);
  bytes.set(address, 3);
  return bytes;
}

function* readVersion(reader: ByteReader, expected: number): Parser<void> {
  const version = yield* reader.readByte();
  if (version !== expected) throw new ProtocolError(`version ${version} is not ${expected}`);
}

function* readText(reader: ByteReader): Parser<string> {
  const length = yield* reader.readByte();
  return new TextDecoder().decode(yield* reader.read(length));
}

/** Nobody here knows the address the target sees, and clients ignore it for CONNECT. */
const UNSPECIFIED: HostPort = { host: "0.0.0.0", port: 0 };

const VERSION = 0x05;
const AUTH_VERSION = 0x01;
