import type { CookieHello } from "./cookies.ts";

/** What the first bytes of a ClientHello tell, read without keeping anything. */
export interface PeekedHello extends CookieHello {
  /** 8 bytes: epoch 0 and the sequence number of the record it came in. */
  readonly recordNumber: Uint8Array;
  /** 2 bytes: the number of the message. */
  readonly messageNumber: Uint8Array;
}

/**
 * Reads a ClientHello up to its cookie, where a datagram begins with one, or with its first fragment.
 *
 * @returns `undefined` for everything else
 */
export function peekClientHello(datagram: Uint8Array): PeekedHello | undefined {
  if (datagram[0] !== HANDSHAKE || datagram[RECORD_BYTES] !== CLIENT_HELLO) return undefined;
  if (datagram.byteLength < COOKIE_AT) return undefined;
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const isDtls = datagram[1] === VERSION_MAJOR && (datagram[2] === V1_0 || datagram[2] === V1_2);
  if (!isDtls || view.getUint16(3) !== 0) return undefined;
  const bodyBytes = view.getUint16(11);
  const fragmentOffset = view.getUint32(RECORD_BYTES + 5) & 0xff_ff_ff;
  const fragmentBytes = view.getUint32(RECORD_BYTES + 8) & 0xff_ff_ff;
  if (fragmentOffset !== 0 || fragmentBytes + MESSAGE_BYTES > bodyBytes) return undefined;
  if (RECORD_BYTES + bodyBytes > datagram.byteLength) return undefined;
  const end = RECORD_BYTES + MESSAGE_BYTES + fragmentBytes;
  const cookieLengthAt = SESSION_ID_AT + 1 + (datagram[SESSION_ID_AT] ?? 0);
  if (cookieLengthAt >= end) return undefined;
  const cookieEnd = cookieLengthAt + 1 + (datagram[cookieLengthAt] ?? 0);
  if (cookieEnd > end) return undefined;
  return {
    recordNumber: datagram.subarray(3, 11),
    messageNumber: datagram.subarray(RECORD_BYTES + 4, RECORD_BYTES + 6),
    start: datagram.subarray(RECORD_BYTES + MESSAGE_BYTES, cookieLengthAt),
    cookie: datagram.subarray(cookieLengthAt + 1, cookieEnd),
  };
}

/**
 * The datagram that asks for the ClientHello again, with a cookie. It has the numbers of the
 * ClientHello itself (RFC 6347, 4.2.1), so nothing is counted for it.
 */
export function helloVerifyRequest(hello: PeekedHello, cookie: Uint8Array): Uint8Array {
  const body = 3 + cookie.byteLength;
  return Buffer.concat([
    Buffer.of(HANDSHAKE, VERSION_MAJOR, V1_2),
    hello.recordNumber,
    Buffer.of(0, MESSAGE_BYTES + body, HELLO_VERIFY_REQUEST, 0, 0, body),
    hello.messageNumber,
    Buffer.of(0, 0, 0, 0, 0, body, VERSION_MAJOR, V1_2, cookie.byteLength),
    cookie,
  ]);
}

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const HELLO_VERIFY_REQUEST = 3;

/** `fe ff` is DTLS 1.0, in the first records of clients that know more; `fe fd` is 1.2. */
const VERSION_MAJOR = 0xfe;
const V1_0 = 0xff;
const V1_2 = 0xfd;

/** A record's header; a message's; then version (2) and random (32). */
const RECORD_BYTES = 13;
const MESSAGE_BYTES = 12;
const SESSION_ID_AT = RECORD_BYTES + MESSAGE_BYTES + 34;

/** No ClientHello is shorter than up to the length of an empty cookie. */
const COOKIE_AT = SESSION_ID_AT + 2;
