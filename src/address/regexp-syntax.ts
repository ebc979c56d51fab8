import { type CodeSet, complement, foldCase, namedSet, NO_LINE_END } from "./regexp-set.ts";

/** A place between two characters. */
export type Edge = "start" | "end" | "word" | "notWord";

/** A regular expression as a tree. */
export type RegexpNode =
  | { readonly kind: "set"; readonly set: CodeSet }
  | { readonly kind: "edge"; readonly edge: Edge }
  | { readonly kind: "sequence"; readonly parts: readonly RegexpNode[] }
  | { readonly kind: "choice"; readonly parts: readonly RegexpNode[] }
  | {
      readonly kind: "repeat";
      readonly part: RegexpNode;
      readonly min: number;
      readonly max: number;
    };

/**
 * Reads a regular expression in the syntax that Java, JavaScript and PCRE have in common:
 * characters and escapes, `.`, `[…]`, `\d \w \s`, groups (none is captured), `|`, `* + ? {n,m}` with
 * or without a lazy `?`, `^`, `$`, `\b`, `\Q…\E`. Letters match in either case.
 *
 * What needs backtracking is refused: references to groups, looking ahead and behind, atomic groups
 * and possessive repetition.
 *
 * @throws what `fail` makes of one clause saying what is wrong
 */
export function parseRegexp(source: string, fail: (why: string) => Error): RegexpNode {
  return new RegexpParser(source, fail).parse();
}

class RegexpParser {
  readonly #source: string;
  readonly #fail: (why: string) => Error;
  #at = 0;
  #depth = 0;

  constructor(source: string, fail: (why: string) => Error) {
    this.#source = source;
    this.#fail = fail;
  }

  parse(): RegexpNode {
    // Letters match in either case anyway.
    if (this.#source.startsWith("(?i)")) this.#at = "(?i)".length;
    const node = this.#choice();
    if (this.#at < this.#source.length) throw this.#error("a ) without its (");
    return node;
  }

  #choice(): RegexpNode {
    if (++this.#depth > MAX_DEPTH) throw this.#error(`groups deeper than ${MAX_DEPTH}`);
    const parts = [this.#sequence()];
    while (this.#take("|")) parts.push(this.#sequence());
    this.#depth--;
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : { kind: "choice", parts };
  }

  #sequence(): RegexpNode {
    const parts: RegexpNode[] = [];
    while (this.#at < this.#source.length && !this.#isNext("|") && !this.#isNext(")")) {
      if (this.#take("\\Q")) parts.push(...this.#quoted());
      else parts.push(this.#repeated(this.#atom()));
    }
    return { kind: "sequence", parts };
  }

  #repeated(part: RegexpNode): RegexpNode {
    let node = part;
    for (let bounds = this.#bounds(); bounds !== undefined; bounds = this.#bounds()) {
      if (part.kind === "edge") throw this.#error("an edge cannot be repeated");
      if (node !== part) throw this.#error("two repetitions in a row");
      // Lazy or not makes no difference to whether the whole matches.
      if (!this.#take("?") && this.#isNext("+")) {
        throw this.#error("possessive repetition is not supported");
      }
      node = { kind: "repeat", part, ...bounds };
    }
    return node;
  }

  #bounds(): { min: number; max: number } | undefined {
    if (this.#take("*")) return { min: 0, max: Infinity };
    if (this.#take("+")) return { min: 1, max: Infinity };
    if (this.#take("?")) return { min: 0, max: 1 };
    if (!this.#isNext("{")) return undefined;
    const match = /^\{(\d{1,4})(,?)(\d{0,4})\}/.exec(this.#source.slice(this.#at));
    if (match === null) throw this.#error("after { come counts: {2}, {2,} or {2,5}");
    const min = Number(match[1]);
    const last = match[3] === "" ? Infinity : Number(match[3]);
    const max = match[2] === "" ? min : last;
    if (min > max) throw this.#error(`the counts of ${match[0]} run backwards`);
    this.#at += match[0].length;
    return { min, max };
  }

  #atom(): RegexpNode {
    const letter = this.#next();
    switch (letter) {
      case ".":
        return { kind: "set", set: NO_LINE_END };
      case "^":
        return { kind: "edge", edge: "start" };
      case "$":
        return { kind: "edge", edge: "end" };
      case "(":
        return this.#group();
      case "[":
        return { kind: "set", set: this.#class() };
      case "\\":
        return this.#escape();
      case "*":
      case "+":
      case "?":
      case "{":
        throw this.#error(`nothing stands before ${letter}`);
      default:
        return literal(letter);
    }
  }

  #group(): RegexpNode {
    if (this.#take("?")) {
      const name = /^(?::|<[A-Za-z][A-Za-z0-9]*>)/.exec(this.#source.slice(this.#at));
      if (name === null) {
        throw this.#error(
          "groups that begin with (? are not supported, except (?:…) and (?<name>…)",
        );
      }
      this.#at += name[0].length;
    }
    const node = this.#choice();
    if (!this.#take(")")) throw this.#error("a ( without its )");
    return node;
  }

  #escape(): RegexpNode {
    const letter = this.#next();
    const edge = EDGES.get(letter);
    if (edge !== undefined) return { kind: "edge", edge };
    const set = namedSet(letter);
    return set === undefined ? literal(this.#escaped(letter)) : { kind: "set", set };
  }

  /** The character behind a backslash, in a class or not. */
  #escaped(letter: string): string {
    const control = CONTROLS.get(letter);
    if (control !== undefined) return control;
    const digits = { x: 2, u: 4 }[letter];
    if (digits !== undefined) {
      const hex = this.#source.slice(this.#at, this.#at + digits);
      if (!/^[0-9a-f]+$/i.test(hex) || hex.length !== digits) {
        throw this.#error(`\\${letter} wants ${digits} hexadecimal digits`);
      }
      this.#at += digits;
      return String.fromCharCode(Number.parseInt(hex, 16));
    }
    if (/[1-9k]/.test(letter)) throw this.#error("references to groups are not supported");
    if (/[A-Za-z0-9]/.test(letter)) throw this.#error(`\\${letter} is not supported`);
    return letter;
  }

  #class(): CodeSet {
    const isNegated = this.#take("^");
    const set: [number, number][] = [];
    for (let isFirst = true; isFirst || !this.#isNext("]"); isFirst = false) {
      if (this.#isNext("[")) throw this.#error("a class inside a class; write \\[ for the bracket");
      if (this.#isNext("&&")) throw this.#error("the intersection of classes is not supported");
      const from = this.#classItem();
      if (typeof from !== "string") {
        for (const [first, last] of from) set.push([first, last]);
        continue;
      }
      const first = from.charCodeAt(0);
      const isRange = this.#isNext("-") && this.#source[this.#at + 1] !== "]";
      if (!isRange) {
        set.push([first, first]);
        continue;
      }
      this.#take("-");
      const to = this.#classItem();
      const last = typeof to === "string" ? to.charCodeAt(0) : -1;
      if (last < first) throw this.#error("a range in a class that runs backwards");
      set.push([first, last]);
    }
    this.#take("]");
    return isNegated ? complement(foldCase(set)) : foldCase(set);
  }

  #classItem(): string | CodeSet {
    const letter = this.#next();
    if (letter !== "\\") return letter;
    const escaped = this.#next();
    return namedSet(escaped) ?? this.#escaped(escaped);
  }

  #quoted(): RegexpNode[] {
    const end = this.#source.indexOf("\\E", this.#at);
    const text = this.#source.slice(this.#at, end < 0 ? undefined : end);
    this.#at = end < 0 ? this.#source.length : end + "\\E".length;
    return Array.from(text, literal);
  }

  #next(): string {
    const letter = this.#source[this.#at];
    if (letter === undefined) throw this.#error("it ends in the middle");
    this.#at++;
    return letter;
  }

  #isNext(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }

  #take(text: string): boolean {
    if (!this.#isNext(text)) return false;
    this.#at += text.length;
    return true;
  }

  #error(why: string): Error {
    return this.#fail(`${why}, at character ${Math.min(this.#at + 1, this.#source.length)}`);
  }
}

function literal(letter: string): RegexpNode {
  const code = letter.charCodeAt(0);
  return { kind: "set", set: foldCase([[code, code]]) };
}

/** More than anybody nests by hand; recursion stays shallow. */
const MAX_DEPTH = 50;

const EDGES: ReadonlyMap<string, Edge> = new Map([
  ["b", "word"],
  ["B", "notWord"],
  ["A", "start"],
  ["z", "end"],
  ["Z", "end"],
] as const);

const CONTROLS: ReadonlyMap<string, string> = new Map([
  ["t", "\t"],
  ["n", "\n"],
  ["r", "\r"],
  ["f", "\f"],
]);
