import { type CodeSet, hasCode, namedSet } from "./regexp-set.ts";
import type { Edge, RegexpNode } from "./regexp-syntax.ts";

/** One step of a program; `to` and `or` are steps. */
type Step =
  | { readonly kind: "set"; readonly set: CodeSet; readonly ascii: Uint8Array }
  | { readonly kind: "edge"; readonly edge: Edge }
  | { readonly kind: "jump"; to: number }
  | { readonly kind: "split"; to: number; or: number }
  | { readonly kind: "match" };

/** Whether an expression has to match all of a text, or may match a part of it. */
export type MatchMode = "whole" | "part";

/**
 * A regular expression that is run in step with the text, all its ways at one time: each step is
 * visited at most once for each character. There is no backtracking, so no text and no expression
 * can make it take longer than their lengths multiplied.
 */
export class RegexpProgram {
  readonly #steps: Step[] = [];
  readonly #maxSteps: number;
  readonly #fail: (why: string) => Error;
  /** By step: the last position at which it was visited. */
  readonly #visited: Int32Array;
  /** Membership by code, one table for every copy that a repetition made of a set. */
  readonly #tables = new Map<CodeSet, Uint8Array>();

  /** @throws what `fail` makes of one clause, when repetitions multiply to more than `maxSteps` */
  constructor(root: RegexpNode, maxSteps: number, fail: (why: string) => Error) {
    this.#maxSteps = maxSteps;
    this.#fail = fail;
    this.#compile(root);
    this.#emit({ kind: "match" });
    this.#visited = new Int32Array(this.#steps.length);
    this.#tables.clear();
  }

  /** What it costs at most for each character. */
  get size(): number {
    return this.#steps.length;
  }

  /** Whether the text matches. */
  matches(text: string, mode: MatchMode): boolean {
    this.#visited.fill(-1);
    let current: number[] = [];
    for (let at = 0; ; at++) {
      // A part may begin anywhere: the first step joins at every character.
      const starts = at === 0 || mode === "part" ? [0] : [];
      const { sets, isMatch } = this.#follow([...current, ...starts], text, at);
      if (isMatch && (mode === "part" || at === text.length)) return true;
      if (at >= text.length || (sets.length === 0 && mode === "whole")) return false;
      const code = text.charCodeAt(at);
      current = sets.flatMap((index) => (this.#takes(index, code) ? [index + 1] : []));
    }
  }

  /** Every step that reads a character and can be reached from `from` without reading one. */
  #follow(
    from: readonly number[],
    text: string,
    at: number,
  ): { readonly sets: readonly number[]; readonly isMatch: boolean } {
    const sets: number[] = [];
    const open = from.toReversed();
    let isMatch = false;
    for (let index = open.pop(); index !== undefined; index = open.pop()) {
      if (this.#visited[index] === at) continue;
      this.#visited[index] = at;
      const step = this.#steps[index];
      if (step?.kind === "set") sets.push(index);
      else if (step?.kind === "jump") open.push(step.to);
      else if (step?.kind === "split") open.push(step.or, step.to);
      else if (step?.kind === "match") isMatch = true;
      else if (step !== undefined && isAt(step.edge, text, at)) open.push(index + 1);
    }
    return { sets, isMatch };
  }

  #takes(index: number, code: number): boolean {
    const step = this.#steps[index];
    if (step?.kind !== "set") return false;
    // Hosts are ASCII; a long class must not cost more than a short one.
    return code < ASCII_CODES ? step.ascii[code] === 1 : hasCode(step.set, code);
  }

  #compile(node: RegexpNode): void {
    switch (node.kind) {
      case "set":
        this.#emit({ kind: "set", set: node.set, ascii: this.#tableOf(node.set) });
        return;
      case "edge":
        this.#emit({ kind: "edge", edge: node.edge });
        return;
      case "sequence":
        for (const part of node.parts) this.#compile(part);
        return;
      case "choice":
        this.#compileChoice(node.parts);
        return;
      case "repeat":
        this.#compileRepeat(node);
        return;
    }
  }

  #tableOf(set: CodeSet): Uint8Array {
    const known = this.#tables.get(set);
    if (known !== undefined) return known;
    const table = Uint8Array.from({ length: ASCII_CODES }, (_, code) => Number(hasCode(set, code)));
    this.#tables.set(set, table);
    return table;
  }

  #compileChoice(parts: readonly RegexpNode[]): void {
    const ends: { to: number }[] = [];
    for (const [index, part] of parts.entries()) {
      if (index === parts.length - 1) {
        this.#compile(part);
        continue;
      }
      const split = { kind: "split" as const, to: this.#steps.length + 1, or: 0 };
      this.#emit(split);
      this.#compile(part);
      const end = { kind: "jump" as const, to: 0 };
      this.#emit(end);
      ends.push(end);
      split.or = this.#steps.length;
    }
    for (const end of ends) end.to = this.#steps.length;
  }

  #compileRepeat({ part, min, max }: RegexpNode & { readonly kind: "repeat" }): void {
    for (let count = 0; count < min; count++) {
      const before = this.#steps.length;
      this.#compile(part);
      if (this.#steps.length === before) break; // nothing, however often it is repeated
    }
    if (max === Infinity) {
      const split = { kind: "split" as const, to: this.#steps.length + 1, or: 0 };
      const again = this.#steps.length;
      this.#emit(split);
      this.#compile(part);
      this.#emit({ kind: "jump", to: again });
      split.or = this.#steps.length;
      return;
    }
    const splits: { or: number }[] = [];
    for (let count = min; count < max; count++) {
      const split = { kind: "split" as const, to: this.#steps.length + 1, or: 0 };
      this.#emit(split);
      this.#compile(part);
      splits.push(split);
    }
    for (const split of splits) split.or = this.#steps.length;
  }

  #emit(step: Step): void {
    if (this.#steps.length >= this.#maxSteps) {
      throw this.#fail(`its repetitions multiply to more than ${this.#maxSteps} steps`);
    }
    this.#steps.push(step);
  }
}

function isAt(edge: Edge, text: string, at: number): boolean {
  if (edge === "start") return at === 0;
  if (edge === "end") return at === text.length;
  const isEdge = isWord(text, at - 1) !== isWord(text, at);
  return isEdge === (edge === "word");
}

function isWord(text: string, at: number): boolean {
  return at >= 0 && at < text.length && hasCode(WORD, text.charCodeAt(at));
}

const ASCII_CODES = 128;

const WORD: CodeSet = namedSet("w") ?? [];
