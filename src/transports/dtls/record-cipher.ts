import { createCipheriv, createDecipheriv } from "node:crypto";
import type { RecordKeys } from "./key-schedule.ts";
import { type DtlsRecord, encodeRecord, MAX_PLAINTEXT_BYTES } from "./records.ts";

/** Protects the records of epoch 1: AES-128-GCM with an explicit nonce, RFC 5288. */
export class RecordCipher {
  readonly #keys: RecordKeys;
  readonly #isClient: boolean;

  constructor(keys: RecordKeys, end: "client" | "server") {
    this.#keys = keys;
    this.#isClient = end === "client";
  }

  /** A whole record of ours. The same number must never be used twice. */
  seal(type: number, seq: number, plaintext: Uint8Array): Uint8Array {
    const { clientKey, serverKey, clientIv, serverIv } = this.#keys;
    const [key, iv] = this.#isClient ? [clientKey, clientIv] : [serverKey, serverIv];
    const head = additionalData(type, seq, plaintext.byteLength);
    const nonce = new Uint8Array(NONCE_BYTES);
    nonce.set(iv);
    nonce.set(head.subarray(0, EXPLICIT_BYTES), iv.byteLength);
    const cipher = createCipheriv("aes-128-gcm", key, nonce);
    cipher.setAAD(head);
    const body = cipher.update(plaintext);
    cipher.final();
    const parts = [head.subarray(0, EXPLICIT_BYTES), body, cipher.getAuthTag()];
    return encodeRecord(type, EPOCH, seq, Buffer.concat(parts));
  }

  /** What the peer sealed, or `undefined` when it did not. */
  open({ type, seq, payload }: DtlsRecord): Uint8Array | undefined {
    const byteLength = payload.byteLength - OVERHEAD_BYTES;
    if (byteLength < 0 || byteLength > MAX_PLAINTEXT_BYTES) return undefined;
    const { clientKey, serverKey, clientIv, serverIv } = this.#keys;
    const [key, iv] = this.#isClient ? [serverKey, serverIv] : [clientKey, clientIv];
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

  /** Forgets the keys. Nothing can be sealed or opened afterwards. */
  wipe(): void {
    const { clientKey, serverKey, clientIv, serverIv } = this.#keys;
    for (const key of [clientKey, serverKey, clientIv, serverIv]) key.fill(0);
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
