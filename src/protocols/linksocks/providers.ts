import { formatTarget, type Target } from "../../address/target.ts";
import { NetworkError, PolicyError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { PacketChannel } from "../../tunnel/packets.ts";
import type { Metadata, Outbound } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";

/** How providers take turns. */
export type Balance = "roundrobin" | "leaststreams";

/** One provider's WebSocket, as far as the pool is concerned. */
export interface ProviderLink {
  /** Whether channels may be opened on it. */
  readonly isOpen: boolean;
  readonly streamCount: number;
  open(target: Target, signal: AbortSignal): Promise<Connection>;
  associate(signal: AbortSignal): Promise<PacketChannel>;
}

/** Settings of a {@link ProviderPool}. */
export interface ProviderPoolOptions {
  /** Its name in routes and logs. */
  readonly name: string;
  readonly runtime: Runtime;
  /** How long a request waits for a provider to join, ms. */
  readonly waitMs: (metadata: Metadata) => number;
  /** @default "roundrobin" */
  readonly balance?: Balance | undefined;
  /** Requests that may wait at one time. @default 1024 */
  readonly maxWaiting?: number | undefined;
}

/**
 * The providers of one reverse token as one way out.
 *
 * Only links that are up take part: the transport pings each and ends those that do not answer.
 * A link that goes down while it is asked costs nothing but the next one's turn.
 */
export class ProviderPool implements Outbound {
  readonly name: string;
  readonly #options: ProviderPoolOptions;
  /** In the order they joined. */
  readonly #links: ProviderLink[] = [];
  readonly #waiting = new Set<Waiter>();
  #turn = 0;

  constructor(options: ProviderPoolOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Providers that are here. */
  get size(): number {
    return this.#links.length;
  }

  /** A provider joined: those who wait for one go on. */
  join(link: ProviderLink): void {
    this.#links.push(link);
    for (const waiter of this.#waiting) waiter.wake();
  }

  /** A provider is gone; its channels have ended. */
  leave(link: ProviderLink): void {
    const at = this.#links.indexOf(link);
    if (at < 0) return;
    this.#links.splice(at, 1);
    // Whoever's turn it was keeps it.
    if (at < this.#turn) this.#turn--;
  }

  /** The pool is gone: nobody need wait for it. */
  close(error: TunnelError): void {
    for (const waiter of this.#waiting) waiter.fail(error);
  }

  /**
   * @throws NetworkError `ERR_TUNNEL_DOWN` when no provider joined in time; TunnelError with the
   *   provider's reason
   */
  async dial(
    target: Target,
    { signal, metadata }: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection> {
    const what = formatTarget(target);
    return await this.#ask(what, signal, metadata, (link) => link.open(target, signal));
  }

  /** @throws the same */
  async associate({
    signal,
    metadata,
  }: {
    readonly signal: AbortSignal;
    readonly metadata: Metadata;
  }): Promise<PacketChannel> {
    return await this.#ask("datagrams", signal, metadata, (link) => link.associate(signal));
  }

  async #ask<Result>(
    what: string,
    signal: AbortSignal,
    metadata: Metadata,
    open: (link: ProviderLink) => Promise<Result>,
  ): Promise<Result> {
    const { runtime, waitMs } = this.#options;
    const until = runtime.clock.now() + waitMs(metadata);
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      const link = this.#next() ?? (await this.#joined(what, until, signal));
      try {
        return await open(link);
      } catch (thrown) {
        const error = toTunnelError(thrown, "ERR_DIAL_FAILED", what);
        // The link died before the target was reached, so nothing was sent yet: ask another one.
        const isLost = error.code === "ERR_TUNNEL_LOST" || !link.isOpen;
        if (!isLost || signal.aborted || attempt >= MAX_ATTEMPTS) throw error;
      }
    }
  }

  /** Whose turn it is. */
  #next(): ProviderLink | undefined {
    const { length } = this.#links;
    let best: { readonly link: ProviderLink; readonly at: number } | undefined;
    for (let step = 0; step < length; step++) {
      const at = (this.#turn + step) % length;
      const link = this.#links[at];
      if (link === undefined || !link.isOpen) continue;
      if (best === undefined || link.streamCount < best.link.streamCount) best = { link, at };
      if (this.#options.balance !== "leaststreams") break;
    }
    if (best === undefined) return undefined;
    this.#turn = (best.at + 1) % length;
    return best.link;
  }

  #joined(what: string, until: number, signal: AbortSignal): Promise<ProviderLink> {
    const { runtime, maxWaiting = DEFAULT_MAX_WAITING } = this.#options;
    if (this.#waiting.size >= maxWaiting) {
      const text = `${maxWaiting} requests wait for provider "${this.name}" already`;
      throw new PolicyError("ERR_LIMIT", text);
    }
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#waiting.delete(waiter);
        timer.cancel();
        signal.removeEventListener("abort", onAbort);
        act();
      };
      const waiter: Waiter = {
        wake: () => {
          const link = this.#next();
          if (link !== undefined) settle(() => resolve(link));
        },
        fail: (error) => settle(() => reject(error)),
      };
      const onAbort = (): void => waiter.fail(toTunnelError(signal.reason, "ERR_ABORTED", what));
      const remainingMs = Math.max(0, until - runtime.clock.now());
      const timer = runtime.clock.schedule(remainingMs, () => waiter.fail(this.#nobody()));
      this.#waiting.add(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Its message is the text on the wire. Spec: linksocks 3.4. */
  #nobody(): NetworkError {
    return new NetworkError("ERR_TUNNEL_DOWN", NO_PROVIDER, {
      hint: `provider "${this.name}" is not connected: start it, or check its token`,
    });
  }
}

interface Waiter {
  wake(): void;
  fail(error: TunnelError): void;
}

/** What a connector is told when no provider is there. Spec: linksocks 3.4. */
export const NO_PROVIDER = "no available reverse clients";

/** Links that die one after the other are no accident any more. */
const MAX_ATTEMPTS = 3;

const DEFAULT_MAX_WAITING = 1_024;
