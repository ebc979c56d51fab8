import { DtlsAlert, encodeFatal } from "./alerts.ts";
import type { DtlsGroup } from "./dtls-options.ts";
import { readFragment } from "./fragments.ts";
import { encodeMessage, HandshakeType } from "./handshake-messages.ts";
import { DTLS_1_2, judgeClientHello, RANDOM_BYTES } from "./hello-messages.ts";
import { ContentType, decodeRecords, encodeRecord } from "./records.ts";
import { u16, vector8, WireReader } from "./wire.ts";

/** A ClientHello as it came in one datagram of epoch 0, in one record or several. */
export interface ReceivedClientHello {
  /** Of the handshake message: 0 without a cookie, as a rule 1 with one. */
  readonly messageSeq: number;
  /** Of the last record of it; our first answer carries the same number. */
  readonly recordSeq: number;
  /** Empty in a first ClientHello. */
  readonly cookie: Uint8Array;
  /** Everything of it but the cookie: what a cookie is bound to, besides the address. */
  readonly cookieFreeBytes: Uint8Array;
  /** The 32 bytes that tell one handshake from another. */
  readonly random: Uint8Array;
  /** Without its header. Whether anything in it is acceptable is for the session to say. */
  readonly body: Uint8Array;
}

/**
 * The ClientHello that `datagram` begins with, whole; `undefined` when there is none. Nothing is
 * kept, and nothing behind the cookie is looked at.
 */
export function readClientHello(datagram: Uint8Array): ReceivedClientHello | undefined {
  const { records } = decodeRecords(datagram);
  let body: Uint8Array | undefined;
  let filled = 0;
  let messageSeq = 0;
  for (const { type, epoch, seq, payload } of records) {
    if (type !== ContentType.handshake || epoch !== 0) return undefined;
    const fragment = readFragment(payload);
    if (fragment === undefined || fragment.type !== HandshakeType.clientHello) return undefined;
    if (fragment.byteLength !== payload.byteLength) return undefined;
    if (body === undefined) {
      if (fragment.messageBytes > datagram.byteLength) return undefined;
      body = new Uint8Array(fragment.messageBytes);
      messageSeq = fragment.seq;
    }
    const isNext = fragment.seq === messageSeq && fragment.offset === filled;
    if (!isNext || fragment.messageBytes !== body.byteLength) return undefined;
    body.set(fragment.bytes, filled);
    filled += fragment.bytes.byteLength;
    if (filled === body.byteLength) return parse(body, messageSeq, seq);
  }
  return undefined;
}

/** One datagram: a HelloVerifyRequest that answers `hello` with `cookie`, at most 255 bytes. */
export function writeHelloVerifyRequest(
  hello: Pick<ReceivedClientHello, "recordSeq">,
  cookie: Uint8Array,
): Uint8Array {
  const body = Buffer.concat([u16(DTLS_1_2), vector8(cookie)]);
  const message = encodeMessage({ type: HandshakeType.helloVerifyRequest, seq: 0, body });
  return encodeRecord(ContentType.handshake, 0, hello.recordSeq, message);
}

/**
 * One datagram: the alert that answers a ClientHello outside our profile, as if at the first look;
 * `undefined` when the hello fits. Keeps no state, so that it can be said before the cookie.
 */
export function refuseClientHello(
  hello: ReceivedClientHello,
  groups?: readonly DtlsGroup[],
): Uint8Array | undefined {
  try {
    judgeClientHello(hello.body, groups);
    return undefined;
  } catch (error) {
    if (!(error instanceof DtlsAlert)) throw error;
    return encodeRecord(ContentType.alert, 0, hello.recordSeq, encodeFatal(error.alert));
  }
}

function parse(
  body: Uint8Array,
  messageSeq: number,
  recordSeq: number,
): ReceivedClientHello | undefined {
  try {
    const reader = new WireReader(body);
    reader.bytes(2);
    const random = reader.bytes(RANDOM_BYTES);
    reader.vector8();
    const cookieAt = reader.offset;
    const cookie = reader.vector8();
    const rest = body.subarray(reader.offset);
    const cookieFreeBytes = Buffer.concat([body.subarray(0, cookieAt), rest]);
    return { messageSeq, recordSeq, cookie, cookieFreeBytes, random, body };
  } catch (error) {
    if (error instanceof DtlsAlert) return undefined;
    throw error;
  }
}
