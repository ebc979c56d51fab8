import { timeoutAfter, type Timer } from "../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../errors.ts";
import { type BackoffLimits, backoffMs, DEFAULT_BACKOFF } from "./backoff.ts";
import type { Connection } from "./connection.ts";
import type { Logger } from "./logger.ts";
import type { Runtime } from "./runtime.ts";

/** A link while it is up: what a `MuxDriver` and its like offer. */
export interface LiveLink {
  /** Ends it in order: what was written is flushed. */
  close(): void;
  abort(error: TunnelError): void;
}

/** What one link needs to keep itself up. */
export interface KeptLinkOptions<Link extends LiveLink> {
  /** The tunnel's name, for logs. */
  readonly name: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** Dials and logs in: resolves with a connection the peer has welcomed, paused. */
  connect(signal: AbortSignal): Promise<Connection>;
  /** Puts the connection to work; `onClose` must be called once, when it is gone. */
  run(connection: Connection, onClose: (error: TunnelError | undefined) => void): Link;
  /** Whether trying again is of no use. @default never */
  readonly isFinal?: ((error: TunnelError) => boolean) | undefined;
  /** How long dialling and login may take together, ms. @default 15000 */
  readonly dialTimeoutMs?: number | undefined;
  readonly backoff?: BackoffLimits | undefined;
  /** Something changed: the link is up, is down, or is given up. */
  onChange(): void;
  /** The peer said no for good. */
  onFinal?(error: TunnelError): void;
}

/** One link that dials itself again, with full-jitter delays, until it is closed or refused for good. */
export class KeptLink<Link extends LiveLink> {
  readonly #options: KeptLinkOptions<Link>;
  readonly #closing = new AbortController();
  #link: Link | undefined;
  #state: "idle" | "dialling" | "up" | "waiting" | "over" = "idle";
  #failures = 0;
  #retry: Timer | undefined;
  #proof: Timer | undefined;
  #lastError: TunnelError | undefined;
  #dialMs: number | undefined;

  constructor(options: KeptLinkOptions<Link>) {
    this.#options = options;
  }

  /** The link, while it is up. */
  get link(): Link | undefined {
    return this.#link;
  }

  get state(): "idle" | "dialling" | "up" | "waiting" | "over" {
    return this.#state;
  }

  /** Why it is not up. */
  get lastError(): TunnelError | undefined {
    return this.#lastError;
  }

  /** How long the last dial and login took, ms. */
  get dialMs(): number | undefined {
    return this.#dialMs;
  }

  /** Dials, unless it is up or about to be. */
  start(): void {
    if (this.#state !== "idle") return;
    void this.#dial();
  }

  /** Ends the link in order and dials no more. */
  close(): void {
    if (this.#state === "over") return;
    this.#over(new TunnelError("ERR_SHUTDOWN", "tunnel is closing"));
    this.#link?.close();
  }

  #over(error: TunnelError): void {
    this.#state = "over";
    this.#retry?.cancel();
    this.#proof?.cancel();
    this.#closing.abort(error);
  }

  async #dial(): Promise<void> {
    const { name, runtime, dialTimeoutMs = DEFAULT_DIAL_TIMEOUT_MS } = this.#options;
    this.#state = "dialling";
    this.#options.onChange();
    const startedAt = runtime.clock.now();
    using deadline = timeoutAfter(runtime.clock, dialTimeoutMs, () => {
      return new NetworkError("ERR_DIAL_TIMEOUT", `${name}: not up within ${dialTimeoutMs} ms`);
    });
    const signal = AbortSignal.any([deadline.signal, this.#closing.signal]);
    try {
      const connection = await this.#options.connect(signal);
      this.#dialMs = runtime.clock.now() - startedAt;
      if (this.#closing.signal.aborted) connection.close();
      else this.#up(connection);
    } catch (thrown) {
      if (!this.#closing.signal.aborted) {
        this.#failed(toTunnelError(thrown, "ERR_TUNNEL_DOWN", `${name}: dial`));
      }
    }
  }

  #up(connection: Connection): void {
    const { runtime, logger, name } = this.#options;
    this.#state = "up";
    this.#lastError = undefined;
    this.#failures = Math.min(this.#failures, WELCOMED_FAILURES);
    this.#proof = runtime.clock.schedule(PROVEN_AFTER_MS, () => (this.#failures = 0));
    logger.info("tunnel up", { tunnel: name, peer: connection.info.peer });
    let isGone = false;
    const link = this.#options.run(connection, (error) => {
      isGone = true;
      this.#link = undefined;
      this.#proof?.cancel();
      if (this.#state !== "over") this.#failed(error ?? ENDED);
    });
    if (!isGone) this.#link = link;
    this.#options.onChange();
  }

  #failed(error: TunnelError): void {
    const { runtime, logger, name, isFinal, backoff = DEFAULT_BACKOFF } = this.#options;
    this.#lastError = error;
    if (isFinal?.(error)) {
      this.#over(error);
      logger.error("tunnel refused for good", {
        tunnel: name,
        reason: error.message,
        hint: error.hint,
      });
      this.#options.onChange();
      this.#options.onFinal?.(error);
      return;
    }
    this.#state = "waiting";
    const waitMs = backoffMs(this.#failures++, runtime.random(), backoff);
    logger.warn("tunnel down", {
      tunnel: name,
      reason: error.message,
      hint: error.hint,
      retryInMs: Math.round(waitMs),
    });
    this.#retry = runtime.clock.schedule(waitMs, () => void this.#dial());
    this.#options.onChange();
  }
}

/** A connection that ends before was of no use, and some failures before it still count. */
const PROVEN_AFTER_MS = 3000;
/** This many: the peer is there again, so the next wait is a second at most. */
const WELCOMED_FAILURES = 2;

const DEFAULT_DIAL_TIMEOUT_MS = 15_000;

const ENDED = new NetworkError("ERR_TUNNEL_LOST", "peer ended the connection");
