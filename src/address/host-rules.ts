import { plainHost } from "./host-name.ts";
import { HostRegexp } from "./host-regexp.ts";

/** What one line of a host list says about hosts. */
export type HostRule =
  /** `|url`: the host itself. */
  | { readonly kind: "host"; readonly host: string }
  /** `||host`, `.suffix`: the host and everything below it. */
  | { readonly kind: "domain"; readonly host: string }
  /** Plain text: anywhere in the host. */
  | { readonly kind: "part"; readonly text: string }
  /** `/re/`, or text with a `*`: see {@link HostRules.matches}. */
  | { readonly kind: "regexp"; readonly regexp: HostRegexp };

/** Many rules about hosts, looked up by host. */
export class HostRules {
  readonly #hosts = new Set<string>();
  readonly #domains = new Set<string>();
  readonly #parts = new Set<string>();
  readonly #regexps: HostRegexp[] = [];
  #scanned = 0;

  /** What has to be looked through for each host, in characters and steps. */
  get scanned(): number {
    return this.#scanned;
  }

  /** How many there are. */
  get size(): number {
    return this.#hosts.size + this.#domains.size + this.#parts.size + this.#regexps.length;
  }

  add(rule: HostRule): void {
    switch (rule.kind) {
      case "host":
        this.#hosts.add(rule.host);
        return;
      case "domain":
        this.#domains.add(rule.host);
        return;
      case "part":
        this.#parts.add(rule.text);
        this.#scanned += 1;
        return;
      case "regexp":
        this.#regexps.push(rule.regexp);
        this.#scanned += rule.regexp.size;
        return;
    }
  }

  /**
   * Whether any rule matches a host in its plain form. Expressions of lists are made for URLs: they
   * may match all of the host, or any part of `http://host/` and `https://host/`.
   */
  matches(plain: string): boolean {
    if (this.#hosts.has(plain) || this.#hasDomainOf(plain)) return true;
    for (const part of this.#parts) if (plain.includes(part)) return true;
    const bracketed = plain.includes(":") ? `[${plain}]` : plain;
    const urls = [`http://${bracketed}/`, `https://${bracketed}/`];
    return this.#regexps.some(
      (regexp) => regexp.matches(plain, "whole") || urls.some((url) => regexp.matches(url, "part")),
    );
  }

  #hasDomainOf(plain: string): boolean {
    for (let at = 0; at >= 0; at = plain.indexOf(".", at) + 1 || -1) {
      if (this.#domains.has(plain.slice(at))) return true;
    }
    return false;
  }
}

/**
 * Reads a rule of a host list, without its `@@`.
 *
 * @returns what the rule is, or `undefined` when it speaks of something else than hosts
 * @throws ConfigError when it is malformed
 */
export function parseHostRule(
  text: string,
  { isExclusion }: { readonly isExclusion: boolean },
): HostRule | undefined {
  if (/^\/.+\/$/.test(text)) return { kind: "regexp", regexp: new HostRegexp(text.slice(1, -1)) };
  if (/#[@?$]*#/.test(text)) return undefined; // what a page looks like
  const plain = text.replace(/\$~?[a-z][^/]*$/, "");
  const [, mark = "", rest = ""] = /^(\|\||\||\.|)(.*)$/.exec(plain) ?? [];
  const [, place = "", path = ""] = /^(?:[a-z]+:\/\/)?([^/^|?]*)[\^|]?(.*)$/i.exec(rest) ?? [];
  // A list that takes one page out does not mean the whole site.
  if (isExclusion && !/^\/?\*?$/.test(path)) return undefined;
  const host = place.replace(/:\d*$/, "");
  if (host === "" || host === "*") return undefined;
  if (host.includes("*")) return { kind: "regexp", regexp: globOf(mark, host) };
  if (mark === "") return partOf(host);
  const name = plainHost(host.replace(/^\[(.*)\]$/, "$1"));
  if (name === undefined || !HOST.test(name)) return undefined;
  return { kind: mark === "|" ? "host" : "domain", host: name };
}

function partOf(text: string): HostRule | undefined {
  const lower = text.toLowerCase();
  return HOST.test(lower) ? { kind: "part", text: lower } : undefined;
}

/** `*.google.*` as an expression for URLs. */
function globOf(mark: string, host: string): HostRegexp {
  const source = Array.from(host, (letter) =>
    letter === "*" ? "[^/]*" : letter.replace(/[^\w-]/, "\\$&"),
  ).join("");
  const [before, after] = GLOB_EDGES[mark] ?? GLOB_EDGES[""];
  return new HostRegexp(`^https?://${before}${source}${after}/$`);
}

const GLOB_EDGES: Readonly<Record<string, readonly [string, string]>> & {
  readonly "": readonly [string, string];
} = {
  "|": ["", ""],
  "||": ["(?:[^/]*\\.)?", ""],
  ".": ["(?:[^/]*\\.)?", ""],
  "": ["[^/]*", "[^/]*"],
};

/** What stands in names and addresses. */
const HOST = /^[a-z0-9_.:-]+$/;
