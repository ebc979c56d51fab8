import {
  decodeSocksAddress,
  encodeSocksAddress,
  socksAddressLength,
} from "../../address/socks-address.ts";
import { ProtocolError } from "../../errors.ts";
import type { Packet } from "../../tunnel/packets.ts";

/** Why a client's datagram is dropped. */
export type DatagramFault = "malformed" | "fragment";

/**
 * Reads `RSV u16 | FRAG | ATYP | ADDR | PORT u16be | DATA`; the payload shares memory with the
 * datagram. RSV is not looked at; port 0 and names with control characters are malformed.
 *
 * Spec: RFC 1928 section 7; whoever does not put fragments together must drop them.
 */
export function decodeDatagram(datagram: Uint8Array): Packet | DatagramFault {
  const length = socksAddressLength(datagram.subarray(ADDRESS_OFFSET));
  if (length === undefined || datagram.byteLength < ADDRESS_OFFSET + length) return "malformed";
  if (datagram[FRAGMENT_OFFSET] !== 0) return "fragment";
  try {
    const { host, port } = decodeSocksAddress(datagram.subarray(ADDRESS_OFFSET));
    if (port === 0) return "malformed";
    return { host, port, data: datagram.subarray(ADDRESS_OFFSET + length) };
  } catch (thrown) {
    if (thrown instanceof ProtocolError) return "malformed";
    throw thrown;
  }
}

/**
 * The datagram that brings a packet to the client. A zone (`fe80::1%eth0`), which SOCKS cannot
 * carry, is left out.
 *
 * @returns `undefined` for an address that SOCKS cannot carry at all: a name of over 255 bytes
 */
export function encodeDatagram({ host, port, data }: Packet): Uint8Array | undefined {
  const bare = host.includes(":") ? host.replace(/%.*$/, "") : host;
  let address: Uint8Array;
  try {
    address = encodeSocksAddress({ host: bare, port });
  } catch (thrown) {
    if (thrown instanceof ProtocolError) return undefined;
    throw thrown;
  }
  const bytes = new Uint8Array(ADDRESS_OFFSET + address.byteLength + data.byteLength);
  bytes.set(address, ADDRESS_OFFSET);
  bytes.set(data, ADDRESS_OFFSET + address.byteLength);
  return bytes;
}

const FRAGMENT_OFFSET = 2;
const ADDRESS_OFFSET = 3;
