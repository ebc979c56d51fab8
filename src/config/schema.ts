import { isIP } from "node:net";
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
import { oneOrMore, problemCodec, shorthand, textCodec, type TextSchema } from "./codec.ts";
import type {
  ApiConfig,
  ClientConfig,
  Config,
  ConnectConfig,
  ConnectorConfig,
  InboundConfig,
  LogConfig,
  ProvideConfig,
  ProviderConfig,
  RetryConfig,
  RouteConfig,
  ServeConfig,
} from "./config.ts";
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
import { formatProxyUrl, parseProxyUrl } from "./proxy-url.ts";
import type { Role } from "./systems.ts";
import { formatTunnelUrl, readTunnelUrl, type TunnelUrl } from "./tunnel-url.ts";

// ---- words ----

const credential = textCodec<Credential>(parseCredential, revealed(formatCredential), {
  description: "The secret, or where it is: `env:NAME`, `file:PATH`, `cmd:COMMAND`.",
  isTextOnly: true,
});

const pemSource = textCodec<Credential>(parsePemSource, revealed(formatCredential), {
  description: "PEM text: a path, `file:PATH`, `env:NAME`, `cmd:COMMAND`, or the text itself.",
});

/** A duration within limits. */
const duration = (
  description: string,
  min: Milliseconds,
  max: Milliseconds,
): TextSchema<Milliseconds> =>
  textCodec((text) => parseDuration(text, { min, max }), formatDuration, {
    description: `${description} \`250ms\`, \`15s\`, \`1m\`; a bare number is seconds. From ${formatDuration(min)} to ${formatDuration(max)}.`,
  });

const tunnelUrl = (role: Role, description: string): TextSchema<TunnelUrl> =>
  problemCodec(
    (text) => {
      const { url, problems } = readTunnelUrl(text, role);
      return { value: url, problems };
    },
    revealed(formatTunnelUrl),
    { description },
  );

const listen = textCodec<ListenAddress>(parseListenAddress, formatListenAddress, {
  description: "Where to listen: `port` (on 127.0.0.1), `host:port`, or a path.",
  examples: ["127.0.0.1:1080"],
});

const forwardListen = textCodec<ForwardAddress>(parseForwardAddress, formatListenAddress, {
  description: "Like `socks`, or `-` for standard input and output.",
});

const hostPattern = textCodec<HostPattern>(parseHostPattern, String, {
  description: "`host`, `*.domain`, `.domain`, or an address block, with `:port` or `:from-to`.",
  examples: ["10.0.0.0/8:22", "*.internal:443"],
});

const domain = textCodec<HostPattern>(parseDomain, String, {
  description: "`name`, `*.domain` (below it) or `.domain` (itself and below).",
});

const cidr = textCodec<Cidr>(
  (text) => {
    const block = parseCidr(text);
    if (typeof block === "string") throw new ConfigError(block);
    return block;
  },
  String,
  { description: "An address or a block of addresses." },
);

const ports = textCodec<PortRange>(
  (text) => {
    const range = parsePorts(text, (why) => new ConfigError(why));
    if (range === undefined) throw new ConfigError("port * is every port: leave the key out");
    return range;
  },
  ({ first, last }) => (first === last ? `${first}` : `${first}-${last}`),
  { description: "A port or a range of ports.", examples: [443, "8000-8999"] },
);

const target = textCodec<Target>(parseForwardTarget, formatTarget, {
  description: "The target, `host:port`, as seen from where it is dialled.",
  examples: ["bogus:22", "1.1.1.1:53/udp"],
});

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "a name has 1 to 64 letters, digits, dots, dashes");

const inboundName = z.string().min(1).max(64).meta({
  description: "Its name in routes and logs. Default: kind and address.",
});

const via = name.meta({
  description: "Way out: a name under `connect`, `outbounds` or `providers`, `direct`, or `block`.",
});

const userName = z.string().min(1).max(255);

const patterns = (description: string): z.ZodType<readonly HostPattern[]> =>
  z.array(hostPattern).default([]).meta({ description });

// ---- sections ----

const retry: z.ZodType<RetryConfig> = z
  .strictObject({
    min: duration("First delay.", 10, 3_600_000).prefault("250ms"),
    max: duration("Longest delay.", 10, 86_400_000).prefault("30s"),
  })
  .prefault({})
  .meta({
    description: "Delay before a lost tunnel is dialled again; random below a growing cap.",
  });

const client: z.ZodType<ClientConfig> = shorthand(
  "id",
  z.strictObject({
    id: credential,
    allow: z.array(hostPattern).optional().meta({
      description:
        "The only targets this client may reach. It opens nothing that is denied by default: that is up to `allow` of the entry.",
    }),
  }),
);

const provider: z.ZodType<ProviderConfig> = shorthand(
  "token",
  z.strictObject({
    token: credential,
    autonomy: z.boolean().default(false).meta({
      description: "It serves connectors it announces itself, and nothing else.",
    }),
  }),
);

const connector: z.ZodType<ConnectorConfig> = z.strictObject({
  token: credential,
  provider: name.meta({ description: "The name of the provider that dials its targets." }),
});

const api: z.ZodType<ApiConfig> = shorthand(
  "key",
  z.strictObject({
    key: credential,
    bind: textCodec<string>(parseBind, String, {
      description: "Address on which it opens proxies.",
    }).prefault("127.0.0.1"),
  }),
);

/** One entry of `serve`. */
export const serveSchema: z.ZodType<ServeConfig> = z.strictObject({
  name: inboundName.optional(),
  url: tunnelUrl("serve", "Tunnel URL; its host and port are listened on."),
  clients: z
    .record(name, client)
    .default({})
    .meta({ description: "Who may connect: a name for the log, and the credential." }),
  anonymous: z.boolean().default(false).meta({ description: "Lets everybody in." }),
  providers: z.record(name, provider).optional().meta({
    description:
      "linksocks: who dials targets for others. Each name is a way out for `via`; several providers may come with one token, and take turns.",
  }),
  connectors: z
    .record(name, connector)
    .optional()
    .meta({ description: "linksocks: clients whose targets a provider dials." }),
  api: api.optional().meta({
    description: "linksocks: the key of the HTTP API, which manages tokens while it runs.",
  }),
  cert: pemSource.optional().meta({ description: "Our certificate chain, PEM." }),
  key: pemSource.optional().meta({ description: "The key of our certificate, PEM." }),
  allow: patterns(
    "Targets to open that are denied by default: loopback, link-local, cloud metadata, multicast.",
  ),
  deny: patterns("Targets that are never dialled."),
});

/** One entry of `connect`. */
export const connectSchema: z.ZodType<ConnectConfig> = shorthand(
  "url",
  z.strictObject({
    url: tunnelUrl("connect", "Tunnel URL of the far side."),
    retry,
    wait: duration("How long a new connection waits for the tunnel.", 0, 600_000).prefault("5s"),
  }),
);

/** One entry of `provide`. */
export const provideSchema: z.ZodType<ProvideConfig> = shorthand(
  "url",
  z.strictObject({
    url: tunnelUrl("provide", "Tunnel URL of the far side."),
    retry,
    allow: patterns("Targets to open that are denied by default."),
    deny: patterns("Targets that are never dialled."),
  }),
);

/** One entry of `inbounds`, in the shape of the file. */
const inboundInput = z.strictObject({
  name: inboundName.optional(),
  socks: listen.optional().meta({
    description: "SOCKS5, SOCKS4a and HTTP proxy on one port, told apart by first bytes.",
  }),
  http: listen.optional().meta({ description: "HTTP proxy alone." }),
  forward: forwardListen
    .optional()
    .meta({ description: "Forward to one target; a port, a path, or `-` for stdin and stdout." }),
  to: target
    .optional()
    .meta({ description: "Where a forward leads: `host:port`, or `host:port/udp` for datagrams." }),
  users: z
    .record(userName, credential)
    .optional()
    .meta({ description: "User names and passwords of `socks` and `http`. Default: no login." }),
  via: via.optional(),
});

/** One entry of `inbounds`. */
export const inboundSchema: z.ZodType<InboundConfig> = z.codec(
  inboundInput,
  z.custom<InboundConfig>(),
  {
    decode: (input, context): InboundConfig => {
      const { socks, http, forward, to, users, ...rest } = input;
      const fail = (message: string, path: string[] = []): never => {
        context.issues.push({ code: "custom", message, input, path });
        return z.NEVER;
      };
      const kinds = INBOUND_KINDS.filter((kind) => input[kind] !== undefined);
      if (kinds.length !== 1) {
        return fail(
          kinds.length === 0
            ? "wants one of the keys socks, http, forward"
            : `has the keys ${kinds.join(" and ")}, and can be only one of them`,
        );
      }
      if (forward !== undefined) {
        if (users !== undefined) return fail("a forward has no login", ["users"]);
        if (to === undefined) return fail("a forward wants the key to: host:port");
        if (to.network === "udp" && (forward === "stdio" || "path" in forward)) {
          return fail("datagrams come in through a port: write port or host:port", ["forward"]);
        }
        return { kind: "forward", listen: forward, to, ...rest };
      }
      if (to !== undefined)
        return fail("belongs to forward; a proxy is told by its client", ["to"]);
      if (socks !== undefined) return { kind: "socks", listen: socks, users: users ?? {}, ...rest };
      if (http !== undefined) return { kind: "http", listen: http, users: users ?? {}, ...rest };
      return z.NEVER;
    },
    encode: (inbound) => {
      if (inbound.kind === "forward") {
        const { kind: _, listen: forward, ...rest } = inbound;
        return { forward, ...rest };
      }
      const { kind, listen: at, users, ...rest } = inbound;
      const login = Object.keys(users).length === 0 ? {} : { users };
      return { [kind]: at, ...login, ...rest };
    },
  },
);

/** One entry of `routes`. */
export const routeSchema: z.ZodType<RouteConfig> = z.strictObject({
  domain: oneOrMore(domain, "Names asked for: `name`, `*.domain`, `.domain`.").optional(),
  cidr: oneOrMore(cidr, "Blocks the address asked for lies in; names never match.").optional(),
  port: oneOrMore(ports, "Ports and ranges asked for.").optional(),
  inbound: oneOrMore(z.string(), "Names of inbounds the request came in through.").optional(),
  user: oneOrMore(z.string(), "Names of users or clients that ask.").optional(),
  via,
});

/** The section `log`. */
export const logSchema: z.ZodType<LogConfig> = z
  .strictObject({
    format: z.enum(["auto", "pretty", "json"]).default("auto").meta({
      description: "`auto`: `pretty` on a terminal, `json` elsewhere.",
    }),
    level: z.enum(["debug", "info", "warn", "error"]).default("info").meta({
      description: "The least important lines to write.",
    }),
  })
  .prefault({})
  .meta({ description: "What is logged to standard error, and how." });

/** How long running streams may take at the end. */
export const graceSchema: TextSchema<Milliseconds> = duration(
  "How long running streams may take to finish when the process is told to end.",
  0,
  3_600_000,
);

/** The whole configuration: source of checks, defaults, JSON Schema and reference page. */
export const configSchema: z.ZodType<Config> = z
  .strictObject({
    serve: z.array(serveSchema).default([]).meta({ description: "Tunnels whose peers dial us." }),
    connect: z
      .record(name, connectSchema)
      .default({})
      .meta({ description: "Tunnels we dial to use the far side's network, by name." }),
    provide: z
      .record(name, provideSchema)
      .default({})
      .meta({ description: "Tunnels we dial to lend our network to the far side, by name." }),
    inbounds: z
      .array(inboundSchema)
      .default([])
      .meta({ description: "Doors for local programs: proxies and forwards." }),
    outbounds: z
      .record(
        name,
        textCodec(parseProxyUrl, revealed(formatProxyUrl), {
          description:
            "Upstream proxy: `socks5://`, `socks4a://`, `http://` or `https://`, `[user:password@]host[:port]`.",
        }),
      )
      .default({})
      .meta({ description: "Further ways out, by name." }),
    routes: z.array(routeSchema).default([]).meta({
      description:
        "Which request takes which way out; the first match wins. Without a match inbounds take the first tunnel under `connect` (`direct` if there is none), and peers of `serve` go `direct`.",
    }),
    allow: patterns("What `direct` may dial for inbounds although it is denied by default."),
    deny: patterns("What `direct` never dials for inbounds."),
    log: logSchema,
    grace: graceSchema.prefault("10s"),
  })
  .meta({ title: "Sluice configuration" });

const INBOUND_KINDS = ["socks", "http", "forward"] as const;

function revealed<Value>(
  format: (value: Value, options: { readonly reveal: boolean }) => string,
): (value: Value) => string {
  return (value) => format(value, { reveal: true });
}

function parseBind(text: string): string {
  if (isIP(text) !== 0) return text;
  throw new ConfigError(`"${text}" is no IP address`);
}

function parseDomain(text: string): HostPattern {
  const pattern = parseHostPattern(text);
  if (pattern.ports !== undefined) throw new ConfigError(`"${text}" has a port: use the key port`);
  if (pattern.host.kind === "block")
    throw new ConfigError(`"${text}" is an address: use the key cidr`);
  return pattern;
}
