/** The kinds of change, in the order the change log lists them. */
export const KINDS = ["security", "removed", "changed", "added", "fixed"] as const;

/** What a change means to users. */
export type Kind = (typeof KINDS)[number];

/** One user-visible change. */
export interface Fragment {
  readonly kind: Kind;
  /** One sentence or a few, Markdown. */
  readonly text: string;
}

/** The kind in `<slug>.<kind>.md`; `undefined` when the name is not of that form. */
export function parseFragmentName(name: string): Kind | undefined {
  const [, kind] = /^[a-z0-9]+(?:-[a-z0-9]+)*\.([a-z]+)\.md$/.exec(name) ?? [];
  return KINDS.find((known) => known === kind);
}

/**
 * Puts a section for the release above the others.
 *
 * @throws Error when the change log has the version already
 */
export function foldFragments(
  changelog: string,
  fragments: readonly Fragment[],
  { version, date }: { readonly version: string; readonly date: string },
): string {
  if (changelog.includes(`\n## ${version} `)) throw new Error(`${version} is released already`);
  const parts = KINDS.flatMap((kind) => {
    const texts = fragments.filter((fragment) => fragment.kind === kind).map(listItem);
    return texts.length === 0 ? [] : [`### ${title(kind)}\n\n${texts.join("\n")}\n`];
  });
  const section = `## ${version} (${date})\n\n${parts.join("\n")}`;
  const at = changelog.search(/^## /m);
  if (at < 0) return `${changelog.trimEnd()}\n\n${section}`;
  return `${changelog.slice(0, at)}${section}\n${changelog.slice(at)}`;
}

function listItem({ text }: Fragment): string {
  return `- ${text.trim().replaceAll("\n", "\n  ")}`;
}

function title(kind: Kind): string {
  return `${kind[0]?.toUpperCase()}${kind.slice(1)}`;
}
