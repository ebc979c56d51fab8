import { z } from "zod";
import { HostRegexp } from "../address/host-regexp.ts";
import { oneOrMore, textCodec } from "./codec.ts";
import type { RouteConfig } from "./config.ts";
import { formatListSource, type ListSource, parseListSource } from "./list-file.ts";
import { cidr, domain, ports, via } from "./schema-words.ts";

const regexp = textCodec<HostRegexp>((source) => new HostRegexp(source), String, {
  description: "A regular expression.",
});

const list = textCodec<ListSource>(parseListSource, formatListSource, {
  description: "A path, with `file:` before it or not.",
});

/** One entry of `routes`. */
export const routeSchema: z.ZodType<RouteConfig> = z.strictObject({
  domain: oneOrMore(domain, "Names asked for: `name`, `*.domain`, `.domain`.").optional(),
  cidr: oneOrMore(cidr, "Blocks the address asked for lies in; names never match.").optional(),
  regexp: oneOrMore(
    regexp,
    "Expressions the whole host asked for matches, name or address, in the common subset of Java and JavaScript; no references to groups, no looking around. Their time is bounded.",
  ).optional(),
  list: oneOrMore(
    list,
    "Files that name hosts in the format of Adblock Plus and gfwlist, plain or in base64. A file is read again when it changes; URLs are not fetched.",
  ).optional(),
  port: oneOrMore(ports, "Ports and ranges asked for.").optional(),
  inbound: oneOrMore(z.string(), "Names of inbounds the request came in through.").optional(),
  user: oneOrMore(z.string(), "Names of users or clients that ask.").optional(),
  via,
});
