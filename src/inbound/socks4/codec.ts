import { formatIp } from "../../address/ip.ts";
import { decodeSocksAddress, type HostPort } from "../../address/socks-address.ts";
import type { ByteReader, Parser } from "../../bytes/byte-reader.ts";
import { ProtocolError } from "../../errors.ts";
import { peekFirstByte } from "../../tunnel/handshakes.ts";

/** What a client can ask for. Spec: SOCKS 4, "CONNECT" and "BIND". */
export const Command = { connect: 0x01, bind: 0x02 } as const;

/** How a request is answered: the `CD` field. */
export const Reply = {
  granted: 0x5a,
  rejected: 0x5b,
  identUnreachable: 0x5c,
  identMismatch: 0x5d,
} as const;

/**
 * `VN | CD | DSTPORT | DSTIP | USERID | NUL`, and with SOCKS4a a name behind it when DSTIP is
 * 0.0.0.x with x not 0: `NAME | NUL`.
 */
export interface Socks4Request extends HostPort {
  /** Raw: values beyond {@link Command} survive, the inbound judges them. */
  readonly command: number;
  /** Whatever the client claims; often empty. */
  readonly userId: string;
}

/** @throws ProtocolError on another version, and on a user id or name that is too long */
export function* readRequest(reader: ByteReader): Parser<Socks4Request> {
  yield* peekFirstByte(reader);
  const [version = 0, command = 0, high = 0, low = 0] = yield* reader.read(4);
  if (version !== VERSION) throw new ProtocolError(`version ${version} is not ${VERSION}`);
  const ip = yield* reader.read(4);
  const userId = new TextDecoder().decode(yield* reader.readUntil(0x00, MAX_FIELD_BYTES));
  const port = (high << 8) | low;
  const isName = ip[0] === 0 && ip[1] === 0 && ip[2] === 0 && ip[3] !== 0;
  if (!isName) return { command, userId, host: formatIp(ip), port };
  const name = yield* reader.readUntil(0x00, MAX_FIELD_BYTES);
  // The same rules for names as everywhere: as a SOCKS address they are checked.
  const address = Uint8Array.of(0x03, name.byteLength, ...name, high, low);
  return { command, userId, ...decodeSocksAddress(address) };
}

/** `VN | CD | DSTPORT | DSTIP`: the answer, whose VN is 0. */
export function encodeReply(reply: number): Uint8Array {
  return Uint8Array.of(0x00, reply, 0, 0, 0, 0, 0, 0);
}

const VERSION = 0x04;

/** As long as a name can be. */
const MAX_FIELD_BYTES = 255;
