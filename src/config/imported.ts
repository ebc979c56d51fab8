import type { ConfigInput } from "./config.ts";

/** Where something stands in a text; both count from 1, columns in UTF-16 units. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** What was made of another program's configuration. */
export interface Imported {
  readonly input: ConfigInput;
  /** What is not the same afterwards, in the order of the file. */
  readonly notes: readonly ImportNote[];
}

/** Something to know about a configuration that was converted. */
export interface ImportNote {
  /** Not carried over at all; carried, but not the same; something the user is to do. */
  readonly kind: "left out" | "differs" | "to do";
  readonly place?: Place | undefined;
  /** What it is about, and the reason. */
  readonly text: string;
  /** What to do instead, in the imperative. */
  readonly instead?: string | undefined;
}

/** How an importer is to work. */
export interface ImportOptions {
  /** Of the file, for messages. */
  readonly name: string;
  /** Writes passwords into the configuration instead of references to them. */
  readonly inlineSecrets: boolean;
  /** vproxy: lets suffixes of names begin where labels do, unlike the original. */
  readonly wholeLabels: boolean;
  /** What `~` in a path stands for. */
  readonly home: string | undefined;
}

/** `name:line:column: kind: text`, and what to do instead below it. */
export function formatImportNote(name: string, { kind, place, text, instead }: ImportNote): string {
  const at = place === undefined ? name : `${name}:${place.line}:${place.column}`;
  const more = instead === undefined ? "" : `\n  instead: ${instead}`;
  return `${at}: ${kind}: ${text}${more}`;
}

/** Notes in the order of the file; those without a place come last. */
export function inFileOrder<Item extends { readonly place?: Place | undefined }>(
  items: readonly Item[],
): Item[] {
  const line = (item: Item): number => item.place?.line ?? Number.MAX_SAFE_INTEGER;
  const column = (item: Item): number => item.place?.column ?? 0;
  return items.toSorted((one, other) => line(one) - line(other) || column(one) - column(other));
}
