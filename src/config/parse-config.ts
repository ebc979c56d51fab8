import type { z } from "zod";
import { ConfigError } from "../errors.ts";
import type { Config, ConfigInput, GroupConfig } from "./config.ts";
import { type JsonSchema, keysAt, toJsonSchema } from "./json-schema.ts";
import { formatProblem, type PathPart, type Problem, toProblems } from "./problem.ts";
import { checkReferences } from "./references.ts";
import { configSchema, connectSchema, serveSchema } from "./schema.ts";
import { groupSchema } from "./schema-groups.ts";
import { inboundSchema } from "./schema-inbounds.ts";
import { routeSchema } from "./schema-routes.ts";
import type { TunnelUrl } from "./tunnel-url.ts";

/** A configuration, or everything that is wrong with it. */
export type ConfigResult =
  | { readonly config: Config; readonly problems: readonly [] }
  | { readonly config: undefined; readonly problems: readonly Problem[] };

/** Reads a configuration in the shape of the file; what comes out is frozen. */
export function readConfig(input: unknown): ConfigResult {
  const plain = withoutEmptySections(input);
  const result = configSchema.safeParse(plain, { reportInput: true });
  const problems = result.success ? [] : toProblems(result.error.issues, knownKeys());
  problems.push(...checkReferences(readableParts(plain)));
  if (!result.success || problems.length > 0) return { config: undefined, problems };
  return { config: deepFreeze(result.data), problems: [] };
}

/**
 * Reads a configuration.
 *
 * @throws ConfigError with every problem, one per line
 */
export function parseConfig(input: ConfigInput): Config {
  const { config, problems } = readConfig(input);
  if (config !== undefined) return config;
  throw new ConfigError(problems.map(formatProblem).join("\n"));
}

/** A section that only holds comments is `null` in YAML, and means that it is not there. */
function withoutEmptySections(input: unknown): unknown {
  if (input === null || input === undefined) return {};
  if (typeof input !== "object" || Array.isArray(input)) return input;
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== null));
}

function knownKeys(): (path: readonly PathPart[]) => readonly string[] {
  let schema: JsonSchema | undefined;
  return (path) => keysAt((schema ??= toJsonSchema()), path);
}

function readableParts(input: unknown): Parameters<typeof checkReferences>[0] {
  const connect = sectionOf(input, "connect");
  const connectUrls = new Map<string, TunnelUrl>();
  for (const [name, entry] of Object.entries(connect)) {
    const url = readable(connectSchema, entry)?.url;
    if (url !== undefined) connectUrls.set(name, url);
  }
  const groups = new Map<string, GroupConfig>();
  for (const [name, entry] of Object.entries(sectionOf(input, "groups"))) {
    const group = readable(groupSchema, entry);
    if (group !== undefined) groups.set(name, group);
  }
  return {
    serve: listOf(input, "serve").map((entry) => readable(serveSchema, entry)),
    inbounds: listOf(input, "inbounds").map((entry) => readable(inboundSchema, entry)),
    routes: listOf(input, "routes").map((entry) => readable(routeSchema, entry)),
    connect: Object.keys(connect),
    connectUrls,
    groupNames: Object.keys(sectionOf(input, "groups")),
    groups,
    outbounds: Object.keys(sectionOf(input, "outbounds")),
    providers: listOf(input, "serve").flatMap((entry) =>
      Object.keys(sectionOf(entry, "providers")),
    ),
  };
}

/** Reads one entry; keys it should not have are reported elsewhere and do not stand in the way. */
function readable<Value>(schema: z.ZodType<Value>, input: unknown): Value | undefined {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const unknown = result.error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys" && issue.path.length === 0 ? issue.keys : [],
  );
  if (unknown.length === 0 || typeof input !== "object" || input === null) return undefined;
  const entries = Object.entries(input).filter(([key]) => !unknown.includes(key));
  const retry = schema.safeParse(Object.fromEntries(entries));
  return retry.success ? retry.data : undefined;
}

function sectionOf(input: unknown, key: string): Readonly<Record<string, unknown>> {
  const section = Object.entries(Object(input)).find(([name]) => name === key)?.[1];
  return typeof section === "object" && section !== null ? { ...section } : {};
}

function listOf(input: unknown, key: string): readonly unknown[] {
  const section: unknown = Object.entries(Object(input)).find(([name]) => name === key)?.[1];
  return Array.isArray(section) ? section : [];
}

/** Freezes plain objects and lists all the way down; values with a class look after themselves. */
function deepFreeze<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null) return value;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== Array.prototype) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
