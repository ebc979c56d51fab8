import type { Place } from "../../config/imported.ts";
import { type VjsonEntry, VjsonError, type VjsonNode, type VjsonObject } from "./vjson.ts";

/**
 * Reads the relaxed JSON of vproxy's configuration files (spec 5.8): comments (`#`, `//`, block
 * comments), bare keys with any dots, `=` or `:`, nothing at all before a `{`, values parted by
 * commas, semicolons or lines, strings in either quotes or bare up to the end of the line.
 *
 * Unlike there, the `//` of `websockss://` starts no comment, so that addresses need no quotes.
 *
 * @throws VjsonError where the text is none, and for nothing else
 */
export function readVjson(text: string): VjsonNode {
  return new VjsonReader(text).read();
}

class VjsonReader {
  readonly #text: string;
  readonly #lineStarts: readonly number[];
  #at: number;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
    this.#at = text.startsWith("\uFEFF") ? 1 : 0;
    const starts = [0];
    for (const { index, 0: end } of text.matchAll(/\r\n?|\n/g)) starts.push(index + end.length);
    this.#lineStarts = starts;
  }

  read(): VjsonNode {
    if (this.#text.length > MAX_VJSON_LENGTH) {
      throw this.#error(`${this.#text.length} characters are more than ${MAX_VJSON_LENGTH}`, 0);
    }
    this.#skipBlank();
    if (this.#isAtEnd) throw this.#error("there is nothing but blanks and comments");
    const node = this.#value();
    this.#skipBlank();
    if (!this.#isAtEnd) throw this.#error(`${this.#next()} is after the end`);
    return node;
  }

  get #isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  get #char(): string {
    return this.#text.charAt(this.#at);
  }

  #value(): VjsonNode {
    const place = this.#place();
    switch (this.#char) {
      case "{":
        return this.#nested(() => this.#object());
      case "[":
        return this.#nested(() => ({ kind: "list", items: this.#items(), place }));
      case '"':
      case "'":
        return { kind: "scalar", text: this.#quoted(), place };
      default:
        return { kind: "scalar", text: this.#bare(), place };
    }
  }

  #nested<Node extends VjsonNode>(read: () => Node): Node {
    if (this.#depth >= MAX_DEPTH) throw this.#error(`nested more than ${MAX_DEPTH} deep`);
    this.#depth++;
    const node = read();
    this.#depth--;
    return node;
  }

  #object(): VjsonObject {
    const start = this.#at;
    const entries: VjsonEntry[] = [];
    this.#at++;
    while (!this.#closes("}", start)) {
      entries.push(this.#entry());
      this.#skipSeparator();
    }
    return { kind: "object", entries, place: this.#place(start) };
  }

  #items(): VjsonNode[] {
    const start = this.#at;
    const items: VjsonNode[] = [];
    this.#at++;
    while (!this.#closes("]", start)) {
      items.push(this.#value());
      this.#skipSeparator();
    }
    return items;
  }

  #closes(bracket: string, start: number): boolean {
    this.#skipBlank();
    if (this.#isAtEnd) throw this.#error(`this ${this.#text.charAt(start)} is never closed`, start);
    if (this.#char !== bracket) return false;
    this.#at++;
    return true;
  }

  #skipSeparator(): void {
    this.#skipBlank();
    if (this.#char === "," || this.#char === ";") this.#at++;
  }

  #entry(): VjsonEntry {
    const place = this.#place();
    const key = this.#key();
    this.#skipBlank();
    if (this.#char === "=" || this.#char === ":") {
      this.#at++;
      this.#skipBlank();
    } else if (this.#char !== "{") {
      throw new VjsonError(`key ${quote(key)} has no value: write ${key} = …`, place);
    }
    return { key, place, value: this.#value() };
  }

  #key(): string {
    if (this.#char === '"' || this.#char === "'") return this.#quoted();
    const key = this.#match(BARE_KEY);
    if (key === "") throw this.#error(`${this.#next()} stands where a key should`);
    return key;
  }

  #quoted(): string {
    const start = this.#at;
    const end = this.#char;
    let text = "";
    this.#at++;
    for (;;) {
      text += this.#match(end === '"' ? PLAIN_IN_DOUBLE : PLAIN_IN_SINGLE);
      if (this.#char === end) break;
      if (this.#char !== "\\") throw this.#error("this string is not closed on its line", start);
      text += this.#escape();
    }
    this.#at++;
    return text;
  }

  #escape(): string {
    const [escape = "", hex] = ESCAPE.exec(this.#text.slice(this.#at, this.#at + 6)) ?? [];
    if (escape === "") {
      const found = this.#text.slice(this.#at, this.#at + 2);
      throw this.#error(`${found} means nothing in quotes: a backslash is written \\\\`);
    }
    this.#at += escape.length;
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    const letter = escape.charAt(1);
    return ESCAPES.get(letter) ?? letter;
  }

  /** Up to a comma, a semicolon, the end of the line or a bracket that was not opened in it. */
  #bare(): string {
    const start = this.#at;
    const open: { readonly closer: string; readonly at: number }[] = [];
    let text = "";
    for (;;) {
      text += this.#match(PLAIN_IN_BARE);
      if (this.#isAtEnd) break;
      const char = this.#char;
      const closer = CLOSERS.get(char);
      if (closer !== undefined) {
        open.push({ closer, at: this.#at });
      } else if (")]}".includes(char)) {
        const last = open.pop();
        if (last === undefined) break;
        if (last.closer !== char) {
          throw this.#error(`${char} closes nothing: ${last.closer} is to come first`);
        }
      } else if (char === '"' || char === "'") {
        const from = this.#at;
        this.#quoted();
        text += this.#text.slice(from, this.#at);
        continue;
      } else if (char === "#" || char === "/") {
        if (this.#skipComment(text)) continue;
      } else if (open.length === 0) {
        break; // , ; or the end of the line
      }
      text += char;
      this.#at++;
    }
    const [unclosed] = open;
    if (unclosed !== undefined) {
      const message = `this ${this.#text.charAt(unclosed.at)} is never closed; put the text into quotes`;
      throw this.#error(message, unclosed.at);
    }
    const trimmed = text.trim();
    if (trimmed === "") throw this.#error(`${this.#next()} stands where a value should`, start);
    return trimmed;
  }

  #skipBlank(): void {
    do this.#match(BLANK);
    while (this.#skipComment(""));
  }

  /** Skips a comment that starts here, if one does behind `before`. */
  #skipComment(before: string): boolean {
    if (this.#text.startsWith("/*", this.#at)) {
      const end = this.#text.indexOf("*/", this.#at + 2);
      if (end < 0) throw this.#error("this comment is never closed");
      this.#at = end + 2;
      return true;
    }
    // What follows the colon of an address is none: `websockss://host`, `file:///list`.
    const isLine = this.#text.startsWith("//", this.#at) && !/:\/?$/.test(before);
    if (!isLine && this.#char !== "#") return false;
    this.#match(REST_OF_LINE);
    return true;
  }

  /** Takes what matches here; every pattern matches at least nothing. */
  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const [found = ""] = pattern.exec(this.#text) ?? [];
    this.#at += found.length;
    return found;
  }

  #next(): string {
    return this.#isAtEnd ? "the end of the file" : quote(this.#char);
  }

  #error(message: string, offset = this.#at): VjsonError {
    return new VjsonError(message, this.#place(offset));
  }

  #place(offset = this.#at): Place {
    let low = 0;
    let high = this.#lineStarts.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((this.#lineStarts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return { line: low + 1, column: offset - (this.#lineStarts[low] ?? 0) + 1 };
  }
}

/** Quotes keys and characters in errors, control characters and all, in short. */
function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

/** Real files have a few kilobytes; rule lists are files of their own. */
const MAX_VJSON_LENGTH = 1_048_576;

/** Real files nest four deep; more would only grow the stack. */
const MAX_DEPTH = 32;

const BLANK = /[ \t\r\n]*/y;
const REST_OF_LINE = /[^\r\n]*/y;
const BARE_KEY = /[^\s:=,;{}[\]"']*/y;
const PLAIN_IN_BARE = /[^,;\r\n()[\]{}"'#/]*/y;
// oxlint-disable-next-line no-control-regex -- control characters end a string, as in JSON
const PLAIN_IN_DOUBLE = /[^"\\\u0000-\u0008\u000a-\u001f]*/y;
// oxlint-disable-next-line no-control-regex -- the same
const PLAIN_IN_SINGLE = /[^'\\\u0000-\u0008\u000a-\u001f]*/y;
const ESCAPE = /^\\(?:["'\\/bfnrt]|u([0-9A-Fa-f]{4}))/;

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ["b", "\b"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
]);

const CLOSERS: ReadonlyMap<string, string> = new Map([
  ["(", ")"],
  ["[", "]"],
  ["{", "}"],
]);
