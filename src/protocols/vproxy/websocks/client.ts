import { formatTarget, type Target } from "../../../address/target.ts";
import { toTunnelError, TunnelError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import type { Logger } from "../../../tunnel/logger.ts";
import type { Metadata, StreamOpener } from "../../../tunnel/request.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import { connectThrough, encodeTarget, upgradeCarrier } from "./client-handshake.ts";
import { Pool, type Taken, type VproxyPoolOptions } from "./pool.ts";
import { WatchedConnection } from "./watched-connection.ts";

/** What a WebSocks client needs. */
export interface VproxyClientOptions {
  /** Its name in logs and routes. */
  readonly name: string;
  /** Where it goes, for status and errors: `vproxy+tls://host:443`, without credentials. */
  readonly description: string;
  /** Of the server as configured, for the Host header. */
  readonly host: string;
  readonly port: number;
  /** Makes a fresh byte channel to the server: TCP, TLS, or a stream of a KCP tunnel. */
  readonly openCarrier: (signal: AbortSignal) => Promise<Connection>;
  readonly user: string;
  readonly password: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** The wall clock: the Authorization depends on the minute. */
  readonly unixMs: () => number;
  readonly pool?: Partial<VproxyPoolOptions> | undefined;
  /** Waits for each answer before it says more, instead of one write. @default false */
  readonly isStrict?: boolean | undefined;
  /** How long the server may take to reach a target, ms. @default 30000 */
  readonly connectTimeoutMs?: number | undefined;
  /** Called whenever {@link VproxyClient.status} changed. */
  readonly onStatus?: ((status: VproxyClientStatus) => void) | undefined;
  /** The server said no for good: wrong user or password, and the clocks agree. */
  readonly onRefused?: ((error: TunnelError) => void) | undefined;
}

/** How a tunnel is doing. */
export interface VproxyClientStatus {
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  /** What it is, why it is down, what comes next. */
  readonly detail: string;
  /** How long the last carrier and upgrade took. */
  readonly latencyMs: number | undefined;
  /** Connections that wait or carry a stream. */
  readonly links: number;
  readonly streams: number;
}

/** The agent's side: opens one upgraded connection for each stream, most of them in advance. */
export class VproxyClient implements StreamOpener {
  readonly #options: VproxyClientOptions;
  readonly #pool: Pool;
  readonly #streams = new Set<Connection>();
  readonly #closing = new AbortController();
  #isClosed = false;

  constructor(options: VproxyClientOptions) {
    const { name, description, runtime, logger, pool } = options;
    this.#options = options;
    this.#pool = new Pool({
      name,
      description,
      runtime,
      logger,
      pool,
      unixMs: options.unixMs,
      upgrade: async (signal) => await this.#upgrade(signal),
      isFinal: ({ code }) => code === "ERR_REFUSED_FOR_GOOD",
      onChange: () => this.#report(),
      onFinal: (error) => options.onRefused?.(error),
    });
  }

  /** Fills the pool; without it the first `open` does. */
  start(): void {
    this.#pool.start();
  }

  /**
   * Opens a stream to the target through the server.
   *
   * @throws NetworkError `ERR_TUNNEL_DOWN` when no connection came up in time,
   *   `ERR_REFUSED_FOR_GOOD` when the server turned us down; StreamReset with the server's reason;
   *   `signal.reason` when aborted
   */
  async open(
    target: Target,
    { signal }: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection> {
    signal.throwIfAborted();
    encodeTarget(target); // what cannot be asked for costs no connection
    const either = AbortSignal.any([signal, this.#closing.signal]);
    const what = formatTarget(target);
    const takenAt = this.#options.runtime.clock.now();
    const first = await this.#pool.take(what, either);
    try {
      return await this.#connect(first, target, either);
    } catch (thrown) {
      if (!first.hasWaited || !isLost(thrown) || either.aborted) throw thrown;
    }
    // It died while it waited. Nothing but the question went over it, which can be asked again.
    this.#pool.doubt(takenAt);
    return await this.#connect(await this.#pool.take(what, either), target, either);
  }

  /** How it is doing now. */
  status(): VproxyClientStatus {
    const { description } = this.#options;
    const { size, isUp, isDialling, isResting, lastError, dialMs: latencyMs } = this.#pool;
    const streams = this.#streams.size;
    const base = { latencyMs, links: size + streams, streams };
    if (this.#isClosed) return { state: "closed", detail: "closed", ...base };
    if (isUp) return { state: "up", detail: description, ...base };
    // Down is what dials again by itself; without a pool nothing does.
    if (lastError !== undefined && !isResting) {
      return { state: "down", detail: lastError.message, ...base };
    }
    if (isDialling) return { state: "connecting", detail: description, ...base };
    const last = lastError === undefined ? "" : `; last time: ${lastError.message}`;
    return { state: "idle", detail: `dials when needed${last}`, ...base };
  }

  /** Opens nothing more, lets running streams finish for `graceMs`, then ends every connection. */
  async close(graceMs: number): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const error = new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    this.#closing.abort(error);
    this.#pool.close();
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    while (this.#streams.size > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    for (const stream of this.#streams) stream.reset(error);
    this.#report();
  }

  async #upgrade(signal: AbortSignal): Promise<Connection> {
    const { host, port, user, password, runtime, unixMs, openCarrier } = this.#options;
    const connection = await openCarrier(signal);
    await upgradeCarrier(connection, {
      host,
      port,
      user,
      password,
      unixMs,
      runtime,
      signal,
      timeoutMs: UPGRADE_TIMEOUT_MS,
    });
    return connection;
  }

  async #connect({ connection }: Taken, target: Target, signal: AbortSignal): Promise<Connection> {
    const { runtime, isStrict = false, connectTimeoutMs: timeoutMs } = this.#options;
    await connectThrough(connection, target, {
      runtime,
      isStrict,
      signal,
      timeoutMs: timeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
    });
    const stream: Connection = new WatchedConnection(connection, () => {
      this.#streams.delete(stream);
      this.#report();
    });
    this.#streams.add(stream);
    this.#report();
    return stream;
  }

  #report(): void {
    this.#options.onStatus?.(this.status());
  }
}

/** Whether a connection turned out dead, and not the target. */
function isLost(thrown: unknown): boolean {
  return toTunnelError(thrown, "ERR_MISUSE", "open").code === "ERR_TUNNEL_LOST";
}

/** The pool's own deadline comes first unless it was made longer. */
const UPGRADE_TIMEOUT_MS = 30_000;

/** As long as a server may try several addresses of a target. */
const DEFAULT_CONNECT_TIMEOUT_MS = 30_000;

/** How often a closing client looks whether the streams are done. */
const DRAIN_POLL_MS = 50;
