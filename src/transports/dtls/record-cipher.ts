import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from "node:crypto";
import type { RecordKeys } from "./key-schedule.ts";
import {
  type DtlsRecord,
  emptyRecord,
  MAX_PLAINTEXT_BYTES,
  RECORD_HEADER_BYTES,
} from "./records.ts";

/** Key and implicit nonce of one direction. A KeyObject spares Node most of a cipher's set-up. */
interface Direction {
  readonly key: KeyObject;
  readonly iv: Uint8Array;
}

/** Protects the records of epoch 1: AES-128-GCM with an explicit nonce, RFC 5288. */
export class RecordCipher {
  readonly #write: Direction;
  readonly #read: Direction;

  /** The keys are copied: whoever made them clears them. */
  constructor(keys: RecordKeys, end: "client" | "server") {
    const client = { key: createSecretKey(keys.clientKey), iv: Uint8Array.from(keys.clientIv) };
    const server = { key: createSecretKey(keys.serverKey), iv: Uint8Array.from(keys.serverIv) };
    [this.#write, this.#read] = end === "client" ? [client, server] : [server, client];
  }

  /** A whole record of ours. The same number must never be used twice. */
  seal(type: number, seq: number, plaintext: Uint8Array): Uint8Array {
    const { key, iv } = this.#write;
    const head = additionalData(type, seq, plaintext.byteLength);
    const nonce = new Uint8Array(NONCE_BYTES);
    nonce.set(iv);
    nonce.set(head.subarray(0, EXPLICIT_BYTES), iv.byteLength);
    const cipher = createCipheriv("aes-128-gcm", key, nonce);
    cipher.setAAD(head);
    const record = emptyRecord(type, EPOCH, seq, plaintext.byteLength + OVERHEAD_BYTES);
    const bodyAt = RECORD_HEADER_BYTES + EXPLICIT_BYTES;
    record.set(head.subarray(0, EXPLICIT_BYTES), RECORD_HEADER_BYTES);
    record.set(cipher.update(plaintext), bodyAt);
    cipher.final();
    record.set(cipher.getAuthTag(), bodyAt + plaintext.byteLength);
    return record;
  }

  /** What the peer sealed, or `undefined` when it did not. */
  open({ type, seq, payload }: DtlsRecord): Uint8Array | undefined {
    const byteLength = payload.byteLength - OVERHEAD_BYTES;
    if (byteLength < 0 || byteLength > MAX_PLAINTEXT_BYTES) return undefined;
    const { key, iv } = this.#read;
    const nonce = new Uint8Array(NONCE_BYTES);
    nonce.set(iv);
    nonce.set(payload.subarray(0, EXPLICIT_BYTES), iv.byteLength);
    const decipher = createDecipheriv("aes-128-gcm", key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(additionalData(type, seq, byteLength));
    decipher.setAuthTag(payload.subarray(payload.byteLength - TAG_BYTES));
    const tagAt = EXPLICIT_BYTES + byteLength;
    const plaintext = decipher.update(payload.subarray(EXPLICIT_BYTES, tagAt));
    try {
      decipher.final();
    } catch {
      // The only thing it throws for: the tag is wrong.
      return undefined;
    }
    return plaintext;
  }
}

/** `epoch u16 | seq u48 | type u8 | version u16 | length u16`; the first 8 are our explicit nonce. */
function additionalData(type: number, seq: number, byteLength: number): Uint8Array {
  const bytes = new Uint8Array(13);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, EPOCH);
  view.setUint16(2, Math.floor(seq / 2 ** 32));
  view.setUint32(4, seq % 2 ** 32);
  view.setUint8(8, type);
  view.setUint16(9, 0xfefd);
  view.setUint16(11, byteLength);
  return bytes;
}

const EPOCH = 1;
const NONCE_BYTES = 12;
const EXPLICIT_BYTES = 8;
const TAG_BYTES = 16;

/** Bytes that sealing adds to a payload; the record's header of 13 is not among them. */
export const OVERHEAD_BYTES: number = EXPLICIT_BYTES + TAG_BYTES;
