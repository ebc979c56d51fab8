import { z } from "zod";
import { type Cidr, parseCidr } from "../address/cidr.ts";
import {
  type HostPattern,
  parseHostPattern,
  parsePorts,
  type PortRange,
} from "../address/host-pattern.ts";
import { formatTarget, type Target } from "../address/target.ts";
import { ConfigError } from "../errors.ts";
import { problemCodec, textCodec, type TextSchema } from "./codec.ts";
import {
  type Credential,
  formatCredential,
  parseCredential,
  parsePemSource,
} from "./credential.ts";
import { formatDuration, type Milliseconds, parseDuration } from "./duration.ts";
import { parseForwardTarget } from "./forward-target.ts";
import {
  type ForwardAddress,
  formatListenAddress,
  type ListenAddress,
  parseForwardAddress,
  parseListenAddress,
} from "./listen-address.ts";
import type { Role } from "./systems.ts";
import { formatTunnelUrl, readTunnelUrl, type TunnelUrl } from "./tunnel-url.ts";

/** A secret or a reference to one. */
export const credential: TextSchema<Credential> = textCodec<Credential>(
  parseCredential,
  revealed(formatCredential),
  {
    description: "The secret, or where it is: `env:NAME`, `file:PATH`, `cmd:COMMAND`.",
    isTextOnly: true,
  },
);

/** PEM text or where it is. */
export const pemSource: TextSchema<Credential> = textCodec<Credential>(
  parsePemSource,
  revealed(formatCredential),
  {
    description: "PEM text: a path, `file:PATH`, `env:NAME`, `cmd:COMMAND`, or the text itself.",
  },
);

/** A duration within limits. */
export const duration = (
  description: string,
  min: Milliseconds,
  max: Milliseconds,
): TextSchema<Milliseconds> =>
  textCodec((text) => parseDuration(text, { min, max }), formatDuration, {
    description: `${description} \`250ms\`, \`15s\`, \`1m\`; a bare number is seconds. From ${formatDuration(min)} to ${formatDuration(max)}.`,
  });

/** A tunnel URL of one role. */
export const tunnelUrl = (role: Role, description: string): TextSchema<TunnelUrl> =>
  problemCodec(
    (text) => {
      const { url, problems } = readTunnelUrl(text, role);
      return { value: url, problems };
    },
    revealed(formatTunnelUrl),
    { description },
  );

/** Where a door listens. */
export const listen: TextSchema<ListenAddress> = textCodec<ListenAddress>(
  parseListenAddress,
  formatListenAddress,
  {
    description: "Where to listen: `port` (on 127.0.0.1), `host:port`, or a path.",
    examples: ["127.0.0.1:1080"],
  },
);

/** Where a forward listens: standard input and output too. */
export const forwardListen: TextSchema<ForwardAddress> = textCodec<ForwardAddress>(
  parseForwardAddress,
  formatListenAddress,
  {
    description: "Like `socks`, or `-` for standard input and output.",
  },
);

/** One entry of `allow` and `deny`. */
export const hostPattern: TextSchema<HostPattern> = textCodec<HostPattern>(
  parseHostPattern,
  String,
  {
    description: "`host`, `*.domain`, `.domain`, or an address block, with `:port` or `:from-to`.",
    examples: ["10.0.0.0/8:22", "*.internal:443"],
  },
);

/** One name of a route. */
export const domain: TextSchema<HostPattern> = textCodec<HostPattern>(parseDomain, String, {
  description: "`name`, `*.domain` (below it) or `.domain` (itself and below).",
});

/** One block of a route. */
export const cidr: TextSchema<Cidr> = textCodec<Cidr>(
  (text) => {
    const block = parseCidr(text);
    if (typeof block === "string") throw new ConfigError(block);
    return block;
  },
  String,
  { description: "An address or a block of addresses." },
);

/** Ports of a route. */
export const ports: TextSchema<PortRange> = textCodec<PortRange>(
  (text) => {
    const range = parsePorts(text, (why) => new ConfigError(why));
    if (range === undefined) throw new ConfigError("port * is every port: leave the key out");
    return range;
  },
  ({ first, last }) => (first === last ? `${first}` : `${first}-${last}`),
  { description: "A port or a range of ports.", examples: [443, "8000-8999"] },
);

/** A place a forward leads to. */
export const target: TextSchema<Target> = textCodec<Target>(parseForwardTarget, formatTarget, {
  description: "The target, `host:port`, as seen from where it is dialled.",
  examples: ["bogus:22", "1.1.1.1:53/udp"],
});

/** A name that can stand in `via`. */
export const name: z.ZodString = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "a name has 1 to 64 letters, digits, dots, dashes");

/** The name of a door. */
export const inboundName: z.ZodString = z.string().min(1).max(64).meta({
  description: "Its name in routes and logs. Default: kind and address.",
});

/** A way out by name. */
export const via: z.ZodString = name.meta({
  description:
    "Way out: a name under `connect`, `groups`, `outbounds` or `providers`, `direct`, or `block`.",
});

/** A login name. */
export const userName: z.ZodString = z.string().min(1).max(255);

/** A list of host patterns, empty by default. */
export const patterns = (description: string): z.ZodType<readonly HostPattern[]> =>
  z.array(hostPattern).default([]).meta({ description });

/** Formats a value with its secrets laid open: a file without them would not do the same. */
export function revealed<Value>(
  format: (value: Value, options: { readonly reveal: boolean }) => string,
): (value: Value) => string {
  return (value) => format(value, { reveal: true });
}

function parseDomain(text: string): HostPattern {
  const pattern = parseHostPattern(text);
  if (pattern.ports !== undefined) throw new ConfigError(`"${text}" has a port: use the key port`);
  if (pattern.host.kind === "block")
    throw new ConfigError(`"${text}" is an address: use the key cidr`);
  return pattern;
}
