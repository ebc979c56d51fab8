import { formatTarget, type Target } from "../../address/target.ts";
import { timeoutAfter, type Timer } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import { type BackoffLimits, backoffMs, DEFAULT_BACKOFF } from "../../tunnel/backoff.ts";
import type { Connection, Dialer } from "../../tunnel/connection.ts";
import type { Logger } from "../../tunnel/logger.ts";
import { MuxDriver } from "../../tunnel/mux-driver.ts";
import type { Metadata, StreamOpener } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { SlowReaderPolicy } from "../../tunnel/slow-readers.ts";
import type { PongOptions } from "./options.ts";
import { type PoolLink, refusalOf } from "./pool-link.ts";
import { PongSession } from "./session.ts";

/** How a local keeps its connections. */
export interface PongPoolOptions {
  /** Streams on one connection before the next is dialled. @default 100 */
  readonly maxStreams: number;
  /** Connections at one time. @default 256 */
  readonly maxLinks: number;
  /** Connections kept although idle; 0 dials on demand only. @default 1 */
  readonly spare: number;
  /** A connection without streams beyond the spare ones is closed after this, ms; 0: never. @default 60000 */
  readonly idleMs: number;
  /** An older connection takes no new streams, ms. @default 3600000 */
  readonly maxAgeMs: number;
  /** How long `open` waits for a connection, ms. @default 5000 */
  readonly waitMs: number;
  /** How long one dial may take: name, connect, TLS, upgrade, ms. @default 10000 */
  readonly dialTimeoutMs: number;
  readonly backoff: BackoffLimits;
}

/** What a pong local needs. */
export interface PongClientOptions {
  /** Its name in logs and routes. */
  readonly name: string;
  readonly dialer: Dialer;
  /** The 16 raw bytes of our UUID. */
  readonly clientId: Uint8Array;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly session?: Partial<PongOptions> | undefined;
  readonly pool?: Partial<PongPoolOptions> | undefined;
  readonly slowReaders?: Partial<SlowReaderPolicy> | undefined;
  /** Called whenever {@link PongClient.status} changed. */
  readonly onStatus?: ((status: PongClientStatus) => void) | undefined;
}

/** How a tunnel is doing. */
export interface PongClientStatus {
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  /** What it is, why it is down, what comes next. */
  readonly detail: string;
  /** The latest round trip to the peer, if the peer answers pings; else the time of the last dial. */
  readonly latencyMs: number | undefined;
  readonly links: number;
  readonly streams: number;
}

/** The local: opens streams through a pool of connections that dials itself again. */
export class PongClient implements StreamOpener {
  readonly #options: PongClientOptions;
  readonly #pool: PongPoolOptions;
  readonly #links = new Set<PoolLink>();
  readonly #waiting = new Set<Waiter>();
  readonly #closing = new AbortController();
  #isDialling = false;
  #failures = 0;
  #retry: Timer | undefined;
  #lastError: TunnelError | undefined;
  #dialMs: number | undefined;
  #isClosed = false;

  constructor(options: PongClientOptions) {
    this.#options = options;
    this.#pool = { ...DEFAULT_POOL, ...options.pool };
  }

  /** Dials the spare connections; without it the first `open` dials. */
  start(): void {
    this.#replenish();
  }

  /**
   * Opens a stream to the target through the remote.
   *
   * @throws NetworkError `ERR_TUNNEL_DOWN` when no connection came up in time, `ERR_AUTH` when the
   *   peer turned it down; StreamReset with the remote's reason; `signal.reason` when aborted
   */
  async open(
    target: Target,
    { signal }: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection> {
    signal.throwIfAborted();
    if (this.#isClosed) throw new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    const link = this.#freeLink();
    if (link !== undefined) return await this.#openOn(link, target, signal);
    return await this.#openWhenUp(target, signal);
  }

  status(): PongClientStatus {
    let streams = 0;
    let rttMs: number | undefined;
    for (const link of this.#links) {
      streams += link.driver.streamCount;
      rttMs = link.session.rttMs ?? rttMs;
    }
    const base = { latencyMs: rttMs ?? this.#dialMs, links: this.#links.size, streams };
    const { description } = this.#options.dialer;
    if (this.#isClosed) return { state: "closed", detail: "closed", ...base };
    if (this.#links.size > 0) return { state: "up", detail: description, ...base };
    const reason = this.#lastError?.message;
    if (this.#isDialling && reason === undefined) {
      return { state: "connecting", detail: description, ...base };
    }
    // Down is what dials again by itself; without spare connections nothing does.
    const isResting = !this.#isDialling && this.#retry === undefined && this.#waiting.size === 0;
    if (reason === undefined || isResting) {
      const last = reason === undefined ? "" : `; last time: ${reason}`;
      return { state: "idle", detail: `dials when needed${last}`, ...base };
    }
    return { state: "down", detail: reason, ...base };
  }

  /** Opens nothing more, lets running streams finish for `graceMs`, then ends every connection. */
  async close(graceMs: number): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#retry?.cancel();
    const error = new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    this.#closing.abort(error);
    for (const waiter of this.#waiting) waiter.fail(error);
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    const isBusy = (): boolean => [...this.#links].some(({ driver }) => driver.streamCount > 0);
    while (isBusy() && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    for (const link of this.#links) link.driver.close();
    this.#report();
  }

  // ---- choosing ----

  /** The connection with the fewest streams that takes one more. */
  #freeLink(): PoolLink | undefined {
    let best: PoolLink | undefined;
    for (const link of this.#links) {
      if (!this.#isUsable(link)) continue;
      if (best === undefined || link.driver.streamCount < best.driver.streamCount) best = link;
    }
    return best;
  }

  #isUsable({ driver, bornAt }: PoolLink): boolean {
    const age = this.#options.runtime.clock.now() - bornAt;
    return driver.isOpen && driver.streamCount < this.#pool.maxStreams && age < this.#pool.maxAgeMs;
  }

  #openWhenUp(target: Target, signal: AbortSignal): Promise<Connection> {
    const { name, runtime } = this.#options;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#waiting.delete(waiter);
        timer.cancel();
        signal.removeEventListener("abort", onAbort);
        act();
      };
      const waiter: Waiter = {
        take: (link) => settle(() => resolve(this.#openOn(link, target, signal))),
        fail: (error) => settle(() => reject(error)),
      };
      const onAbort = (): void => {
        waiter.fail(toTunnelError(signal.reason, "ERR_ABORTED", "open"));
      };
      const timer = runtime.clock.schedule(this.#pool.waitMs, () => {
        const why = this.#lastError?.message ?? "all connections are full";
        const text = `${name}: no connection for ${formatTarget(target)} within ${this.#pool.waitMs} ms: ${why}`;
        const hint = this.#lastError?.hint;
        waiter.fail(new NetworkError("ERR_TUNNEL_DOWN", text, { cause: this.#lastError, hint }));
      });
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(waiter);
      this.#replenish();
    });
  }

  /** When the peer turned our connection down, that says more than that the link was lost. */
  async #openOn(link: PoolLink, target: Target, signal: AbortSignal): Promise<Connection> {
    try {
      return await link.driver.open(target, signal);
    } catch (thrown) {
      throw link.refusal ?? thrown;
    }
  }

  #serveWaiting(): void {
    for (const waiter of this.#waiting) {
      const link = this.#freeLink();
      if (link === undefined) break;
      waiter.take(link);
    }
    if (this.#waiting.size > 0) this.#replenish();
  }

  // ---- dialling ----

  /** Dials when streams wait, or when fewer connections than the spare ones are usable. One at a time. */
  #replenish(): void {
    if (this.#isClosed || this.#isDialling || this.#retry !== undefined) return;
    const usable = [...this.#links].filter((link) => this.#isUsable(link)).length;
    if (this.#waiting.size === 0 && usable >= this.#pool.spare) return;
    if (this.#links.size >= this.#pool.maxLinks) return;
    this.#isDialling = true;
    this.#report();
    void this.#dial().finally(() => {
      this.#isDialling = false;
      this.#serveWaiting();
      this.#report();
      if (this.#lastError === undefined) this.#replenish();
    });
  }

  async #dial(): Promise<void> {
    const { dialer, runtime } = this.#options;
    const { dialTimeoutMs } = this.#pool;
    const startedAt = runtime.clock.now();
    using deadline = timeoutAfter(runtime.clock, dialTimeoutMs, () => {
      const text = `${dialer.description}: not connected within ${dialTimeoutMs} ms`;
      return new NetworkError("ERR_DIAL_TIMEOUT", text);
    });
    const signal = AbortSignal.any([deadline.signal, this.#closing.signal]);
    try {
      const connection = await dialer.dial({ signal });
      this.#dialMs = runtime.clock.now() - startedAt;
      if (this.#isClosed) connection.close();
      else this.#addLink(connection);
    } catch (thrown) {
      if (!this.#isClosed) this.#failed(toTunnelError(thrown, "ERR_TUNNEL_DOWN", "dial"));
    }
  }

  #addLink(connection: Connection): void {
    const { runtime, clientId, session: options, slowReaders, logger, name } = this.#options;
    const session = new PongSession({ side: "local", clientId }, options);
    const now = runtime.clock.now();
    const driver: MuxDriver = new MuxDriver({
      connection,
      session,
      runtime,
      system: "pong",
      slowReaders,
      onReady: (description) => {
        logger.debug("peer known", { tunnel: name, peerKind: description });
        this.#report();
      },
      onStreamClosed: () => {
        this.#scheduleIdle(link);
        if (this.#waiting.size > 0) this.#serveWaiting();
      },
      onClose: (error) => this.#linkClosed(link, error),
    });
    const link: PoolLink = {
      driver,
      session,
      bornAt: now,
      proof: runtime.clock.schedule(PROVEN_AFTER_MS, () => (this.#failures = 0)),
      idle: undefined,
      isRetired: false,
      refusal: undefined,
    };
    this.#links.add(link);
    this.#lastError = undefined;
    logger.info("tunnel up", { tunnel: name, peer: connection.info.peer, links: this.#links.size });
    driver.start(session.start(now));
    this.#scheduleIdle(link);
  }

  #linkClosed(link: PoolLink, error: TunnelError | undefined): void {
    link.proof.cancel();
    link.idle?.cancel();
    this.#links.delete(link);
    if (this.#isClosed) return;
    const { runtime, logger, name } = this.#options;
    const livedMs = Math.round(runtime.clock.now() - link.bornAt);
    if (livedMs < PROVEN_AFTER_MS && !link.isRetired) {
      // Whatever the peer said before: to dial again at once would hammer it.
      link.refusal = refusalOf(link.session, livedMs, error);
      this.#failed(link.refusal);
      return;
    }
    const reason = link.isRetired ? "no longer needed" : (error?.message ?? "peer ended it");
    logger[error === undefined ? "info" : "warn"]("tunnel connection ended", {
      tunnel: name,
      reason,
      links: this.#links.size,
    });
    this.#report();
    // Both reference ends close idle connections: no reason to dial again before somebody asks.
    if (error !== undefined || link.session.peerKind === "sluice" || this.#waiting.size > 0) {
      this.#replenish();
    }
  }

  #failed(error: TunnelError): void {
    const { runtime, logger, name } = this.#options;
    this.#lastError = error;
    const attempt = this.#failures++;
    const waitMs = backoffMs(attempt, runtime.random(), this.#pool.backoff);
    logger.warn("tunnel down", {
      tunnel: name,
      reason: error.message,
      hint: error.hint,
      retryInMs: Math.round(waitMs),
    });
    this.#report();
    this.#retry?.cancel();
    this.#retry = runtime.clock.schedule(waitMs, () => {
      this.#retry = undefined;
      this.#replenish();
      this.#report();
    });
  }

  // ---- ageing ----

  /** A link without streams ends when it is idle for too long, and when it is too old. */
  #scheduleIdle(link: PoolLink): void {
    link.idle?.cancel();
    link.idle = undefined;
    if (link.driver.streamCount > 0 || !this.#links.has(link)) return;
    const { clock } = this.#options.runtime;
    const { idleMs, maxAgeMs } = this.#pool;
    const ageLeftMs = Math.max(0, link.bornAt + maxAgeMs - clock.now());
    const waitMs = idleMs === 0 ? ageLeftMs : Math.min(idleMs, ageLeftMs);
    link.idle = clock.schedule(waitMs, () => this.#retire(link));
  }

  #retire(link: PoolLink): void {
    link.idle = undefined;
    if (link.driver.streamCount > 0) return;
    const isSpent = !this.#isUsable(link);
    const usable = Array.from(this.#links).filter((other) => this.#isUsable(other)).length;
    const isSurplus = this.#pool.idleMs > 0 && usable > this.#pool.spare;
    if (isSpent || isSurplus) {
      link.isRetired = true;
      link.driver.close();
    } else {
      this.#scheduleIdle(link);
    }
    this.#replenish();
  }

  #report(): void {
    this.#options.onStatus?.(this.status());
  }
}

interface Waiter {
  take(link: PoolLink): void;
  fail(error: TunnelError): void;
}

const DEFAULT_POOL: PongPoolOptions = {
  maxStreams: 100,
  maxLinks: 256,
  spare: 1,
  idleMs: 60_000,
  maxAgeMs: 3_600_000,
  waitMs: 5000,
  dialTimeoutMs: 10_000,
  backoff: DEFAULT_BACKOFF,
};

/** A connection that ends before was of no use, and the next one is not dialled at once. */
const PROVEN_AFTER_MS = 3000;

/** How often a closing client looks whether the streams are done. */
const DRAIN_POLL_MS = 50;
