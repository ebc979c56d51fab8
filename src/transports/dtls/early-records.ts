import { AlertDescription, decodeAlert } from "./alerts.ts";
import { ContentType, type DtlsRecord } from "./records.ts";

/** A record that was opened, and waits for the peer's Finished. */
export interface OpenedRecord {
  readonly type: number;
  readonly payload: Uint8Array;
}

/**
 * Records of epoch 1 that overtook the handshake: sealed ones until there are keys, opened ones until
 * the peer's Finished. 100 of each kind at most and 128 KiB in all.
 */
export class EarlyRecords {
  #sealed: DtlsRecord[] = [];
  #opened: OpenedRecord[] = [];
  #keptBytes = 0;

  /** Whether the peer's close is among them. */
  get isClosed(): boolean {
    return this.#opened.some(
      ({ type, payload }) =>
        type === ContentType.alert &&
        decodeAlert(payload)?.description === AlertDescription.closeNotify,
    );
  }

  /** False when there is no room. The bytes are copied: they may come from a larger buffer. */
  keepSealed(record: DtlsRecord): boolean {
    if (this.#sealed.length >= MAX_RECORDS || !this.#reserve(record.payload)) return false;
    this.#sealed.push({ ...record, payload: Uint8Array.from(record.payload) });
    return true;
  }

  /** False when there is no room. */
  keepOpened(record: OpenedRecord): boolean {
    if (this.#opened.length >= MAX_RECORDS || !this.#reserve(record.payload)) return false;
    this.#opened.push(record);
    return true;
  }

  takeSealed(): readonly DtlsRecord[] {
    const sealed = this.#sealed;
    this.#sealed = [];
    for (const { payload } of sealed) this.#keptBytes -= payload.byteLength;
    return sealed;
  }

  takeOpened(): readonly OpenedRecord[] {
    const opened = this.#opened;
    this.#opened = [];
    for (const { payload } of opened) this.#keptBytes -= payload.byteLength;
    return opened;
  }

  clear(): void {
    this.takeSealed();
    this.takeOpened();
  }

  #reserve(payload: Uint8Array): boolean {
    if (this.#keptBytes + payload.byteLength > MAX_BYTES) return false;
    this.#keptBytes += payload.byteLength;
    return true;
  }
}

const MAX_RECORDS = 100;
const MAX_BYTES = 131_072;
