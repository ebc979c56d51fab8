import type { Clock, Timer } from "../../../clock/clock.ts";
import type { TunnelError } from "../../../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "../../../tunnel/connection.ts";

/** How long a {@link HeldConnection} holds. */
export interface HoldOptions {
  readonly clock: Clock;
  readonly holdMs: number;
}

/**
 * A client's connection right behind its SOCKS reply: what is written is held until the client has
 * said something, has ended, or some time has passed since the reply left. Reading is not touched.
 *
 * Spec: vproxy 1.8. The original's client breaks when it reads a reply together with the first bytes
 * of the target; and its server would not even ask a target that speaks first.
 */
export class HeldConnection implements Connection {
  readonly #inner: Connection;
  readonly #options: HoldOptions;
  #handler: ConnectionHandler | undefined;
  /** Gone once it holds no more. */
  #held: Uint8Array[] | undefined = [];
  #heldBytes = 0;
  #then: "open" | "finish" | "close" = "open";
  #timer: Timer | undefined;
  #waitedMs = 0;

  /** @param inner paused and without a handler, the reply written */
  constructor(inner: Connection, options: HoldOptions) {
    this.#inner = inner;
    this.#options = options;
    this.#wait();
  }

  get info(): ConnectionInfo {
    return this.#inner.info;
  }

  get pendingBytes(): number {
    return this.#inner.pendingBytes + this.#heldBytes;
  }

  attach(handler: ConnectionHandler): void {
    this.#handler = handler;
    this.#inner.attach({
      onData: (chunk) => {
        this.#release();
        if (this.#then !== "close") handler.onData(chunk);
      },
      onEnd: () => {
        this.#release();
        if (this.#then !== "close") handler.onEnd();
      },
      onDrain: () => handler.onDrain(),
      onClose: (error) => {
        this.#drop();
        handler.onClose(error);
      },
    });
  }

  detach(): void {
    this.#handler = undefined;
    this.#inner.detach();
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  unshift(chunk: Uint8Array): void {
    this.#inner.unshift(chunk);
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#held === undefined) return this.#inner.write(chunks);
    if (this.#then !== "open") return true;
    for (const chunk of chunks) {
      this.#held.push(chunk);
      this.#heldBytes += chunk.byteLength;
    }
    // What is held stays small: whoever writes waits for the drain.
    return this.#heldBytes === 0;
  }

  finish(): void {
    if (this.#held === undefined) this.#inner.finish();
    else if (this.#then === "open") this.#then = "finish";
  }

  close(): void {
    const isHolding = this.#heldBytes > 0;
    this.#then = "close";
    // Nobody reads any more, so nobody would hear the client speak: only the time releases.
    if (!isHolding) this.#release();
    if (this.#held === undefined) this.#inner.close();
    else this.#inner.resume();
  }

  reset(cause: TunnelError): void {
    this.#drop();
    this.#inner.reset(cause);
  }

  #wait(): void {
    const { clock, holdMs } = this.#options;
    this.#timer = clock.schedule(holdMs, () => {
      this.#waitedMs += holdMs;
      // While the reply is on its way the client has not read it: they would still come together.
      if (this.#inner.pendingBytes > 0 && this.#waitedMs < MAX_HOLD_MS) this.#wait();
      else this.#release();
    });
  }

  #release(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#drop();
    const isReady = held.length === 0 || this.#inner.write(held);
    if (this.#then === "finish") this.#inner.finish();
    if (this.#then === "close") this.#inner.close();
    // Else the inner connection says so when it is.
    else if (isReady && held.length > 0) this.#handler?.onDrain();
  }

  #drop(): void {
    this.#timer?.cancel();
    this.#held = undefined;
    this.#heldBytes = 0;
  }
}

/** A reply that cannot leave for this long waits for a client that reads nothing. */
const MAX_HOLD_MS = 5_000;
