import type { Clock, Timer } from "../clock/clock.ts";
import { PolicyError } from "../errors.ts";
import type { MuxStream } from "./mux-stream.ts";

/** What to do about streams that outrun their reader on a wire without windows. */
export interface SlowReaderPolicy {
  /** `reset`: a stalled stream is reset; `pause`: the link waits for as long as it takes. @default "reset" */
  readonly mode: "reset" | "pause";
  /** What one stream may hold back, bytes. @default 1 MiB */
  readonly maxStreamBytes: number;
  /** What all streams of a link may hold back together, bytes. @default 32 MiB */
  readonly maxLinkBytes: number;
  /** How long the link waits for a full stream that makes no progress at all, ms. @default 500 */
  readonly stallMs: number;
}

/**
 * Bounds what streams without windows hold back. At a bound the whole link pauses, because the
 * wire has nothing finer; a reader that is merely slower than the link paces it and loses nothing.
 * One that takes no byte at all is reset, or it would stall its neighbours for ever: at its own
 * bound the stream itself, at the link's the one that holds most.
 */
export class SlowReaders {
  readonly #clock: Clock;
  readonly #policy: SlowReaderPolicy;
  readonly #link: { pause(): void; resume(): void };
  /** Bytes each stream holds back; only streams that hold any. */
  readonly #held = new Map<MuxStream, number>();
  #heldBytes = 0;
  /** Streams over their own bound. */
  readonly #full = new Map<MuxStream, Timer | undefined>();
  /** While all together are over the link's bound: the one that holds most. */
  #greatest: { readonly stream: MuxStream; readonly timer: Timer | undefined } | undefined;
  #isPaused = false;

  constructor(
    clock: Clock,
    policy: Partial<SlowReaderPolicy> | undefined,
    link: { pause(): void; resume(): void },
  ) {
    this.#clock = clock;
    this.#policy = { ...DEFAULTS, ...policy };
    this.#link = link;
  }

  /** Data was put into the stream's inbox. */
  delivered(stream: MuxStream): void {
    this.#update(stream);
    if (stream.queuedBytes > this.#policy.maxStreamBytes && !this.#full.has(stream)) {
      this.#full.set(stream, this.#watch(stream));
    }
    this.#judge();
  }

  /** The stream's owner took something. */
  taken(stream: MuxStream): void {
    if (!this.#held.has(stream)) return;
    this.#update(stream);
    if (this.#full.has(stream)) {
      this.#full.get(stream)?.cancel();
      const isLow = stream.queuedBytes <= this.#policy.maxStreamBytes / 4;
      if (isLow) this.#full.delete(stream);
      else this.#full.set(stream, this.#watch(stream));
    }
    if (this.#greatest?.stream === stream) this.#clearGreatest();
    this.#judge();
  }

  /** The stream is over in order, but its owner still has to take what came before. */
  ended(stream: MuxStream): void {
    this.#full.get(stream)?.cancel();
    this.#full.delete(stream);
    this.#update(stream);
    this.#judge();
  }

  /** The stream is gone, with what it held. */
  forget(stream: MuxStream): void {
    this.#heldBytes -= this.#held.get(stream) ?? 0;
    this.#held.delete(stream);
    this.#full.get(stream)?.cancel();
    this.#full.delete(stream);
    if (this.#greatest?.stream === stream) this.#clearGreatest();
    this.#judge();
  }

  /** The link is gone. */
  dispose(): void {
    for (const timer of this.#full.values()) timer?.cancel();
    this.#clearGreatest();
    this.#full.clear();
    this.#held.clear();
    this.#heldBytes = 0;
  }

  #update(stream: MuxStream): void {
    const before = this.#held.get(stream) ?? 0;
    const now = stream.queuedBytes;
    this.#heldBytes += now - before;
    if (now === 0) this.#held.delete(stream);
    else this.#held.set(stream, now);
  }

  /** Holds the link's bound, and pauses the link while any bound is passed. */
  #judge(): void {
    if (this.#heldBytes <= this.#policy.maxLinkBytes) {
      this.#clearGreatest();
    } else if (this.#greatest === undefined) {
      const stream = this.#holdingMost();
      if (stream !== undefined) this.#greatest = { stream, timer: this.#watch(stream) };
    }
    const shouldPause = this.#full.size > 0 || this.#greatest !== undefined;
    if (shouldPause === this.#isPaused) return;
    this.#isPaused = shouldPause;
    if (shouldPause) this.#link.pause();
    else this.#link.resume();
  }

  #holdingMost(): MuxStream | undefined {
    let most: MuxStream | undefined;
    let mostBytes = 0;
    for (const [stream, bytes] of this.#held) {
      if (bytes <= mostBytes) continue;
      most = stream;
      mostBytes = bytes;
    }
    return most;
  }

  #clearGreatest(): void {
    this.#greatest?.timer?.cancel();
    this.#greatest = undefined;
  }

  #watch(stream: MuxStream): Timer | undefined {
    if (this.#policy.mode === "pause") return undefined;
    return this.#clock.schedule(this.#policy.stallMs, () => {
      const { stallMs } = this.#policy;
      const text = `reader took nothing for ${stallMs} ms with ${stream.queuedBytes} bytes waiting`;
      stream.reset(
        new PolicyError("ERR_SLOW_READER", text, {
          hint: "read faster, or use slow=pause to let one stream stall its link",
        }),
      );
      this.forget(stream);
    });
  }
}

const DEFAULTS: SlowReaderPolicy = {
  mode: "reset",
  maxStreamBytes: 1024 * 1024,
  maxLinkBytes: 32 * 1024 * 1024,
  stallMs: 500,
};
