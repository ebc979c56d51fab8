import { z } from "zod";
import type { PathPart } from "./problem.ts";
import { configSchema } from "./schema.ts";

/** As much of JSON Schema as zod writes for our configuration. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
}

/** The JSON Schema of the configuration file, for editors. */
export function toJsonSchema(): JsonSchema {
  // zod types its result by the whole of JSON Schema; what it writes for us is the part above.
  // oxlint-disable-next-line typescript/consistent-type-assertions -- parsing border
  return z.toJSONSchema(configSchema, { io: "input" }) as JsonSchema;
}

/** The keys the object at `path` may have; empty when there is none, or it takes any name. */
export function keysAt(root: JsonSchema, path: readonly PathPart[]): readonly string[] {
  let places: readonly JsonSchema[] = [root];
  for (const part of path) places = places.flatMap(alternatives).flatMap((at) => below(at, part));
  return places.flatMap(alternatives).flatMap(({ properties = {} }) => Object.keys(properties));
}

function alternatives(schema: JsonSchema): readonly JsonSchema[] {
  return schema.anyOf?.flatMap(alternatives) ?? [schema];
}

function below(
  { properties, items, additionalProperties }: JsonSchema,
  part: PathPart,
): JsonSchema[] {
  if (typeof part === "number") return items === undefined ? [] : [items];
  const property = properties?.[part];
  if (property !== undefined) return [property];
  return typeof additionalProperties === "object" ? [additionalProperties] : [];
}
