import { z } from "zod";
import { oneOrMore } from "./codec.ts";
import type { RouteConfig } from "./config.ts";
import { cidr, domain, ports, via } from "./schema-words.ts";

/** One entry of `routes`. */
export const routeSchema: z.ZodType<RouteConfig> = z.strictObject({
  domain: oneOrMore(domain, "Names asked for: `name`, `*.domain`, `.domain`.").optional(),
  cidr: oneOrMore(cidr, "Blocks the address asked for lies in; names never match.").optional(),
  port: oneOrMore(ports, "Ports and ranges asked for.").optional(),
  inbound: oneOrMore(z.string(), "Names of inbounds the request came in through.").optional(),
  user: oneOrMore(z.string(), "Names of users or clients that ask.").optional(),
  via,
});
