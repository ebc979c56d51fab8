/**
 * The PROXY protocol's header, versions 1 and 2: says to a target who the client is.
 *
 * Spec: haproxy "The PROXY protocol", 2.1 and 2.2; godoxy 5.2.
 */
import { parseIp, unmapIpv4 } from "../../address/ip.ts";
import { parseHostPort } from "../../address/target.ts";

/** Which form is written. */
export type ProxyHeaderVersion = "v1" | "v2";

/** Who talks to whom. */
export interface ProxiedEnds {
  /** `host:port` of the client. */
  readonly source: string;
  /** Where the client came in, or where it is led: `host:port`. */
  readonly destination: string;
}

/**
 * The bytes in front of a stream's payload. A source that is no address is told as unknown (v1) or
 * as our own connection (v2), for which a target takes the connection's own ends; a destination that
 * is a name, which the agent resolves, as the unspecified address with its port.
 */
export function encodeProxyHeader(version: ProxyHeaderVersion, ends: ProxiedEnds): Uint8Array {
  const source = readEnd(ends.source);
  const pair = source && sameFamily(source, readDestination(ends.destination, source));
  return version === "v1" ? encodeV1(pair) : encodeV2(pair);
}

interface End {
  readonly ip: Uint8Array;
  readonly port: number;
}

function encodeV1(pair: readonly [End, End] | undefined): Uint8Array {
  if (pair === undefined) return encoder.encode("PROXY UNKNOWN\r\n");
  const [source, destination] = pair;
  const family = source.ip.byteLength === 4 ? "TCP4" : "TCP6";
  const [from, to] = [formatV1(source.ip), formatV1(destination.ip)];
  return encoder.encode(`PROXY ${family} ${from} ${to} ${source.port} ${destination.port}\r\n`);
}

function encodeV2(pair: readonly [End, End] | undefined): Uint8Array {
  if (pair === undefined) return Uint8Array.of(...SIGNATURE, COMMAND_LOCAL, 0x00, 0, 0);
  const [source, destination] = pair;
  const size = source.ip.byteLength;
  const bytes = new Uint8Array(16 + 2 * size + 4);
  bytes.set(SIGNATURE, 0);
  bytes.set([COMMAND_PROXY, size === 4 ? 0x11 : 0x21], 12);
  const view = new DataView(bytes.buffer);
  view.setUint16(14, 2 * size + 4);
  bytes.set(source.ip, 16);
  bytes.set(destination.ip, 16 + size);
  view.setUint16(16 + 2 * size, source.port);
  view.setUint16(18 + 2 * size, destination.port);
  return bytes;
}

function readEnd(text: string): End | undefined {
  const end = parseHostPort(text.replace(/%[^\]]*/, ""));
  const ip = end === undefined ? undefined : parseIp(end.host);
  return end === undefined || ip === undefined ? undefined : { ip: unmapIpv4(ip), port: end.port };
}

function readDestination(text: string, { ip }: End): End {
  const known = readEnd(text);
  if (known !== undefined) return known;
  return { ip: new Uint8Array(ip.byteLength), port: parseHostPort(text)?.port ?? 0 };
}

/** Two ends of one family: an IPv4 address is also one of IPv6. */
function sameFamily(a: End, b: End): readonly [End, End] {
  if (a.ip.byteLength === b.ip.byteLength) return [a, b];
  return [mapped(a), mapped(b)];
}

function mapped({ ip, port }: End): End {
  if (ip.byteLength === 16) return { ip, port };
  return { ip: Uint8Array.of(...MAPPED_PREFIX, ...ip), port };
}

function formatV1(ip: Uint8Array): string {
  if (ip.byteLength === 4) return ip.join(".");
  const words: string[] = [];
  for (let at = 0; at < 16; at += 2) {
    words.push((((ip[at] ?? 0) << 8) | (ip[at + 1] ?? 0)).toString(16));
  }
  return words.join(":");
}

const encoder = new TextEncoder();

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a] as const;
const COMMAND_LOCAL = 0x20;
const COMMAND_PROXY = 0x21;
const MAPPED_PREFIX = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] as const;
