/** Named deadlines of a core. Pure: it stores times, the driver asks for the earliest. */
export class Deadlines<Name extends string | number> {
  readonly #due = new Map<Name, number>();

  /** Sets or moves a deadline, in monotonic milliseconds. */
  set(name: Name, at: number): void {
    this.#due.set(name, at);
  }

  clear(name: Name): void {
    this.#due.delete(name);
  }

  has(name: Name): boolean {
    return this.#due.has(name);
  }

  /** The earliest deadline, or `undefined` when there is none. */
  get next(): number | undefined {
    let earliest: number | undefined;
    for (const at of this.#due.values()) {
      if (earliest === undefined || at < earliest) earliest = at;
    }
    return earliest;
  }

  /** Removes and returns the names due at `now`. */
  take(now: number): Name[] {
    const due: Name[] = [];
    for (const [name, at] of this.#due) if (at <= now) due.push(name);
    for (const name of due) this.#due.delete(name);
    return due;
  }
}
