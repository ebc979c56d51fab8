import { fragmentsOf, MESSAGE_HEADER_BYTES } from "./fragments.ts";
import type { HandshakeMessage } from "./handshake-messages.ts";
import { OVERHEAD_BYTES } from "./record-cipher.ts";
import type { Epoch, RecordLayer } from "./record-layer.ts";
import { ContentType, RECORD_HEADER_BYTES } from "./records.ts";

/** One part of a flight. */
export type FlightPart =
  | { readonly type: "message"; readonly message: HandshakeMessage; readonly epoch: Epoch }
  | { readonly type: "changeCipherSpec" }
  /** A record that is the same, byte for byte, whenever the flight leaves. */
  | { readonly type: "record"; readonly bytes: () => Uint8Array };

/**
 * The datagrams of a flight, each of `mtuBytes` at most, with record numbers of their own. What
 * follows ChangeCipherSpec shares its datagram, if it fits at all.
 */
export function datagramsOf(
  flight: readonly FlightPart[],
  layer: RecordLayer,
  mtuBytes: number,
): Uint8Array[] {
  const switchesAt = flight.findIndex(({ type }) => type === "changeCipherSpec");
  const end = switchesAt < 0 ? flight.length : switchesAt;
  const single = flight.slice(0, end).flatMap((part) => recordsOf(part, layer, mtuBytes));
  const last = flight.slice(end).flatMap((part) => recordsOf(part, layer, mtuBytes));
  const whole = Buffer.concat(last);
  return packed([...single, ...(whole.byteLength <= mtuBytes ? [whole] : last)], mtuBytes);
}

function recordsOf(part: FlightPart, layer: RecordLayer, mtuBytes: number): Uint8Array[] {
  switch (part.type) {
    case "record":
      return [part.bytes()];
    case "changeCipherSpec":
      return [layer.write(ContentType.changeCipherSpec, 0, CHANGE_CIPHER_SPEC)];
    case "message": {
      const { message, epoch } = part;
      const overhead = RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES + epoch * OVERHEAD_BYTES;
      const fragments = [...fragmentsOf(message, mtuBytes - overhead)];
      return fragments.map((fragment) => layer.write(ContentType.handshake, epoch, fragment));
    }
  }
}

/** Joins `parts` in order into as few datagrams as hold them. */
function packed(parts: readonly Uint8Array[], mtuBytes: number): Uint8Array[] {
  const datagrams: Uint8Array[][] = [];
  let left = 0;
  for (const part of parts) {
    const last = datagrams.at(-1);
    if (last === undefined || part.byteLength > left) {
      datagrams.push([part]);
      left = mtuBytes - part.byteLength;
    } else {
      last.push(part);
      left -= part.byteLength;
    }
  }
  return datagrams.map((records) => Buffer.concat(records));
}

const CHANGE_CIPHER_SPEC = Uint8Array.of(1);
