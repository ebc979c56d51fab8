import { counterDifference } from "./segment.ts";

/** What the peer can take, and the probes that ask for more while it can take nothing. */
export class PeerWindow {
  readonly #firstWaitMs: number;
  readonly #maxWaitMs: number;
  #segments = WINDOW_BEFORE_NEWS;
  #newest: number;
  #waitMs = 0;
  #probeAt: number | undefined;

  constructor(
    options: { readonly probeMs: number; readonly maxProbeMs: number },
    firstSequence: number,
  ) {
    this.#newest = firstSequence;
    this.#firstWaitMs = options.probeMs;
    this.#maxWaitMs = options.maxProbeMs;
  }

  /** Segments the peer can take beyond those it has acknowledged. */
  get segments(): number {
    return this.#segments;
  }

  /** A segment said so; one that was overtaken on its way, as `unacknowledged` shows, is old news. */
  update(segments: number, unacknowledged: number): void {
    if (counterDifference(unacknowledged, this.#newest) < 0) return;
    this.#newest = unacknowledged;
    this.#segments = segments;
  }

  /** When to ask next; `undefined`: no need to. */
  get probeAt(): number | undefined {
    return this.#probeAt;
  }

  /** Starts or ends the probing: needed while something waits and there is no room. */
  watch(isWaiting: boolean, now: number): void {
    if (!isWaiting || this.#segments > 0) {
      this.#probeAt = undefined;
    } else if (this.#probeAt === undefined) {
      this.#waitMs = this.#firstWaitMs;
      this.#probeAt = now + this.#waitMs;
    }
  }

  /** The peer was asked at `now`. */
  asked(now: number): void {
    this.#waitMs = Math.min(this.#maxWaitMs, this.#waitMs * 1.5);
    this.#probeAt = now + this.#waitMs;
  }
}

/** What one may assume before the peer has said anything. */
const WINDOW_BEFORE_NEWS = 128;
