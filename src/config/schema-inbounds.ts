import { z } from "zod";
import { ConfigError } from "../errors.ts";
import { textCodec } from "./codec.ts";
import type { InboundConfig } from "./config.ts";
import {
  credential,
  forwardListen,
  inboundName,
  listen,
  target,
  userName,
  via,
} from "./schema-words.ts";

const pacPath = textCodec<string>(parsePacPath, String, {
  description: "A path of its own, with its slash.",
});

/** One entry of `inbounds`, in the shape of the file. */
const inboundInput = z.strictObject({
  name: inboundName.optional(),
  socks: listen.optional().meta({
    description: "SOCKS5, SOCKS4a and HTTP proxy on one port, told apart by first bytes.",
  }),
  http: listen.optional().meta({ description: "HTTP proxy alone." }),
  sni: listen.optional().meta({
    description:
      "For clients that know no proxy: TLS goes on to the name it asks for (SNI), port 443, HTTP to its `Host`. Names that lead here must not lead `direct`.",
  }),
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
  pac: z.union([z.boolean(), pacPath]).optional().meta({
    description:
      "Serves a PAC file, which tells browsers to use this proxy, to `GET /proxy.pac` and `GET /pac`, or to the path that stands here. Nobody has to log in for it.",
  }),
});

/** One entry of `inbounds`. */
export const inboundSchema: z.ZodType<InboundConfig> = z.codec(
  inboundInput,
  z.custom<InboundConfig>(),
  {
    decode: (input, context): InboundConfig => {
      const { socks, http, sni, forward, to, users, pac, ...others } = input;
      const rest = { ...others, ...(pac !== undefined && pac !== false && { pac }) };
      const fail = (message: string, path: string[] = []): never => {
        context.issues.push({ code: "custom", message, input, path });
        return z.NEVER;
      };
      const kinds = INBOUND_KINDS.filter((kind) => input[kind] !== undefined);
      if (kinds.length !== 1) {
        return fail(
          kinds.length === 0
            ? "wants one of the keys socks, http, sni, forward"
            : `has the keys ${kinds.join(" and ")}, and can be only one of them`,
        );
      }
      if (forward !== undefined) {
        if (users !== undefined) return fail("a forward has no login", ["users"]);
        if (pac !== undefined) return fail("a forward is no proxy", ["pac"]);
        if (to === undefined) return fail("a forward wants the key to: host:port");
        if (to.network === "udp" && (forward === "stdio" || "path" in forward)) {
          return fail("datagrams come in through a port: write port or host:port", ["forward"]);
        }
        return { kind: "forward", listen: forward, to, ...others };
      }
      if (to !== undefined)
        return fail("belongs to forward; a proxy is told by its client", ["to"]);
      if (sni !== undefined) {
        if (users !== undefined) return fail("its clients know of no login", ["users"]);
        if (pac !== undefined) return fail("it is no proxy", ["pac"]);
        return { kind: "sni", listen: sni, users: {}, ...others };
      }
      const at = socks ?? http;
      if (pac !== undefined && pac !== false && at !== undefined && "path" in at) {
        return fail("a browser cannot be told a path: the proxy wants a port", ["pac"]);
      }
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

const INBOUND_KINDS = ["socks", "http", "sni", "forward"] as const;

function parsePacPath(text: string): string {
  if (/^\/[!-"$->@-~]*$/.test(text)) return text;
  throw new ConfigError(`"${text}" is no path: write true, or a path like /proxy.pac`);
}
