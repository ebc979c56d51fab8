import { DtlsAlert } from "./alerts.ts";
import { readFragment } from "./fragments.ts";
import { HandshakeType } from "./handshake-messages.ts";
import { RANDOM_BYTES } from "./hello-messages.ts";
import { ContentType, decodeRecords } from "./records.ts";
import { WireReader } from "./wire.ts";

/** A ClientHello as it came in one datagram of epoch 0, in one record or several. */
export interface ReceivedClientHello {
  /** Of the handshake message: 0 without a cookie, as a rule 1 with one. */
  readonly messageSeq: number;
  /** Of the last record of it; our first answer carries the same number. */
  readonly recordSeq: number;
  /** Empty in a first ClientHello. */
  readonly cookie: Uint8Array;
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
    const cookie = reader.vector8();
    return { messageSeq, recordSeq, cookie, random, body };
  } catch (error) {
    if (error instanceof DtlsAlert) return undefined;
    throw error;
  }
}
