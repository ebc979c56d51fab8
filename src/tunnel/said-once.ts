/** Remembers what has been said, so that a flood of datagrams is not a flood of lines. */
export class SaidOnce {
  readonly #said = new Set<string>();

  /**
   * Whether `what` comes for the first time. Past {@link MAX_SAID} different things nothing does any
   * more: whoever brings that many would fill the log instead.
   */
  isFirst(what: string): boolean {
    if (this.#said.size >= MAX_SAID || this.#said.has(what)) return false;
    this.#said.add(what);
    return true;
  }
}

/** Lines one association is worth. */
export const MAX_SAID = 32;
