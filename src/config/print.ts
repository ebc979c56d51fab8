import { stringify } from "yaml";
import { z } from "zod";
import type { Config } from "./config.ts";
import { formatPath, type PathPart } from "./problem.ts";
import { configSchema } from "./schema.ts";

/** A configuration as YAML. */
export interface PrintedConfig {
  /** Reads back as the same configuration: secrets that were written out are in it as such. */
  readonly yaml: string;
  /** Where secrets stand in it, as paths; empty when there are only references. */
  readonly secrets: readonly string[];
}

/**
 * Writes the YAML that stands for a configuration. Sections at their default are left out.
 * References (`env:`, `file:`, `cmd:`) are written verbatim; literal secrets too, since without them
 * the file would not do the same, and a comment at the top says so.
 */
export function printConfig(config: Config): PrintedConfig {
  const defaults = encode(configSchema.parse({}));
  const plain = encode(config);
  const short = Object.fromEntries(
    Object.entries(plain).filter(([key, value]) => !isSame(value, defaults[key])),
  );
  const secrets = secretPaths(config, []).map(formatPath);
  const yaml = stringify(short, { lineWidth: 0 });
  return { yaml: `${header(secrets)}${yaml}`, secrets };
}

function encode(config: Config): Record<string, unknown> {
  // The encoded form is a plain mapping: the schema's root is an object.
  const plain: unknown = z.encode(configSchema, config);
  return { ...Object(plain) };
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function header(secrets: readonly string[]): string {
  if (secrets.length === 0) return "";
  return [
    "# SECRETS ARE WRITTEN OUT BELOW, because they were given that way:",
    ...secrets.map((path) => `#   ${path}`),
    "# Keep this file private (chmod 600), or write env:NAME, file:PATH or cmd:COMMAND instead.",
    "",
  ].join("\n");
}

/** Paths of all literal secrets. Inline PEM text that is no key is listed too: better safe. */
function secretPaths(value: unknown, path: readonly PathPart[]): (readonly PathPart[])[] {
  if (typeof value !== "object" || value === null) return [];
  if ("kind" in value && value.kind === "literal" && "secret" in value) return [path];
  return Object.entries(value).flatMap(([key, inner]) =>
    secretPaths(inner, [...path, Array.isArray(value) ? Number(key) : key]),
  );
}
