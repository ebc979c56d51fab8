import type { ByteReader, Parser } from "../../../bytes/byte-reader.ts";

/**
 * What each side says once, where WebSocket frames would begin: the header of a binary frame of
 * 2^63-1 bytes. What follows is a raw stream.
 *
 * Spec: vproxy 1.5. Reference: `WebSocksUtils.java`, `sendWebSocketFrame`.
 */
export const MARKER: Uint8Array = Uint8Array.of(
  0x82,
  0x7f,
  0x7f,
  0xff,
  0xff,
  0xff,
  0xff,
  0xff,
  0xff,
  0xff,
);

/** An empty PONG: what a client says from time to time while its connection waits to be used. */
export const PONG: Uint8Array = Uint8Array.of(0x8a, 0x00);

/**
 * Reads what comes while a connection waits: `pong` when there were some and nothing else yet,
 * `marker` when the next byte begins one, which is left in place.
 *
 * @throws ProtocolError when the stream ends before
 */
export function* readWaiting(reader: ByteReader): Parser<"pong" | "marker"> {
  let pongs = 0;
  while (pongs === 0 || reader.length > 0) {
    const [first = 0] = yield* reader.peek(1);
    // An end without a byte fails here, as it should.
    if (reader.length > 0 && !isPong(first)) return "marker";
    // QUIRK(vproxy): its length is not looked at: two bytes are dropped.
    yield* reader.read(2);
    pongs++;
  }
  return "pong";
}

/**
 * Reads the marker of the other side, and PONGs in front of it.
 *
 * QUIRK(vproxy): what the ten bytes are does not matter: a JVM with assertions sends another length.
 */
export function* readMarker(reader: ByteReader): Parser<void> {
  while ((yield* readWaiting(reader)) === "pong");
  yield* reader.read(MARKER.byteLength);
}

function isPong(firstByte: number): boolean {
  return (firstByte & 0x0f) === 0x0a;
}
