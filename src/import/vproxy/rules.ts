/** One line of the lists `domains`, `no-proxy` and `resolve` (spec 5.5). */
export type AgentRule =
  | { readonly kind: "port"; readonly port: number }
  /** Fits a whole name; Java's dialect. */
  | { readonly kind: "regexp"; readonly source: string }
  /** A list of rules in a file or behind a URL. */
  | { readonly kind: "list"; readonly from: string }
  /** Ends a name, wherever its labels begin. */
  | { readonly kind: "suffix"; readonly suffix: string };

/**
 * Reads a rule in the order of the original: port, regular expression, list, suffix.
 *
 * @returns what is wrong with it, or the rule
 */
export function parseRule(text: string): AgentRule | string {
  if (text.startsWith(":")) {
    const port = /^:\d{1,5}$/.test(text) ? Number(text.slice(1)) : 0;
    if (port >= 1 && port <= 65_535) return { kind: "port", port };
    return `${JSON.stringify(text)} is no port rule: write :22`;
  }
  if (text.length > 2 && text.startsWith("/") && text.endsWith("/")) {
    return { kind: "regexp", source: text.slice(1, -1) };
  }
  if (text.startsWith("[") && text.endsWith("]")) {
    const from = text.slice(1, -1).trim();
    return from === "" ? "the rule list has no name" : { kind: "list", from };
  }
  return text === "" ? "the rule is empty" : { kind: "suffix", suffix: text };
}
