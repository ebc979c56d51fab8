import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  Scalar,
} from "yaml";
import type { Config } from "./config.ts";
import { readConfig } from "./parse-config.ts";
import { formatProblem, type PathPart, type Problem } from "./problem.ts";

/** A problem with its place in the file. */
export interface FileProblem {
  /** From 1. */
  readonly line: number;
  /** From 1, in characters. */
  readonly column: number;
  /** `path: what is wrong`. */
  readonly text: string;
}

/** What a file says, and everything that is wrong with it. */
export type CheckResult =
  | { readonly config: Config; readonly input: unknown; readonly problems: readonly [] }
  | {
      readonly config: undefined;
      readonly input: unknown;
      readonly problems: readonly FileProblem[];
    };

/** Checks the text of a configuration file; problems come in the order of the file. */
export function checkText(text: string): CheckResult {
  if (text.length > MAX_FILE_LENGTH) {
    const message = `file of ${text.length} characters exceeds ${MAX_FILE_LENGTH}`;
    return fail(undefined, [{ line: 1, column: 1, text: message }]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const syntax = [...document.errors, ...document.warnings].map(({ pos, code, message }) => {
    const [word = ""] = /^[^\s:]+/.exec(text.slice(pos[0])) ?? [];
    const isDuplicate = code === "DUPLICATE_KEY";
    return {
      ...place(lines, pos[0]),
      text: isDuplicate ? `the key ${word} is here a second time` : lowerFirst(message),
    };
  });
  if (syntax.length > 0) return fail(undefined, inOrder(syntax));
  let input: unknown;
  try {
    input = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (thrown) {
    // An alias without its anchor, or too many of them: yaml finds out only here, without a place.
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return fail(undefined, [{ line: 1, column: 1, text: lowerFirst(message) }]);
  }
  const { config, problems } = readConfig(input);
  if (config !== undefined) return { config, input, problems: [] };
  const placed = problems.map((problem) => ({
    ...place(lines, offsetOf(document, problem, text)),
    text: formatProblem(problem),
  }));
  return fail(input, inOrder(placed));
}

/** `file:line:column: path: what is wrong`. */
export function formatFileProblem(file: string, { line, column, text }: FileProblem): string {
  return `${file}:${line}:${column}: ${text}`;
}

function fail(input: unknown, problems: readonly FileProblem[]): CheckResult {
  return { config: undefined, input, problems };
}

function place(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/** Where in the file a problem is; what is missing is reported at what it is missing from. */
function offsetOf(document: Document, { path, offset, isKey }: Problem, text: string): number {
  let at: Node | null = document.contents;
  let position = at?.range?.[0] ?? 0;
  for (const [depth, part] of path.entries()) {
    const found = child(document, at, part);
    if (found === undefined) return position;
    at = found.value;
    const wantsKey = isKey === true && depth === path.length - 1;
    position = (wantsKey ? found.key : (at ?? found.key))?.range?.[0] ?? position;
  }
  return position + insideText(at, offset ?? 0, text);
}

function child(
  document: Document,
  parent: Node | null,
  part: PathPart,
): { readonly key: Node | null; readonly value: Node | null } | undefined {
  const node = isAlias(parent) ? (parent.resolve(document) ?? null) : parent;
  if (isSeq(node) && typeof part === "number") {
    const value = node.items[part];
    return isNode(value) ? { key: value, value } : undefined;
  }
  if (!isMap(node)) return undefined;
  for (const pair of node.items) {
    if (!isPair(pair) || !isScalar(pair.key) || String(pair.key.value) !== String(part)) continue;
    return { key: pair.key, value: isNode(pair.value) ? pair.value : null };
  }
  return undefined;
}

/** How far inside a scalar's source an offset into its value is; 0 when that cannot be told. */
function insideText(node: Node | null, offset: number, text: string): number {
  if (offset === 0 || !isScalar(node) || typeof node.value !== "string") return 0;
  const start = node.range?.[0] ?? 0;
  const quote = node.type === Scalar.PLAIN ? 0 : 1;
  const isVerbatim = text.startsWith(node.value, start + quote);
  return isVerbatim ? quote + offset : 0;
}

function inOrder(problems: readonly FileProblem[]): FileProblem[] {
  return problems.toSorted((one, other) => one.line - other.line || one.column - other.column);
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** Hundreds of tunnels fit; anything larger is not a configuration. */
const MAX_FILE_LENGTH = 1_048_576;

/** How many values aliases may unfold to before it looks like an attack. */
const MAX_ALIASES = 100;
