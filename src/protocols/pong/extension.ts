/**
 * What two Sluice ends say to each other in SET frames on stream 0, which both versions of pong-go
 * discard. Nothing but the hello is sent before the peer's own hello arrived.
 *
 * Payload: `kind u8 | body`. All integers are big-endian. Bytes behind a body are ignored.
 */
export type Extension =
  /** First: what we are and take. */
  | {
      readonly kind: "hello";
      /** Largest DATA payload we take, 8096..65528. */
      readonly maxPayload: number;
      /** Bytes each stream may send us before the first `window`. */
      readonly initialWindow: number;
    }
  /** Answer it with `pong` and the same number. */
  | { readonly kind: "ping"; readonly nonce: number }
  | { readonly kind: "pong"; readonly nonce: number }
  /** The target of a CONNECT was reached. */
  | { readonly kind: "accepted"; readonly streamId: number }
  /** The stream may send us `increment` more bytes. */
  | { readonly kind: "window"; readonly streamId: number; readonly increment: number };

/** The payload of a SET frame for stream 0. */
export function encodeExtension(extension: Extension): Uint8Array {
  switch (extension.kind) {
    case "hello": {
      const bytes = new Uint8Array(HELLO_BYTES);
      bytes.set(MAGIC, 1);
      bytes[7] = VERSION;
      const view = new DataView(bytes.buffer);
      view.setUint16(8, extension.maxPayload);
      view.setUint32(10, extension.initialWindow);
      return bytes;
    }
    case "ping":
      return numbers(Kind.ping, extension.nonce);
    case "pong":
      return numbers(Kind.pong, extension.nonce);
    case "accepted":
      return numbers(Kind.accepted, extension.streamId);
    case "window":
      return numbers(Kind.window, extension.streamId, extension.increment);
  }
}

/** Reads a SET payload; `undefined` for anything we do not know, which is to be ignored. */
export function decodeExtension(payload: Uint8Array): Extension | undefined {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const has = (length: number): boolean => payload.byteLength >= length;
  const kind = payload[0] ?? NO_KIND;
  switch (kind) {
    case Kind.hello: {
      if (!has(HELLO_BYTES) || payload[7] !== VERSION) return undefined;
      if (!MAGIC.every((byte, index) => payload[index + 1] === byte)) return undefined;
      return { kind: "hello", maxPayload: view.getUint16(8), initialWindow: view.getUint32(10) };
    }
    case Kind.ping:
      return has(5) ? { kind: "ping", nonce: view.getUint32(1) } : undefined;
    case Kind.pong:
      return has(5) ? { kind: "pong", nonce: view.getUint32(1) } : undefined;
    case Kind.accepted:
      return has(5) ? { kind: "accepted", streamId: view.getUint32(1) } : undefined;
    case Kind.window:
      if (!has(9)) return undefined;
      return { kind: "window", streamId: view.getUint32(1), increment: view.getUint32(5) };
    default:
      return undefined;
  }
}

function numbers(kind: number, ...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(1 + 4 * values.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = kind;
  for (const [index, value] of values.entries()) view.setUint32(1 + 4 * index, value);
  return bytes;
}

const Kind = { hello: 0x00, ping: 0x01, pong: 0x02, accepted: 0x03, window: 0x04 } as const;

/** Stands for an empty payload. */
const NO_KIND = 0xff;

/** `sluice` in ASCII. */
const MAGIC: readonly number[] = [0x73, 0x6c, 0x75, 0x69, 0x63, 0x65];
const VERSION = 1;
const HELLO_BYTES = 14;
