import { gunzipSync } from "node:zlib";

/** The message types, by number. Written down here again: not the codec under test. */
export const Type = {
  auth: 0x01,
  authResponse: 0x02,
  connect: 0x03,
  data: 0x04,
  connectResponse: 0x05,
  disconnect: 0x06,
  connector: 0x07,
  connectorResponse: 0x08,
  log: 0x09,
  partners: 0x0a,
} as const;

/** The type octet of a message. */
export function typeOf(message: Uint8Array): number {
  return message[1] ?? 0;
}

/** The channel or request id, as hexadecimal digits; `undefined` for messages without one. */
export function channelOf(message: Uint8Array): string | undefined {
  const at = CHANNEL_AT[typeOf(message)];
  if (at === undefined || message.byteLength < at + 16) return undefined;
  return Buffer.from(message.subarray(at, at + 16)).toString("hex");
}

/** The same message about another channel. */
export function withChannel(message: Uint8Array, channel: string): Buffer {
  const copy = Buffer.from(message);
  const at = CHANNEL_AT[typeOf(message)];
  if (at !== undefined) copy.set(Buffer.from(channel, "hex"), at);
  return copy;
}

/** Whether a Connect or Data is about UDP. */
export function isUdp(message: Uint8Array): boolean {
  return message[2] === UDP && (typeOf(message) === Type.connect || typeOf(message) === Type.data);
}

/** The payload of a Data message, inflated when it says so. */
export function payloadOf(message: Uint8Array): Buffer {
  const bytes = Buffer.from(message);
  const payload = bytes.subarray(24, 24 + bytes.readUInt32BE(20));
  return bytes[19] === GZIP ? gunzipSync(payload) : payload;
}

/** A Data message without compression. */
export function tcpData(channel: string, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(24);
  head.set([0x01, Type.data, TCP]);
  head.set(Buffer.from(channel, "hex"), 3);
  head.writeUInt32BE(payload.byteLength, 20);
  return Buffer.concat([head, payload]);
}

/** A target of Connect, or one of the addresses behind a datagram. */
export interface Place {
  readonly host: string;
  readonly port: number;
}

/** Rewrites the target of a TCP Connect, and both addresses of a UDP Data. */
export function mapPlaces(message: Uint8Array, map: (place: Place) => Place): Buffer {
  const bytes = Buffer.from(message);
  if (typeOf(bytes) === Type.connect && bytes[2] === TCP) {
    const { place } = readPlace(bytes, 19);
    return Buffer.concat([bytes.subarray(0, 19), writePlace(map(place))]);
  }
  if (typeOf(bytes) !== Type.data || !isUdp(bytes)) return bytes;
  const tail = 24 + bytes.readUInt32BE(20);
  const source = readPlace(bytes, tail);
  const target = readPlace(bytes, source.next);
  const places = [source.place, target.place].map((it) => (it.host === "" ? it : map(it)));
  return Buffer.concat([bytes.subarray(0, tail), ...places.map(writePlace)]);
}

/** What a failed ConnectResponse says, or `undefined` when it succeeded. */
export function failureOf(message: Uint8Array): string | undefined {
  if (typeOf(message) !== Type.connectResponse || message[2] !== 0) return undefined;
  return Buffer.from(message.subarray(20)).toString();
}

/** The text of a Log message. */
export function logText(message: Uint8Array): string {
  return Buffer.from(message.subarray(6)).toString();
}

/** For a failure's message. */
export function describe(message: Uint8Array): string {
  const name = Object.entries(Type).find(([, value]) => value === typeOf(message))?.[0] ?? "type";
  const shown = Buffer.from(message.subarray(0, 80)).toString("hex");
  return `${name} of ${message.byteLength} bytes: ${shown}`;
}

function readPlace(bytes: Buffer, at: number): { place: Place; next: number } {
  const end = at + 1 + (bytes[at] ?? 0);
  const host = bytes.subarray(at + 1, end).toString();
  return { place: { host, port: bytes.readUInt16BE(end) }, next: end + 2 };
}

function writePlace({ host, port }: Place): Buffer {
  const name = Buffer.from(host);
  return Buffer.concat([Buffer.of(name.byteLength), name, Buffer.of(port >> 8, port & 0xff)]);
}

const CHANNEL_AT: Readonly<Record<number, number>> = { 3: 3, 4: 3, 5: 3, 6: 2, 7: 2, 8: 2 };
const TCP = 1;
const UDP = 2;
const GZIP = 1;
