import { ConfigError } from "../errors.ts";
import { plainHost } from "./host-name.ts";
import { type MatchMode, RegexpProgram } from "./regexp-program.ts";
import { parseRegexp } from "./regexp-syntax.ts";
import type { Target } from "./target.ts";

/**
 * A regular expression that hosts are compared with: names in ASCII, in lower case and without a
 * final dot, addresses in their usual form and without brackets. Its syntax is at
 * {@link parseRegexp}; a match takes at most {@link MAX_STEPS} steps for each character of the host,
 * whatever is in the expression and in the host.
 */
export class HostRegexp {
  /** As it was written. */
  readonly source: string;
  readonly #program: RegexpProgram;

  /** @throws ConfigError quoting the expression and saying what is wrong with it */
  constructor(source: string) {
    this.source = source;
    const fail = (why: string): ConfigError =>
      new ConfigError(`regular expression "${shortened(source)}": ${why}`);
    if (source === "") throw fail("is empty");
    if (source.length > MAX_SOURCE_LENGTH) {
      throw fail(`${source.length} characters exceed ${MAX_SOURCE_LENGTH}`);
    }
    this.#program = new RegexpProgram(parseRegexp(source, fail), MAX_STEPS, fail);
  }

  /** What it costs at most for each character. */
  get size(): number {
    return this.#program.size;
  }

  /** Whether it matches a text. */
  matches(text: string, mode: MatchMode): boolean {
    return this.#program.matches(text, mode);
  }

  /** Whether it matches all of the host that was asked for. */
  matchesTarget({ host }: Target): boolean {
    const plain = plainHost(host);
    return plain !== undefined && this.matches(plain, "whole");
  }

  toString(): string {
    return this.source;
  }
}

function shortened(source: string): string {
  return source.length > MAX_QUOTED ? `${source.slice(0, MAX_QUOTED)}…` : source;
}

/** The longest of public lists have a thousand. */
const MAX_SOURCE_LENGTH = 4_096;

/** With the longest host: a million steps, some milliseconds. */
export const MAX_STEPS = 4_096;

/** As much of an expression as a message repeats. */
const MAX_QUOTED = 80;
