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
 * Bounds what streams without windows hold back. At the bound the whole link pauses, because the
 * wire has nothing finer; a reader that is merely slower than the link paces it and loses nothing.
 * One that takes no byte at all is reset, or it would stall its neighbours for ever.
 */
export class SlowReaders {
  readonly #clock: Clock;
  readonly #policy: SlowReaderPolicy;
  readonly #link: { pause(): void; resume(): void };
  /** Bytes each stream holds back; only streams that hold any. */
  readonly #held = new Map<MuxStream, number>();
  #heldBytes = 0;
  /** Streams over their bound; the link is paused while there are any. */
  readonly #full = new Map<MuxStream, Timer | undefined>();

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
    const { maxStreamBytes, maxLinkBytes } = this.#policy;
    const isFull = stream.queuedBytes > maxStreamBytes || this.#heldBytes > maxLinkBytes;
    if (!isFull || stream.queuedBytes === 0 || this.#full.has(stream)) return;
    if (this.#full.size === 0) this.#link.pause();
    this.#full.set(stream, this.#watch(stream));
  }

  /** The stream's owner took something. */
  taken(stream: MuxStream): void {
    if (!this.#held.has(stream)) return;
    this.#update(stream);
    if (!this.#full.has(stream)) return;
    this.#full.get(stream)?.cancel();
    const isLow = stream.queuedBytes <= this.#policy.maxStreamBytes / 4;
    if (isLow && this.#heldBytes <= this.#policy.maxLinkBytes) this.#release(stream);
    else this.#full.set(stream, this.#watch(stream));
  }

  /** The stream is gone, with what it held. */
  forget(stream: MuxStream): void {
    this.#heldBytes -= this.#held.get(stream) ?? 0;
    this.#held.delete(stream);
    this.#full.get(stream)?.cancel();
    this.#release(stream);
  }

  /** The link is gone. */
  dispose(): void {
    for (const timer of this.#full.values()) timer?.cancel();
    this.#full.clear();
    this.#held.clear();
  }

  #update(stream: MuxStream): void {
    const before = this.#held.get(stream) ?? 0;
    const now = stream.queuedBytes;
    this.#heldBytes += now - before;
    if (now === 0) this.#held.delete(stream);
    else this.#held.set(stream, now);
  }

  #release(stream: MuxStream): void {
    if (!this.#full.delete(stream)) return;
    if (this.#full.size === 0) this.#link.resume();
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
