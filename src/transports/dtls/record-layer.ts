import { MisuseError } from "../../errors.ts";
import type { RecordCipher } from "./record-cipher.ts";
import { type DtlsRecord, encodeRecord } from "./records.ts";
import { ReplayWindow } from "./replay-window.ts";

/** Epochs of a session: before and after ChangeCipherSpec. There is no third. */
export type Epoch = 0 | 1;

/** Numbers, seals and opens the records of one session. */
export class RecordLayer {
  readonly #window = new ReplayWindow();
  readonly #nextSeq: Record<Epoch, number>;
  #cipher: RecordCipher | undefined;

  /** @param firstSeq our first record's number in epoch 0 */
  constructor(firstSeq: number) {
    this.#nextSeq = { 0: firstSeq, 1: 0 };
  }

  /** Whether records of epoch 1 can be written and opened. */
  get hasKeys(): boolean {
    return this.#cipher !== undefined;
  }

  useKeys(cipher: RecordCipher): void {
    this.#cipher = cipher;
  }

  /** One whole record, under a number of its own. */
  write(type: number, epoch: Epoch, payload: Uint8Array): Uint8Array {
    const seq = this.#nextSeq[epoch];
    if (seq > MAX_SEQ) throw new MisuseError("dtls: record numbers are used up");
    this.#nextSeq[epoch] = seq + 1;
    if (epoch === 0) return encodeRecord(type, epoch, seq, payload);
    if (this.#cipher === undefined) throw new MisuseError("dtls: no keys yet");
    return this.#cipher.seal(type, seq, payload);
  }

  /** What a record of epoch 1 holds; `undefined` when it is forged or came before. */
  open(record: DtlsRecord): Uint8Array | undefined {
    if (this.#cipher === undefined || !this.#window.isFresh(record.seq)) return undefined;
    const plaintext = this.#cipher.open(record);
    if (plaintext !== undefined) this.#window.mark(record.seq);
    return plaintext;
  }

  /** Lets the keys go: OpenSSL overwrites what it frees. */
  forgetKeys(): void {
    this.#cipher = undefined;
  }
}

const MAX_SEQ = 2 ** 48 - 1;
