import { createHmac, randomBytes } from "node:crypto";

/**
 * Tokens that were shown and are wrong. Whoever shows one again learns nothing new: it is no guess
 * but a client with an old token, or a connector that is faster than its provider, and need not lock
 * out everybody else at its address.
 */
export class WrongTokens {
  readonly #maxTokens: number;
  readonly #key = randomBytes(32);
  /** Keyed digests, oldest first. */
  readonly #seen = new Set<string>();

  /** @param maxTokens remembered; past it the one shown longest ago is forgotten */
  constructor(maxTokens: number = DEFAULT_MAX_TOKENS) {
    this.#maxTokens = maxTokens;
  }

  /** Remembers a wrong token, or hash. @returns whether it was not known yet */
  isNew(attempt: string): boolean {
    const digest = createHmac("sha256", this.#key).update(attempt).digest("base64");
    const isNew = !this.#seen.delete(digest);
    this.#seen.add(digest);
    const [oldest] = this.#seen;
    if (this.#seen.size > this.#maxTokens && oldest !== undefined) this.#seen.delete(oldest);
    return isNew;
  }
}

/** Far more than misconfigured clients; less than 1 MiB. */
const DEFAULT_MAX_TOKENS = 4_096;
