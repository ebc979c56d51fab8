import { isIP } from "node:net";
import { ProtocolError } from "../errors.ts";
import { formatIp, parseIp } from "./ip.ts";

/** Address types of RFC 1928, which pong, SOCKS5 and others share. */
export const AddressType = { ipv4: 0x01, name: 0x03, ipv6: 0x04 } as const;

/** A host and port as they stand in a SOCKS address. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/**
 * `ATYP | ADDR | PORT u16be`; ADDR is 4 bytes, 16 bytes, or a length byte and a name.
 *
 * @throws ProtocolError when a name is empty or exceeds 255 bytes
 */
export function encodeSocksAddress({ host, port }: HostPort): Uint8Array {
  const family = isIP(host);
  if (family === 0) {
    const name = new TextEncoder().encode(host);
    if (name.byteLength === 0 || name.byteLength > 255) {
      throw new ProtocolError(`host name of ${name.byteLength} bytes is not 1..255`);
    }
    const bytes = new Uint8Array(4 + name.byteLength);
    bytes[0] = AddressType.name;
    bytes[1] = name.byteLength;
    bytes.set(name, 2);
    putPort(bytes, 2 + name.byteLength, port);
    return bytes;
  }
  const ip = parseIp(host);
  if (ip === undefined)
    throw new ProtocolError(`address ${host} has a zone, which SOCKS cannot carry`);
  const bytes = new Uint8Array(3 + ip.byteLength);
  bytes[0] = ip.byteLength === 4 ? AddressType.ipv4 : AddressType.ipv6;
  bytes.set(ip, 1);
  putPort(bytes, 1 + ip.byteLength, port);
  return bytes;
}

/** How many bytes the address at the start of `bytes` takes; `undefined` when too few to tell. */
export function socksAddressLength(bytes: Uint8Array): number | undefined {
  const type = bytes[0];
  if (type === undefined) return undefined;
  if (type === AddressType.ipv4) return 7;
  if (type === AddressType.ipv6) return 19;
  if (type !== AddressType.name) return undefined;
  const length = bytes[1];
  return length === undefined ? undefined : 4 + length;
}

/**
 * Reads one address; bytes behind it are ignored (see {@link socksAddressLength}).
 *
 * @throws ProtocolError on an unknown type, an empty name, a name with NUL, or too few bytes
 */
export function decodeSocksAddress(bytes: Uint8Array): HostPort {
  const type = bytes[0];
  const length = socksAddressLength(bytes);
  if (length === undefined || bytes.byteLength < length) {
    throw new ProtocolError(
      type === undefined || type === AddressType.name || type === 1 || type === 4
        ? `address of ${bytes.byteLength} bytes is cut short`
        : `address type ${type} is not 1, 3 or 4`,
    );
  }
  const port = ((bytes[length - 2] ?? 0) << 8) | (bytes[length - 1] ?? 0);
  if (type !== AddressType.name) return { host: formatIp(bytes.subarray(1, length - 2)), port };
  const host = new TextDecoder().decode(bytes.subarray(2, length - 2));
  if (host === "") throw new ProtocolError("host name is empty");
  // oxlint-disable-next-line no-control-regex -- control bytes in a name are what we look for
  if (/[\u0000-\u0020\u007f]/.test(host)) {
    throw new ProtocolError("host name holds a control character or space");
  }
  return { host, port };
}

function putPort(bytes: Uint8Array, offset: number, port: number): void {
  bytes[offset] = port >> 8;
  bytes[offset + 1] = port & 0xff;
}
