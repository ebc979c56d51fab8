import assert from "node:assert/strict";
import type { Datagram, End } from "./dtls-transcript.ts";

/** A handshake message of a recording, put together from its fragments. */
export interface RecordedMessage {
  readonly from: End;
  readonly type: number;
  readonly seq: number;
  readonly body: Uint8Array;
}

/**
 * The messages that count for the hashes of one connection, in order and each once: from the last
 * ClientHello on, Finished included.
 */
export function handshakeOf(datagrams: readonly Datagram[], conn: number): RecordedMessage[] {
  const parts = new Map<string, { from: End; type: number; seq: number; body: Uint8Array }>();
  for (const { from, records } of datagrams.filter((each) => each.conn === conn)) {
    for (const { type, plaintext, isGarbage } of records) {
      if (type !== HANDSHAKE || isGarbage) continue;
      const view = new DataView(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength);
      const [total, offset] = [view.getUint32(0) & 0xff_ff_ff, view.getUint32(5) & 0xff_ff_ff];
      const seq = view.getUint16(4);
      const name = `${from} ${seq}`;
      let part = parts.get(name);
      if (part === undefined) {
        part = { from, type: view.getUint8(0), seq, body: new Uint8Array(total) };
        parts.set(name, part);
      }
      part.body.set(plaintext.subarray(12), offset);
    }
  }
  const messages = [...parts.values()];
  const start = messages.findLastIndex(({ type }) => type === Message.clientHello);
  return messages.slice(start);
}

/** The one message of a type. */
export function messageOf(
  messages: readonly RecordedMessage[],
  from: End,
  type: number,
): RecordedMessage | undefined {
  return messages.find((message) => message.from === from && message.type === type);
}

/** The signature a ServerKeyExchange or CertificateVerify ends with, DER. */
export function signatureOf({ type, body }: RecordedMessage): Uint8Array {
  // curve type, group, length, point; then scheme and length, of both.
  const schemeAt = type === Message.serverKeyExchange ? 4 + (body[3] ?? 0) : 0;
  const length = Buffer.from(body).readUInt16BE(schemeAt + 2);
  const signature = body.subarray(schemeAt + 4);
  assert.equal(signature.byteLength, length);
  return signature;
}

/** The public share in a ServerKeyExchange or ClientKeyExchange. */
export function shareOf({ type, body }: RecordedMessage): Uint8Array {
  const lengthAt = type === Message.serverKeyExchange ? 3 : 0;
  return body.subarray(lengthAt + 1, lengthAt + 1 + (body[lengthAt] ?? 0));
}

/** Messages of the handshake, as RFC 5246 numbers them. */
export const Message = {
  clientHello: 1,
  helloVerifyRequest: 3,
  serverKeyExchange: 12,
  certificateVerify: 15,
  clientKeyExchange: 16,
  finished: 20,
} as const;

/** Content type of their records. */
export const HANDSHAKE = 22;
