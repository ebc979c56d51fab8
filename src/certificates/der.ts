/**
 * The little of DER that certificates are made of: `tag | length | content`, nested.
 *
 * Spec: X.690, 8.1 and 10.1. Lengths are definite and minimal; tags have one byte.
 */
export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  /** Of a certificate's version, and of its extensions. */
  version: 0xa0,
  extensions: 0xa3,
} as const;

/** One element as it was read; both are views of what was read. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  /** With tag and length. */
  readonly whole: Uint8Array;
}

/** One element around its content. */
export function der(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const inside = Buffer.concat(content);
  return Buffer.concat([Uint8Array.of(tag), encodeLength(inside.byteLength), inside]);
}

/** A sequence of elements. */
export function sequence(...elements: readonly Uint8Array[]): Uint8Array {
  return der(Tag.sequence, ...elements);
}

/** The number that unsigned big-endian bytes stand for. */
export function unsignedInteger(bytes: Uint8Array): Uint8Array {
  const start = bytes.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Uint8Array.of(0) : bytes.subarray(start);
  const [first = 0] = digits;
  return der(Tag.integer, ...(first < 0x80 ? [] : [Uint8Array.of(0)]), digits);
}

/** An object identifier, from how people write it: `1.2.840.10045.4.3.2`. */
export function objectIdentifier(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return der(
    Tag.objectIdentifier,
    Uint8Array.from([first * 40 + second, ...rest].flatMap(base128)),
  );
}

/** Bits, the last `unused` of which do not count. */
export function bitString(bytes: Uint8Array, unused = 0): Uint8Array {
  return der(Tag.bitString, Uint8Array.of(unused), bytes);
}

/** A point in time as certificates write it: two digits for the year until 2049, four after. */
export function time(date: Date): Uint8Array {
  const digits = `${date.toISOString().replaceAll(/\.\d+|[^\d]/g, "")}Z`;
  const isShort = date.getUTCFullYear() >= 1950 && date.getUTCFullYear() < 2050;
  return isShort
    ? der(Tag.utcTime, Buffer.from(digits.slice(2)))
    : der(Tag.generalizedTime, Buffer.from(digits));
}

/** Text: a PrintableString where its alphabet suffices, else UTF-8. */
export function text(value: string): Uint8Array {
  const tag = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value) ? Tag.printableString : Tag.utf8String;
  return der(tag, Buffer.from(value));
}

/**
 * The elements that follow each other in `bytes`.
 *
 * @throws RangeError when one is cut short or has a form that certificates do not use
 */
export function readDer(bytes: Uint8Array): readonly DerElement[] {
  const elements: DerElement[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const [tag = 0, short = 0x80] = bytes.subarray(at, at + 2);
    const longBytes = short < 0x80 ? 0 : short - 0x80;
    if (short === 0x80 || longBytes > MAX_LENGTH_BYTES) throw new RangeError("DER length form");
    const start = at + 2 + longBytes;
    const length = longBytes === 0 ? short : bigEndian(bytes.subarray(at + 2, start));
    const end = start + length;
    if (end > bytes.byteLength) throw new RangeError(`DER element ends at ${end}, past the end`);
    elements.push({ tag, content: bytes.subarray(start, end), whole: bytes.subarray(at, end) });
    at = end;
  }
  return elements;
}

function encodeLength(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  const digits: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 0x100)) digits.unshift(rest % 0x100);
  return Uint8Array.of(0x80 + digits.length, ...digits);
}

function base128(value: number): number[] {
  const digits = [value % 0x80];
  for (let rest = Math.floor(value / 0x80); rest > 0; rest = Math.floor(rest / 0x80)) {
    digits.unshift(0x80 + (rest % 0x80));
  }
  return digits;
}

function bigEndian(bytes: Uint8Array): number {
  return bytes.reduce((value, byte) => value * 0x100 + byte, 0);
}

/** Elements of 16 MB and more are no certificate's. */
const MAX_LENGTH_BYTES = 3;
