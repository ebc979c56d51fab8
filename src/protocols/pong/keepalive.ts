/** Decides when a quiet peer is asked, and when it is given up. Pure. */
export class Keepalive {
  readonly #intervalMs: number;
  #lastHeardAt = 0;
  #ping: { readonly nonce: number; readonly sentAt: number } | undefined;
  #nonce = 0;
  #rttMs: number | undefined;

  /** @param intervalMs quiet time before a ping; twice that without a word is death; 0: never */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** The latest round trip, ms. */
  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  /** When the peer was last heard. */
  get lastHeardAt(): number {
    return this.#lastHeardAt;
  }

  /** Quiet time so far, ms. */
  quietMs(now: number): number {
    return now - this.#lastHeardAt;
  }

  heard(now: number): void {
    this.#lastHeardAt = now;
  }

  /** A round trip measured by other means. */
  measured(rttMs: number): void {
    this.#rttMs = rttMs;
  }

  answered(nonce: number, now: number): void {
    if (this.#ping?.nonce !== nonce) return;
    this.#rttMs = now - this.#ping.sentAt;
    this.#ping = undefined; // one answer each: a repeated one would measure nothing
  }

  /** When to look next, at or after the time to ask; `undefined` when switched off. */
  nextLook(now: number): number | undefined {
    if (this.#intervalMs <= 0) return undefined;
    const isAsked = this.quietMs(now) >= this.#intervalMs;
    return this.#lastHeardAt + this.#intervalMs * (isAsked ? 2 : 1);
  }

  /** What to do now: nothing, send a ping with this nonce, or give the peer up. */
  look(now: number): "wait" | "dead" | { readonly nonce: number } {
    const quietMs = this.quietMs(now);
    if (quietMs < this.#intervalMs) return "wait";
    if (quietMs >= 2 * this.#intervalMs) return "dead";
    this.#ping = { nonce: this.#nonce++ >>> 0, sentAt: now };
    return { nonce: this.#ping.nonce };
  }
}
