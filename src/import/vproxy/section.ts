import type { Place } from "../../config/imported.ts";
import { didYouMean } from "../../config/nearest.ts";
import type { ImportReport } from "./report.ts";
import type { VjsonEntry, VjsonNode, VjsonObject } from "./vjson.ts";

/** A value and where it stands. */
export interface Setting<Value> {
  readonly value: Value;
  readonly place: Place;
}

/**
 * Reads the keys of one object by what they should hold; what they hold instead is reported. Of a
 * key that is there several times the last one counts, as in the original.
 */
export class Section {
  readonly place: Place;
  /** `agent.uot`, for messages. */
  readonly path: string;
  readonly #entries: ReadonlyMap<string, VjsonEntry>;
  readonly #report: ImportReport;
  readonly #known: string[] = [];

  constructor(object: VjsonObject, path: string, report: ImportReport) {
    this.place = object.place;
    this.path = path;
    this.#report = report;
    this.#entries = new Map(object.entries.map((entry) => [entry.key, entry]));
  }

  /** A port; `undefined` also for 0, which means off. */
  port(key: string): Setting<number> | undefined {
    const port = this.integer(key, 0, 65_535);
    return port?.value === 0 ? undefined : port;
  }

  integer(key: string, min: number, max: number): Setting<number> | undefined {
    const raw = this.#scalar(key);
    if (raw === undefined) return undefined;
    const value = /^\d{1,9}$/.test(raw.value) ? Number(raw.value) : Number.NaN;
    if (value >= min && value <= max) return { value, place: raw.place };
    return this.#wrong(key, raw, `is no whole number from ${min} to ${max}`);
  }

  flag(key: string): Setting<boolean> | undefined {
    const raw = this.#scalar(key);
    if (raw === undefined) return undefined;
    const { value, place } = raw;
    if (value === "true" || value === "false") return { value: value === "true", place };
    return this.#wrong(key, raw, "is not true or false");
  }

  /** A text that is not empty. */
  text(key: string): Setting<string> | undefined {
    const raw = this.#scalar(key);
    return raw?.value.trim() === "" ? undefined : raw;
  }

  texts(key: string): readonly Setting<string>[] {
    return this.#items(key, "[ … ]").flatMap((item) => {
      const value = asText(item);
      if (value === undefined) this.#refuse(key, item, "wants texts, no blocks or lists");
      return value === undefined ? [] : [{ value, place: item.place }];
    });
  }

  section(key: string): Section | undefined {
    const node = this.#take(key);
    if (node === undefined) return undefined;
    if (node.kind === "object") return new Section(node, this.#at(key), this.#report);
    return this.#refuse(key, node, "wants a block: { … }");
  }

  sections(key: string): readonly Section[] {
    return this.#items(key, "[ { … } ]").flatMap((item, index) => {
      const path = `${key}[${index}]`;
      if (item.kind === "object") return [new Section(item, this.#at(path), this.#report)];
      this.#refuse(path, item, "wants a block: { … }");
      return [];
    });
  }

  /** Keys that may be there, and are not read. */
  skip(...keys: readonly string[]): void {
    this.#known.push(...keys);
  }

  /** Notes the keys nobody asked for. The original passes over them in silence. */
  noteUnknown(): void {
    for (const { key, place } of this.#entries.values()) {
      if (this.#known.includes(key)) continue;
      const text = `${this.#at(key)}: vproxy has no such key and does not read it${didYouMean(key, this.#known)}`;
      this.#report.note({ kind: "left out", place, text });
    }
  }

  #items(key: string, form: string): readonly VjsonNode[] {
    const node = this.#take(key);
    if (node === undefined) return [];
    if (node.kind === "list") return node.items;
    this.#refuse(key, node, `wants a list: ${form}`);
    return [];
  }

  #scalar(key: string): Setting<string> | undefined {
    const node = this.#take(key);
    if (node === undefined) return undefined;
    if (node.kind === "scalar") return { value: node.text, place: node.place };
    return this.#refuse(key, node, "wants one value, no block or list");
  }

  /** The value of a key; `null` is none. */
  #take(key: string): VjsonNode | undefined {
    this.skip(key);
    const node = this.#entries.get(key)?.value;
    return node?.kind === "scalar" && node.text === "null" ? undefined : node;
  }

  #wrong(key: string, { value, place }: Setting<string>, why: string): undefined {
    const shown = value.length > 60 ? `${value.slice(0, 60)}…` : value;
    this.#report.problem(place, `${this.#at(key)}: ${JSON.stringify(shown)} ${why}`);
  }

  #refuse(key: string, { place }: VjsonNode, why: string): undefined {
    this.#report.problem(place, `${this.#at(key)}: ${why}`);
  }

  #at(key: string): string {
    return this.path === "" ? key : `${this.path}.${key}`;
  }
}

/** A text, or a rule list like `[https://host/list.txt]` that was not put into quotes. */
function asText(node: VjsonNode): string | undefined {
  if (node.kind === "scalar") return node.text;
  if (node.kind !== "list" || node.items.length !== 1) return undefined;
  const [item] = node.items;
  return item?.kind === "scalar" ? `[${item.text}]` : undefined;
}
