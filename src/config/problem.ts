import type { z } from "zod";
import { didYouMean } from "./nearest.ts";

/** A key or an index on the way from the root to a value. */
export type PathPart = string | number;

/** One thing wrong with a configuration. */
export interface Problem {
  /** Where, from the root. */
  readonly path: readonly PathPart[];
  readonly message: string;
  /** Where inside the text of the value, when the value is text. */
  readonly offset?: number | undefined;
  /** Whether the key is wrong, not its value. */
  readonly isKey?: boolean | undefined;
}

/** `serve[0].clients.alice`; odd keys are quoted. */
export function formatPath(path: readonly PathPart[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (!/^[\w-]+$/.test(part)) text += `[${JSON.stringify(part)}]`;
    else text += text === "" ? part : `.${part}`;
  }
  return text;
}

/** `path: what is wrong`; the path is left out when the problem is the whole. */
export function formatProblem({ path, message }: Problem): string {
  return path.length === 0 ? message : `${formatPath(path)}: ${message}`;
}

/**
 * What zod found, in our words.
 *
 * @param keysAt the keys an object at a path may have
 */
export function toProblems(
  issues: readonly z.core.$ZodIssue[],
  keysAt: (path: readonly PathPart[]) => readonly string[],
): Problem[] {
  return issues.flatMap((issue) => toProblem(issue, [], keysAt));
}

function toProblem(
  issue: z.core.$ZodIssue,
  parent: readonly PathPart[],
  keysAt: (path: readonly PathPart[]) => readonly string[],
): Problem[] {
  const path = [...parent, ...issue.path.map(toPart)];
  switch (issue.code) {
    case "invalid_type":
      return [{ path, message: wrongType(issue.expected, issue.input) }];
    case "unrecognized_keys":
      return issue.keys.map((key) => {
        const known = keysAt(path);
        const guess = didYouMean(key, known);
        const list = guess === "" ? `; known keys: ${known.join(", ")}` : guess;
        return { path: [...path, key], message: `unknown key "${key}"${list}`, isKey: true };
      });
    case "invalid_value": {
      const words = issue.values.map(String);
      const text = typeof issue.input === "string" ? issue.input : typeOf(issue.input);
      const guess = didYouMean(text, words);
      return [{ path, message: `"${text}" is not one of ${words.join(", ")}${guess}` }];
    }
    case "invalid_union": {
      const branch = bestBranch(issue.errors);
      if (branch !== undefined) return branch.flatMap((inner) => toProblem(inner, path, keysAt));
      const expected = issue.errors.flat().map((inner) => typeName(expectedOf(inner)));
      return [{ path, message: wrongType([...new Set(expected)].join(" or "), issue.input) }];
    }
    case "invalid_key":
      return issue.issues.map(({ message }) => ({ path, message, isKey: true }));
    case "custom": {
      const offset: unknown = issue.params?.["offset"];
      return [{ path, message: issue.message, ...(typeof offset === "number" && { offset }) }];
    }
    case "too_small":
    case "too_big":
    case "invalid_format":
    case "invalid_element":
    case "not_multiple_of":
      return [{ path, message: issue.message }];
  }
}

/** The alternative that was meant: the one that fails inside the value, not at its type. */
function bestBranch(
  branches: readonly (readonly z.core.$ZodIssue[])[],
): readonly z.core.$ZodIssue[] | undefined {
  return branches.find((issues) => {
    const first = issues[0];
    return first !== undefined && (first.code !== "invalid_type" || first.path.length > 0);
  });
}

function expectedOf(issue: z.core.$ZodIssue): string {
  return issue.code === "invalid_type" ? issue.expected : "another value";
}

function wrongType(expected: string, input: unknown): string {
  if (input === undefined) return `is missing: want ${typeName(expected)}`;
  const advice = expected === "string" && typeof input === "number" ? "; put it in quotes" : "";
  return `want ${typeName(expected)}, got ${typeOf(input)}${advice}`;
}

function typeName(expected: string): string {
  return TYPE_NAMES.get(expected) ?? expected;
}

/** What a value is, in words. The value is not repeated: it may be a secret in the wrong place. */
function typeOf(input: unknown): string {
  if (input === null) return "nothing";
  return typeName(Array.isArray(input) ? "array" : typeof input);
}

function toPart(part: PropertyKey): PathPart {
  return typeof part === "number" ? part : String(part);
}

const TYPE_NAMES: ReadonlyMap<string, string> = new Map([
  ["string", "text"],
  ["object", "a mapping"],
  ["record", "a mapping"],
  ["array", "a list"],
  ["boolean", "true or false"],
  ["number", "a number"],
  ["int", "a whole number"],
  ["text or a number", "text"],
]);
