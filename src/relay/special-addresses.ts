import { embeddedIpv4, parseCidr, type Cidr } from "../address/cidr.ts";
import { normalizeHostName } from "../address/host-name.ts";

/** Why an exit denies an address unless told otherwise, in the words of the refusal. */
export type SpecialKind =
  | "unspecified"
  | "loopback"
  | "link-local"
  | "cloud metadata"
  | "multicast"
  | "broadcast";

/**
 * What an address is special for, itself or by the IPv4 address inside it (NAT64, 6to4, …).
 *
 * @returns `undefined` for the addresses an exit may dial: public and private ones
 */
export function specialKindOf(address: Uint8Array): SpecialKind | undefined {
  const own = kindOf(address);
  if (own !== undefined) return own;
  const embedded = embeddedIpv4(address);
  return embedded === undefined ? undefined : kindOf(embedded);
}

/** Whether a name is one under which a cloud hands out its machines' secrets. */
export function isMetadataName(name: string): boolean {
  return METADATA_NAMES.has(normalizeHostName(name) ?? "");
}

function kindOf(address: Uint8Array): SpecialKind | undefined {
  return SPECIAL.find(([, cidr]) => cidr.contains(address))?.[0];
}

function special(kind: SpecialKind, ...blocks: readonly string[]): [SpecialKind, Cidr][] {
  return blocks.map((text) => {
    const cidr = parseCidr(text);
    if (typeof cidr === "string") throw new TypeError(cidr);
    return [kind, cidr];
  });
}

/** In order: metadata services stand inside link-local and private blocks. */
const SPECIAL: readonly (readonly [SpecialKind, Cidr])[] = [
  ...special(
    "cloud metadata",
    "169.254.169.254", // AWS, Azure, Google, DigitalOcean, OpenStack and others
    "169.254.170.2", // AWS container credentials
    "fd00:ec2::254", // AWS
    "fd20:ce::254", // Google
    "100.100.100.200", // Alibaba
    "192.0.0.192", // Oracle
    "168.63.129.16", // Azure's host agent, a public address that never leaves the host
  ),
  ...special("unspecified", "0.0.0.0/8", "::/128"),
  ...special("loopback", "127.0.0.0/8", "::1/128"),
  ...special("link-local", "169.254.0.0/16", "fe80::/10"),
  ...special("multicast", "224.0.0.0/4", "ff00::/8"),
  ...special("broadcast", "255.255.255.255"),
];

const METADATA_NAMES: ReadonlySet<string> = new Set([
  "metadata",
  "metadata.google.internal",
  "metadata.goog",
  "metadata.azure.internal",
  "metadata.platformequinix.com",
  "metadata.packet.net",
  "metadata.tencentyun.com",
  "instance-data",
  "instance-data.ec2.internal",
]);
