import { timeoutAfter, type Timer } from "../../../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../../errors.ts";
import { type BackoffLimits, backoffMs, DEFAULT_BACKOFF } from "../../../tunnel/backoff.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import type { Logger } from "../../../tunnel/logger.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import { ReadyConnection } from "./ready-connection.ts";

/** How a client keeps connections ready. */
export interface VproxyPoolOptions {
  /** Connections kept upgraded; 0 upgrades one for each stream. @default 4 */
  readonly size: number;
  /** How long `take` waits for a connection, ms. @default 5000 */
  readonly waitMs: number;
  /** How long the carrier and the upgrade may take together, ms. @default 10000 */
  readonly dialTimeoutMs: number;
  /** Upgrades at one time while streams wait. @default 64 */
  readonly maxDialling: number;
  /** How often a waiting connection sends a PONG, ms. @default 15000 */
  readonly keepaliveMs: number;
  /** An older waiting connection is replaced, ms. @default 3600000 */
  readonly maxAgeMs: number;
  readonly backoff: BackoffLimits;
}

/** What a pool needs. */
export interface PoolOptions {
  /** The tunnel's name, and where it goes, for logs and errors. */
  readonly name: string;
  readonly description: string;
  /** Makes an upgraded connection, paused. */
  readonly upgrade: (signal: AbortSignal) => Promise<Connection>;
  /** Whether trying again is of no use. */
  readonly isFinal: (error: TunnelError) => boolean;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly unixMs: () => number;
  readonly pool?: Partial<VproxyPoolOptions> | undefined;
  /** Something changed. */
  onChange(): void;
  /** The server said no for good. */
  onFinal(error: TunnelError): void;
}

/** A connection to use up. */
export interface Taken {
  /** Upgraded, paused and without a handler. */
  readonly connection: Connection;
  /** Whether it waited in the pool: it may be dead without anybody having noticed. */
  readonly hasWaited: boolean;
}

/**
 * Upgraded connections: some that wait, more as they are asked for. What fails is tried again with
 * full-jitter delays, until it is closed or refused for good.
 */
export class Pool {
  readonly #options: PoolOptions;
  readonly #limits: VproxyPoolOptions;
  /** Oldest first. */
  readonly #ready = new Set<ReadyConnection>();
  readonly #waiting = new Set<Waiter>();
  readonly #closing = new AbortController();
  #dialling = 0;
  #failures = 0;
  #retry: Timer | undefined;
  #isUp = false;
  #lastError: TunnelError | undefined;
  #refusal: TunnelError | undefined;
  #dialMs: number | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULTS, ...options.pool };
  }

  /** Connections that wait. */
  get size(): number {
    return this.#ready.size;
  }

  /** Whether the last upgrade succeeded. */
  get isUp(): boolean {
    return this.#isUp;
  }

  get isDialling(): boolean {
    return this.#dialling > 0;
  }

  /** Whether it does nothing until it is asked for a connection. */
  get isResting(): boolean {
    const isIdle = this.#dialling === 0 && this.#retry === undefined && this.#waiting.size === 0;
    return isIdle && !this.#isOver;
  }

  /** Why the last upgrade failed. */
  get lastError(): TunnelError | undefined {
    return this.#refusal ?? this.#lastError;
  }

  /** How long the last carrier and upgrade took, ms. */
  get dialMs(): number | undefined {
    return this.#dialMs;
  }

  /** Fills itself. */
  start(): void {
    this.#replenish();
  }

  /**
   * A connection to use up: one that waits, or the next one upgraded.
   *
   * @param what it is for, in errors
   * @throws NetworkError `ERR_TUNNEL_DOWN` when there is none in time; `ERR_REFUSED_FOR_GOOD`;
   *   `signal.reason` when aborted
   */
  take(what: string, signal: AbortSignal): Promise<Taken> {
    const connection = this.#takeReady();
    if (connection !== undefined) {
      this.#replenish();
      return Promise.resolve({ connection, hasWaited: true });
    }
    return this.#takeNext(what, signal);
  }

  /** One that waited was dead when it was taken at `takenAt`: so may be those that waited with it. */
  doubt(takenAt: number): void {
    for (const ready of this.#ready) if (ready.bornAt < takenAt) this.#drop(ready);
    this.#options.onChange();
  }

  /** Upgrades no more, and ends what waits. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    const error = new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    this.#closing.abort(error);
    this.#stop(error);
  }

  #takeReady(): Connection | undefined {
    const { clock } = this.#options.runtime;
    // The youngest is the least likely to have died unnoticed.
    for (const ready of Array.from(this.#ready).toReversed()) {
      this.#ready.delete(ready);
      if (clock.now() - ready.bornAt >= PROVEN_AFTER_MS) this.#failures = 0;
      const connection = ready.take();
      if (connection !== undefined) return connection;
    }
    return undefined;
  }

  #takeNext(what: string, signal: AbortSignal): Promise<Taken> {
    const { name, runtime } = this.#options;
    const { waitMs } = this.#limits;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#waiting.delete(waiter);
        timer.cancel();
        signal.removeEventListener("abort", onAbort);
        act();
      };
      const waiter: Waiter = {
        take: (connection) => settle(() => resolve({ connection, hasWaited: false })),
        fail: (error) => settle(() => reject(error)),
      };
      const onAbort = (): void => waiter.fail(toTunnelError(signal.reason, "ERR_ABORTED", "open"));
      const timer = runtime.clock.schedule(waitMs, () => {
        const cause = this.#lastError;
        const why = cause?.message ?? "it is being dialled";
        const text = `${name}: no connection for ${what} within ${waitMs} ms: ${why}`;
        waiter.fail(new NetworkError("ERR_TUNNEL_DOWN", text, { cause, hint: cause?.hint }));
      });
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(waiter);
      if (signal.aborted) onAbort();
      else if (this.#refusal !== undefined) waiter.fail(this.#refusal);
      else if (this.#isOver) waiter.fail(new TunnelError("ERR_SHUTDOWN", "tunnel is closing"));
      else this.#replenish();
    });
  }

  get #isOver(): boolean {
    return this.#closing.signal.aborted || this.#refusal !== undefined;
  }

  // ---- upgrading ----

  /** One at a time while nobody waits, and while the server is away; else one for each who waits. */
  #replenish(): void {
    if (this.#isOver) return;
    const waiting = this.#waiting.size;
    if (this.#retry !== undefined) {
      // A pause after a loss is for the pool's own sake; who waits shall not wait for that.
      if (this.#lastError !== undefined || waiting === 0) return;
      this.#retry.cancel();
      this.#retry = undefined;
    }
    const isPoolShort = this.#ready.size < this.#limits.size;
    const wanted = waiting > 0 ? waiting : Number(isPoolShort);
    const most = this.#lastError === undefined ? this.#limits.maxDialling : 1;
    while (this.#dialling < Math.min(wanted, most)) void this.#dial();
  }

  async #dial(): Promise<void> {
    const { description, runtime, upgrade } = this.#options;
    const { dialTimeoutMs } = this.#limits;
    this.#dialling++;
    this.#options.onChange();
    const startedAt = runtime.clock.now();
    using deadline = timeoutAfter(runtime.clock, dialTimeoutMs, () => {
      const text = `${description}: not up within ${dialTimeoutMs} ms`;
      return new NetworkError("ERR_DIAL_TIMEOUT", text);
    });
    let connection: Connection | undefined;
    let error: TunnelError | undefined;
    try {
      connection = await upgrade(AbortSignal.any([deadline.signal, this.#closing.signal]));
    } catch (thrown) {
      error = toTunnelError(thrown, "ERR_TUNNEL_DOWN", description);
    }
    this.#dialling--;
    if (connection !== undefined) this.#upgraded(connection, runtime.clock.now() - startedAt);
    else if (error !== undefined && !this.#isOver) this.#failed(error);
    this.#replenish();
    this.#options.onChange();
  }

  #upgraded(connection: Connection, dialMs: number): void {
    const { logger, name } = this.#options;
    if (this.#isOver) {
      connection.close();
      return;
    }
    this.#dialMs = dialMs;
    this.#lastError = undefined;
    this.#retry?.cancel();
    this.#retry = undefined;
    if (!this.#isUp) logger.info("tunnel up", { tunnel: name, peer: connection.info.peer });
    this.#isUp = true;
    const [waiter] = this.#waiting;
    if (waiter !== undefined) {
      this.#failures = 0;
      waiter.take(connection);
    } else if (this.#ready.size < this.#limits.size) {
      this.#keep(connection);
    } else {
      connection.close();
    }
  }

  #keep(connection: Connection): void {
    const { runtime, unixMs } = this.#options;
    const { keepaliveMs, maxAgeMs } = this.#limits;
    // What ended behind the 101 is lost before it is kept.
    let early: { readonly error: TunnelError | undefined } | undefined;
    let onLost = (error: TunnelError | undefined): void => void (early = { error });
    const ready = new ReadyConnection(connection, {
      runtime,
      unixMs,
      keepaliveMs,
      maxAgeMs,
      onLost: (error) => onLost(error),
    });
    onLost = (error) => this.#lost(ready, error);
    if (early === undefined) this.#ready.add(ready);
    else onLost(early.error);
  }

  // ---- losing ----

  #lost(ready: ReadyConnection, error: TunnelError | undefined): void {
    const { runtime, logger, name } = this.#options;
    this.#ready.delete(ready);
    if (this.#isOver) return;
    const livedMs = runtime.clock.now() - ready.bornAt;
    if (error !== undefined) {
      logger.debug("connection that waited is gone", { tunnel: name, reason: error.message });
      // One that lasted was of use; one that did not must not be followed by the next at once.
      if (livedMs < PROVEN_AFTER_MS) this.#failed(error);
      else this.#pause();
    }
    this.#replenish();
    this.#options.onChange();
  }

  /** Of many clients that lost one server, not all shall come back in the same moment. */
  #pause(): void {
    const { runtime } = this.#options;
    this.#failures = 0;
    this.#schedule(backoffMs(0, runtime.random(), this.#limits.backoff));
  }

  #failed(error: TunnelError): void {
    const { runtime, logger, name, isFinal } = this.#options;
    const isRepeated = this.#retry !== undefined && this.#lastError !== undefined;
    this.#lastError = error;
    this.#isUp = false;
    if (isFinal(error)) {
      this.#refusal = error;
      logger.error("tunnel refused for good", {
        tunnel: name,
        reason: error.message,
        hint: error.hint,
      });
      this.#stop(error);
      this.#options.onFinal(error);
      return;
    }
    // Upgrades that fail together count as one.
    if (isRepeated) return;
    const waitMs = backoffMs(this.#failures++, runtime.random(), this.#limits.backoff);
    logger.warn("tunnel down", {
      tunnel: name,
      reason: error.message,
      hint: error.hint,
      retryInMs: Math.round(waitMs),
    });
    this.#schedule(waitMs);
  }

  #schedule(waitMs: number): void {
    this.#retry?.cancel();
    this.#retry = this.#options.runtime.clock.schedule(waitMs, () => {
      this.#retry = undefined;
      this.#replenish();
      this.#options.onChange();
    });
  }

  #stop(error: TunnelError): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    for (const waiter of this.#waiting) waiter.fail(error);
    for (const ready of this.#ready) this.#drop(ready);
    this.#options.onChange();
  }

  #drop(ready: ReadyConnection): void {
    this.#ready.delete(ready);
    ready.close();
  }
}

interface Waiter {
  take(connection: Connection): void;
  fail(error: TunnelError): void;
}

const DEFAULTS: VproxyPoolOptions = {
  size: 4,
  waitMs: 5_000,
  dialTimeoutMs: 10_000,
  maxDialling: 64,
  keepaliveMs: 15_000,
  maxAgeMs: 3_600_000,
  backoff: DEFAULT_BACKOFF,
};

/** A waiting connection that is lost before was of no use. */
const PROVEN_AFTER_MS = 3_000;
