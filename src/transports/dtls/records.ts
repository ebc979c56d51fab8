/** What a record carries. */
export const ContentType = {
  changeCipherSpec: 20,
  alert: 21,
  handshake: 22,
  applicationData: 23,
} as const;

/** `type u8 | version u16 | epoch u16 | seq u48 | length u16 | payload`. */
export interface DtlsRecord {
  /** Raw: unknown values survive decoding. */
  readonly type: number;
  readonly epoch: number;
  /** Less than 2^48, which a number holds exactly. */
  readonly seq: number;
  /** Encrypted in epoch 1. Shares memory with the datagram. */
  readonly payload: Uint8Array;
}

/** What one datagram held. */
export interface DecodedRecords {
  readonly records: readonly DtlsRecord[];
  /** It held bytes besides that are no record; nothing behind them was looked at. */
  readonly isMalformed: boolean;
}

/**
 * Cuts a datagram into records. Versions fe ff and fe fd pass: hellos carry either (RFC 6347, 4.2.1).
 */
export function decodeRecords(datagram: Uint8Array): DecodedRecords {
  const records: DtlsRecord[] = [];
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  let at = 0;
  while (datagram.byteLength - at >= RECORD_HEADER_BYTES) {
    const version = view.getUint16(at + 1);
    const end = at + RECORD_HEADER_BYTES + view.getUint16(at + 11);
    if ((version !== 0xfefd && version !== 0xfeff) || end > datagram.byteLength) break;
    records.push({
      type: view.getUint8(at),
      epoch: view.getUint16(at + 3),
      seq: view.getUint16(at + 5) * 2 ** 32 + view.getUint32(at + 7),
      payload: datagram.subarray(at + RECORD_HEADER_BYTES, end),
    });
    at = end;
  }
  return { records, isMalformed: at !== datagram.byteLength };
}

/** One record of version fe fd. */
export function encodeRecord(
  type: number,
  epoch: number,
  seq: number,
  payload: Uint8Array,
): Uint8Array {
  const record = emptyRecord(type, epoch, seq, payload.byteLength);
  record.set(payload, RECORD_HEADER_BYTES);
  return record;
}

/** The same, its payload still to be written behind the header. */
export function emptyRecord(
  type: number,
  epoch: number,
  seq: number,
  byteLength: number,
): Uint8Array {
  const record = new Uint8Array(RECORD_HEADER_BYTES + byteLength);
  const view = new DataView(record.buffer);
  view.setUint8(0, type);
  view.setUint16(1, 0xfefd);
  view.setUint16(3, epoch);
  view.setUint16(5, Math.floor(seq / 2 ** 32));
  view.setUint32(7, seq % 2 ** 32);
  view.setUint16(11, byteLength);
  return record;
}

/** Bytes before a record's payload. */
export const RECORD_HEADER_BYTES = 13;

/** Longest payload of a record before encryption. */
export const MAX_PLAINTEXT_BYTES = 16_384;
