import { formatIp, parseIp, unmapIpv4 } from "./ip.ts";

/**
 * A block of addresses. IPv4-mapped IPv6 counts as IPv4, in the block and in what is looked up;
 * otherwise an IPv4 block holds no IPv6 address and the other way round.
 */
export class Cidr {
  /** 4 or 16 bytes, zero behind the prefix. */
  readonly network: Uint8Array;
  /** 0..32 or 0..128. */
  readonly prefix: number;

  /** @param network 4 or 16 bytes; bits behind `prefix` must be zero, see {@link parseCidr} */
  constructor(network: Uint8Array, prefix: number) {
    const plain = prefix >= MAPPED_PREFIX ? unmapIpv4(network) : network;
    this.network = plain;
    this.prefix = prefix - 8 * (network.byteLength - plain.byteLength);
  }

  /** Whether the block is one single address. */
  get isSingle(): boolean {
    return this.prefix === 8 * this.network.byteLength;
  }

  /** Whether the 4 or 16 bytes of an address lie in the block. */
  contains(address: Uint8Array): boolean {
    const plain = unmapIpv4(address);
    if (plain.byteLength !== this.network.byteLength) return false;
    const whole = this.prefix >> 3;
    for (let at = 0; at < whole; at++) if (plain[at] !== this.network[at]) return false;
    const rest = this.prefix & 7;
    if (rest === 0) return true;
    return (((plain[whole] ?? 0) ^ (this.network[whole] ?? 0)) & (0xff00 >> rest) & 0xff) === 0;
  }

  /** `10.0.0.0/8`; a single address without prefix. */
  toString(): string {
    const text = formatIp(this.network);
    return this.isSingle ? text : `${text}/${this.prefix}`;
  }
}

/**
 * Reads `10.0.0.0/8`, `fd00::/8` or a single address.
 *
 * @returns the block, or one clause saying what is wrong with the text
 */
export function parseCidr(text: string): Cidr | string {
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const bytes = parseIp(address);
  if (bytes === undefined) return `${address === "" ? "nothing" : address} is no IP address`;
  const width = 8 * bytes.byteLength;
  if (slash < 0) return new Cidr(bytes, width);
  const digits = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(digits)) return `prefix /${digits} is no number`;
  const prefix = Number(digits);
  if (prefix > width) return `prefix /${prefix} exceeds ${width}`;
  const network = masked(bytes, prefix);
  if (network.some((byte, at) => byte !== bytes[at])) {
    return `${text} has bits behind its prefix; write ${formatIp(network)}/${prefix}`;
  }
  return new Cidr(network, prefix);
}

/**
 * The IPv4 address that a gateway would reach for an IPv6 one: NAT64, 6to4, and the retired
 * IPv4-compatible and IPv4-translated forms. What is denied as IPv4 must be denied in these too.
 *
 * @returns `undefined` when there is none; mapped addresses are IPv4 already, see `unmapIpv4`
 */
export function embeddedIpv4(address: Uint8Array): Uint8Array | undefined {
  if (address.byteLength !== 16) return undefined;
  if (SIX_TO_FOUR.contains(address)) return address.subarray(2, 6);
  if (LAST_FOUR.some((cidr) => cidr.contains(address))) return address.subarray(12);
  // `::` and `::1` are addresses of their own.
  const isCompatible = COMPATIBLE.contains(address) && !OWN_LOW.contains(address);
  return isCompatible ? address.subarray(12) : undefined;
}

function masked(bytes: Uint8Array, prefix: number): Uint8Array {
  return bytes.map((byte, at) => {
    const bits = Math.min(8, Math.max(0, prefix - 8 * at));
    return byte & (0xff00 >> bits) & 0xff;
  });
}

function block(text: string): Cidr {
  const cidr = parseCidr(text);
  if (typeof cidr === "string") throw new TypeError(cidr);
  return cidr;
}

/** Below it, a block with the mapped prefix holds more than mapped addresses. */
const MAPPED_PREFIX = 96;

const SIX_TO_FOUR = block("2002::/16");
/** RFC 6052 well known, RFC 8215 local, RFC 2765 translated. */
const LAST_FOUR = [block("64:ff9b::/96"), block("64:ff9b:1::/48"), block("::ffff:0:0:0/96")];
const COMPATIBLE = block("::/96");
const OWN_LOW = block("::/127");
