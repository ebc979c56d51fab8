import { isIP } from "node:net";
import { z } from "zod";
import { ConfigError } from "../errors.ts";
import { shorthand, textCodec, type TextSchema } from "./codec.ts";
import type {
  ApiConfig,
  ClientConfig,
  Config,
  ConnectConfig,
  ConnectorConfig,
  LogConfig,
  ProvideConfig,
  ProviderConfig,
  RetryConfig,
  ServeConfig,
} from "./config.ts";
import type { Milliseconds } from "./duration.ts";
import { formatProxyUrl, parseProxyUrl } from "./proxy-url.ts";
import { groupSchema } from "./schema-groups.ts";
import { inboundSchema } from "./schema-inbounds.ts";
import { routeSchema } from "./schema-routes.ts";
import {
  credential,
  duration,
  hostPattern,
  inboundName,
  name,
  patterns,
  pemSource,
  revealed,
  tunnelUrl,
} from "./schema-words.ts";

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
    groups: z
      .record(name, groupSchema)
      .default({})
      .meta({ description: "Several tunnels to the same places as one way out, by name." }),
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

function parseBind(text: string): string {
  if (isIP(text) !== 0) return text;
  throw new ConfigError(`"${text}" is no IP address`);
}
