import { inspect } from "node:util";

/** A value that never prints itself: in text, JSON and inspection it is `***`. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. Call it where the value is used, and nowhere else. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  static {
    Object.defineProperty(Secret.prototype, inspect.custom, { value: () => HIDDEN });
  }
}

/** What stands in the place of a secret. */
export const HIDDEN = "***";
