import { type ImportNote, inFileOrder, type Place } from "../../config/imported.ts";
import { ConfigError } from "../../errors.ts";

/** Collects what is wrong with a configuration, and what its owner is to know. */
export class ImportReport {
  readonly #name: string;
  readonly #notes: ImportNote[] = [];
  readonly #problems: { readonly place: Place | undefined; readonly text: string }[] = [];

  /** @param name of the file, for messages */
  constructor(name: string) {
    this.#name = name;
  }

  /** In the order of the file. */
  get notes(): readonly ImportNote[] {
    return inFileOrder(this.#notes);
  }

  note(note: ImportNote): void {
    this.#notes.push(note);
  }

  /** Something that keeps the whole from being understood. */
  problem(place: Place | undefined, text: string): void {
    this.#problems.push({ place, text });
  }

  /** @throws ConfigError with every problem as `file:line:column: …`, one per line */
  throwProblems(): void {
    if (this.#problems.length === 0) return;
    const lines = inFileOrder(this.#problems).map(({ place, text }) =>
      place === undefined
        ? `${this.#name}: ${text}`
        : `${this.#name}:${place.line}:${place.column}: ${text}`,
    );
    throw new ConfigError(lines.join("\n"));
  }
}
