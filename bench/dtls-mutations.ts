import { decodeRecords, RECORD_HEADER_BYTES } from "../src/transports/dtls/records.ts";
import { pick } from "./seeded-random.ts";

/** Changes a datagram in one to three ways; `known` are others to take pieces of. Copies. */
export function mutate(
  datagram: Uint8Array,
  known: readonly Uint8Array[],
  random: () => number,
): Uint8Array {
  let bytes = Uint8Array.from(datagram);
  const rounds = 1 + Math.floor(random() * 3);
  for (let round = 0; round < rounds; round++) {
    bytes = pick(MUTATIONS, random)(bytes, known, random);
  }
  return bytes;
}

type Bytes = Uint8Array<ArrayBuffer>;
type Mutation = (bytes: Bytes, known: readonly Uint8Array[], random: () => number) => Bytes;

const MUTATIONS: readonly Mutation[] = [
  flipBits,
  flipBits,
  setHeader,
  setHeader,
  setMessage,
  setByte,
  cut,
  extend,
  splice,
  splice,
  shuffleRecords,
  join,
];

function flipBits(bytes: Bytes, _known: readonly Uint8Array[], random: () => number): Bytes {
  const count = 1 + Math.floor(random() * 8);
  for (let at = 0; at < count; at++) {
    const index = Math.floor(random() * bytes.byteLength);
    if (index < bytes.byteLength) bytes[index] = (bytes[index] ?? 0) ^ (1 << (random() * 8));
  }
  return bytes;
}

function setByte(bytes: Bytes, _known: readonly Uint8Array[], random: () => number): Bytes {
  const index = Math.floor(random() * bytes.byteLength);
  if (index < bytes.byteLength) bytes[index] = pick(INTERESTING, random);
  return bytes;
}

/** Type, version, epoch, number or length of the first record. */
function setHeader(bytes: Bytes, _known: readonly Uint8Array[], random: () => number): Bytes {
  return setAt(bytes, Math.floor(random() * RECORD_HEADER_BYTES), random);
}

/** Type, length, number, offset or piece length of the first handshake message. */
function setMessage(bytes: Bytes, _known: readonly Uint8Array[], random: () => number): Bytes {
  return setAt(bytes, RECORD_HEADER_BYTES + Math.floor(random() * MESSAGE_HEADER_BYTES), random);
}

function setAt(bytes: Bytes, index: number, random: () => number): Bytes {
  if (index >= bytes.byteLength) return bytes;
  const byte = bytes[index] ?? 0;
  bytes[index] = pick([byte + 1, byte - 1, ...INTERESTING], random);
  return bytes;
}

function cut(bytes: Bytes, _known: readonly Uint8Array[], random: () => number): Bytes {
  return bytes.slice(0, Math.floor(random() * (bytes.byteLength + 1)));
}

function extend(bytes: Bytes, _known: readonly Uint8Array[], random: () => number): Bytes {
  const more = Math.floor(random() ** 3 * 400);
  return joined(
    bytes,
    Uint8Array.from({ length: more }, () => random() * 256),
  );
}

/** The head of one and the tail of another. */
function splice(bytes: Bytes, known: readonly Uint8Array[], random: () => number): Bytes {
  const other = pick(known, random);
  const [head, tail] = [random(), random()].map((share, at) =>
    Math.floor(share * ((at === 0 ? bytes : other).byteLength + 1)),
  );
  return joined(bytes.subarray(0, head), other.subarray(tail));
}

/** The records of one in another order, some twice, some not at all. */
function shuffleRecords(bytes: Bytes, _known: readonly Uint8Array[], random: () => number): Bytes {
  const { records } = decodeRecords(bytes);
  if (records.length === 0) return bytes;
  const count = 1 + Math.floor(random() * records.length * 2);
  const pieces = Array.from({ length: count }, () => {
    const { payload } = pick(records, random);
    const at = payload.byteOffset - bytes.byteOffset - RECORD_HEADER_BYTES;
    return bytes.subarray(at, at + RECORD_HEADER_BYTES + payload.byteLength);
  });
  return joined(...pieces);
}

/** Two in one. */
function join(bytes: Bytes, known: readonly Uint8Array[], random: () => number): Bytes {
  return joined(bytes, pick(known, random));
}

function joined(...pieces: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole.byteLength > MAX_BYTES ? whole.slice(0, MAX_BYTES) : whole;
}

const INTERESTING = [0, 1, 2, 14, 16, 20, 21, 22, 23, 24, 0x7f, 0x80, 0xfd, 0xfe, 0xff];

/** `type u8 | length u24 | seq u16 | offset u24 | piece length u24`. */
const MESSAGE_HEADER_BYTES = 12;

/** What UDP carries. */
const MAX_BYTES = 65_507;
