import { isIP } from "node:net";
import { HostRegexp } from "../../address/host-regexp.ts";
import { parseHostPattern } from "../../address/host-pattern.ts";
import type { ConfigInput } from "../../config/config.ts";
import { inFileOrder } from "../../config/imported.ts";
import { ConfigError } from "../../errors.ts";
import type { ImportReport } from "./report.ts";
import type { AgentRule } from "./rules.ts";
import type { Setting } from "./section.ts";
import { quoteForShell } from "./shell.ts";

/** How rules are to be written. */
export interface RuleOptions {
  /** Lets suffixes begin where labels do: `.ab.com`, which `xab.com` does not match. */
  readonly wholeLabels: boolean;
  /** What `~` in a path stands for. */
  readonly home: string | undefined;
}

/** Converts lists of rules to routes, and tells what changed on the way. */
export class RuleConverter {
  readonly #options: RuleOptions;
  readonly #report: ImportReport;
  readonly #suffixes: Setting<string>[] = [];
  readonly #addresses: Setting<string>[] = [];

  constructor(options: RuleOptions, report: ImportReport) {
    this.#options = options;
    this.#report = report;
  }

  /** The routes that do what a list of rules does: one for hosts and one for ports, if there are any. */
  convert(rules: readonly Setting<AgentRule>[], via: string): ConfigInput[] {
    const hosts = new Map<string, Set<string>>();
    const ports = new Set<number>();
    for (const rule of rules) {
      if (rule.value.kind === "port") {
        ports.add(rule.value.port);
        continue;
      }
      const found = this.#condition(rule);
      if (found === undefined) continue;
      const [key, value] = found;
      hosts.set(key, (hosts.get(key) ?? new Set()).add(value));
    }
    const conditions = HOST_KEYS.flatMap((key) => {
      const values = hosts.get(key);
      return values === undefined ? [] : [[key, [...values]] as const];
    });
    return [
      ...(conditions.length > 0 ? [{ ...Object.fromEntries(conditions), via }] : []),
      ...(ports.size > 0 ? [{ port: [...ports], via }] : []),
    ];
  }

  /** Tells once what is to be known about all rules of a kind. */
  noteKinds(): void {
    const [suffix] = inFileOrder(this.#suffixes);
    if (suffix !== undefined) {
      const example = suffix.value.replace(/^\.+/, "");
      const { wholeLabels } = this.#options;
      this.#report.note({
        kind: "differs",
        place: suffix.place,
        text: wholeLabels
          ? `suffix rules: they match whole labels now; in vproxy ${example} matches x${example} too`
          : `suffix rules: they are written as expressions, since in vproxy ${example} matches x${example} too`,
        instead: wholeLabels
          ? `where that was wanted, write regexp: ["${suffixExpression(suffix.value)}"]`
          : `--whole-labels writes .${example}, which matches ${example} and the names below it`,
      });
    }
    const [address] = inFileOrder(this.#addresses);
    if (address === undefined) return;
    this.#report.note({
      kind: "differs",
      place: address.place,
      text: `rules that are addresses: ${address.value} matches itself alone; in vproxy it matches what ends like it too`,
    });
  }

  #condition({ value: rule, place }: Setting<AgentRule>): HostCondition | undefined {
    try {
      switch (rule.kind) {
        case "regexp":
          return ["regexp", String(new HostRegexp(rule.source))];
        case "list":
          return ["list", this.#listPath({ value: rule.from, place })];
        case "suffix":
          return this.#suffix({ value: rule.suffix, place });
        case "port":
          return undefined;
      }
    } catch (thrown) {
      if (!(thrown instanceof ConfigError)) throw thrown;
      const text = `${thrown.message}; what it matched goes where the other rules say, or direct`;
      const instead = "name the hosts in a route with domain:, or write a simpler regexp:";
      this.#report.note({ kind: "left out", place, text, instead });
      return undefined;
    }
  }

  #suffix({ value: suffix, place }: Setting<string>): HostCondition {
    if (isIP(suffix) !== 0) {
      this.#addresses.push({ value: suffix, place });
      return ["cidr", suffix];
    }
    // Only below a name, whoever writes it so.
    if (suffix.startsWith(".") && isName(`*${suffix}`)) return ["domain", `*${suffix}`];
    if (this.#options.wholeLabels && isName(`.${suffix}`)) {
      this.#suffixes.push({ value: suffix, place });
      return ["domain", `.${suffix}`];
    }
    const expression = String(new HostRegexp(suffixExpression(suffix)));
    if (!this.#options.wholeLabels) this.#suffixes.push({ value: suffix, place });
    return ["regexp", expression];
  }

  #listPath({ value: from, place }: Setting<string>): string {
    const [, file] = /^[a-z]+:\/\/.*?([^/?#]+)(?:[?#].*)?$/i.exec(from) ?? [];
    if (file !== undefined) {
      this.#report.note({
        kind: "to do",
        place,
        text: `rule list ${from}: lists are read from files here: the route names ${file}`,
        instead: `fetch it, and again when it changes: curl -o ${quoteForShell(file)} ${quoteForShell(from)}`,
      });
      return `file:${file}`;
    }
    const { home } = this.#options;
    return `file:${home === undefined ? from : from.replace(/^~(?=\/)/, () => home)}`;
  }
}

type HostCondition = readonly [key: (typeof HOST_KEYS)[number], value: string];

/** An expression for everything that ends like this. */
function suffixExpression(suffix: string): string {
  return `.*${suffix.replaceAll(/[^\w-]/g, String.raw`\$&`)}`;
}

function isName(pattern: string): boolean {
  try {
    const { host, ports } = parseHostPattern(pattern);
    const isLabel = !/\.[_-]|[_-]$/.test(pattern);
    return ports === undefined && host.kind !== "block" && isLabel;
  } catch (thrown) {
    if (thrown instanceof ConfigError) return false;
    throw thrown;
  }
}

/** Conditions on hosts of a route: any of them is enough. */
const HOST_KEYS = ["domain", "cidr", "regexp", "list"] as const;
