import { ConfigError } from "../errors.ts";
import { plainHost } from "./host-name.ts";
import { HostRules, parseHostRule } from "./host-rules.ts";
import type { Target } from "./target.ts";

/** A line of a list that says nothing we understand. */
export interface ListProblem {
  /** From 1, in the decoded text. */
  readonly line: number;
  readonly message: string;
}

/** Hosts named by a list in the format of Adblock Plus and of gfwlist. */
export class HostList {
  readonly #rules: HostRules;
  readonly #exclusions: HostRules;

  constructor(rules: HostRules, exclusions: HostRules) {
    this.#rules = rules;
    this.#exclusions = exclusions;
  }

  /** How many rules it has. */
  get size(): number {
    return this.#rules.size + this.#exclusions.size;
  }

  /** Whether a rule names the host that was asked for, and no exclusion does. */
  matchesTarget({ host }: Target): boolean {
    const plain = plainHost(host);
    if (plain === undefined || !this.#rules.matches(plain)) return false;
    return !this.#exclusions.matches(plain);
  }
}

/** A list, and what was wrong with it. */
export interface ReadList {
  readonly list: HostList;
  /** The first of them. */
  readonly problems: readonly ListProblem[];
  /** All of them. */
  readonly problemCount: number;
  /** Rules about something else than hosts: parts of sites, looks of pages. */
  readonly skippedCount: number;
}

/**
 * Reads a list, plain or in base64.
 *
 * | line | names |
 * |---|---|
 * | `! text`, `[text]` | nothing: a comment |
 * | `||host` | the host and everything below it |
 * | `|http://host/…` | the host |
 * | `.suffix` | the suffix and everything below it |
 * | `/re/` | hosts the expression matches, alone or somewhere in `http://host/` |
 * | `text` | hosts with the text in them; `*` stands for anything |
 * | `@@` and one of these | not these hosts, wherever in the list it stands |
 *
 * Who routes knows hosts, not pages: of a URL the host counts, and what excludes a single page
 * excludes nothing.
 *
 * @throws ConfigError when it is too large
 */
export function readHostList(text: string): ReadList {
  const rules = new HostRules();
  const exclusions = new HostRules();
  const problems: ListProblem[] = [];
  let problemCount = 0;
  let skippedCount = 0;
  const report = (line: number, message: string): void => {
    problemCount++;
    if (problems.length < MAX_PROBLEMS) problems.push({ line, message });
  };
  const lines = decoded(text).split("\n", MAX_LINES + 1);
  if (lines.length > MAX_LINES) throw new ConfigError(`more than ${MAX_LINES} lines`);
  for (const [index, whole] of lines.entries()) {
    const line = whole.trim();
    if (line === "" || line.startsWith("!") || line.startsWith("[")) continue;
    const isExclusion = line.startsWith("@@");
    const into = isExclusion ? exclusions : rules;
    if (line.length > MAX_LINE_LENGTH) {
      report(index + 1, `line of ${line.length} characters exceeds ${MAX_LINE_LENGTH}`);
      continue;
    }
    try {
      const rule = parseHostRule(isExclusion ? line.slice(2) : line, { isExclusion });
      if (rule === undefined) skippedCount++;
      else into.add(rule);
    } catch (thrown) {
      if (!(thrown instanceof ConfigError)) throw thrown;
      report(index + 1, thrown.message);
    }
    if (into.scanned > MAX_SCANNED) {
      throw new ConfigError(
        `line ${index + 1}: expressions and plain texts of more than ${MAX_SCANNED} steps: every request would wait for them`,
      );
    }
  }
  return { list: new HostList(rules, exclusions), problems, problemCount, skippedCount };
}

/** gfwlist comes in base64, in lines of 64 characters. */
function decoded(text: string): string {
  const packed = text.replaceAll(/\s/g, "");
  if (packed === "" || packed.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(packed)) {
    return text;
  }
  const bytes = Buffer.from(packed, "base64").toString("utf8");
  // A list of one plain word may look like base64, but is none of text.
  return /^[\t\r\n -~\u00a0-\ufffc]*$/.test(bytes) ? bytes : text;
}

/** Public lists have some ten thousand. */
const MAX_LINES = 200_000;

/** The longest rule of public lists is a regular expression of a thousand characters. */
const MAX_LINE_LENGTH = 8_192;

/** As many as somebody reads. */
const MAX_PROBLEMS = 20;

/** Steps for each character of a host: the longest one costs some hundred milliseconds, a usual one few. */
const MAX_SCANNED = 65_536;
