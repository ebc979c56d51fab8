import { PolicyError } from "../../errors.ts";

/** How many of something may live at one time. */
export interface KeyBoundsOptions {
  /** For errors: `streams`. */
  readonly what: string;
  readonly total: number;
  readonly perKey: number;
}

/** Counts what lives, in total and per client key, so that no client can crowd out the others. */
export class KeyBounds {
  readonly #options: KeyBoundsOptions;
  readonly #perKey = new Map<string, number>();
  #total = 0;

  constructor(options: KeyBoundsOptions) {
    this.#options = options;
  }

  /** How many live now. */
  get size(): number {
    return this.#total;
  }

  /**
   * One more of this key, to be given back with the returned function, once or more often.
   *
   * @throws PolicyError `ERR_LIMIT` when there are enough
   */
  enter(key: string): () => void {
    const { what, total, perKey } = this.#options;
    const count = this.#perKey.get(key) ?? 0;
    if (this.#total >= total) {
      throw new PolicyError("ERR_LIMIT", `${total} ${what} are open, the limit of this agent`);
    }
    if (count >= perKey) {
      throw new PolicyError("ERR_LIMIT", `${perKey} ${what} of this client are open, its limit`);
    }
    this.#total++;
    this.#perKey.set(key, count + 1);
    let isIn = true;
    return () => {
      if (isIn) this.#leave(key);
      isIn = false;
    };
  }

  #leave(key: string): void {
    this.#total--;
    const count = (this.#perKey.get(key) ?? 0) - 1;
    if (count > 0) this.#perKey.set(key, count);
    else this.#perKey.delete(key);
  }
}
