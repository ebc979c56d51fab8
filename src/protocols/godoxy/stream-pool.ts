import type { Timer } from "../../clock/clock.ts";
import { ProtocolError, toTunnelError, type TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { GodoxyPoolOptions } from "./limits.ts";

/** What a pool needs. */
export interface StreamPoolOptions extends GodoxyPoolOptions {
  readonly runtime: Runtime;
  /** Opens one connection, paused and without a handler, in bounded time. */
  open(signal: AbortSignal): Promise<Connection>;
  /** One could not be opened, or was ended by the agent while it waited. */
  onFailure(error: TunnelError): void;
}

/**
 * Connections opened ahead of their use, so that a stream need not wait for TLS.
 *
 * Agents wait a bounded time for the header, so each is replaced before its time is up; when no
 * stream was opened for a while none are held, which costs the agent a handshake every few seconds.
 */
export class StreamPool {
  readonly #options: StreamPoolOptions;
  /** Oldest first. */
  readonly #ready = new Map<Connection, Timer>();
  readonly #closing = new AbortController();
  #opening = 0;
  #usedAt = Number.NEGATIVE_INFINITY;
  #failedAt = Number.NEGATIVE_INFINITY;

  constructor(options: StreamPoolOptions) {
    this.#options = options;
  }

  /** Connections that wait for a stream. */
  get size(): number {
    return this.#ready.size;
  }

  /** Opens what is missing: a stream was opened, or soon may be. */
  warm(): void {
    this.#usedAt = this.#options.runtime.clock.now();
    this.#refill();
  }

  /** A connection, paused and without a handler; `warm` opens another in its place. */
  take(): Connection | undefined {
    const [connection] = this.#ready.keys();
    if (connection === undefined) return undefined;
    this.#forget(connection);
    connection.detach();
    return connection;
  }

  /** Ends those that wait, and opens no more. */
  close(error: TunnelError): void {
    this.#closing.abort(error);
    for (const connection of this.#ready.keys()) {
      this.#forget(connection);
      connection.close();
    }
  }

  #refill(): void {
    const { size, warmMs, runtime } = this.#options;
    const now = runtime.clock.now();
    if (this.#closing.signal.aborted || now - this.#usedAt >= warmMs) return;
    if (now - this.#failedAt < PAUSE_MS) return;
    while (this.#ready.size + this.#opening < size) {
      this.#opening++;
      void this.#open().finally(() => this.#opening--);
    }
  }

  async #open(): Promise<void> {
    const { signal } = this.#closing;
    try {
      const connection = await this.#options.open(signal);
      if (signal.aborted) connection.close();
      else this.#add(connection);
    } catch (thrown) {
      if (!signal.aborted) this.#failed(toTunnelError(thrown, "ERR_TUNNEL_DOWN", "pool"));
    }
  }

  #add(connection: Connection): void {
    const { runtime, maxAgeMs } = this.#options;
    const lost = (error: TunnelError): void => {
      if (!this.#forget(connection)) return;
      connection.close();
      this.#failed(error);
    };
    const { peer } = connection.info;
    const early = (): void =>
      lost(new ProtocolError(`${peer} ended a connection before its header`));
    const timer = runtime.clock.schedule(maxAgeMs, () => {
      this.#forget(connection);
      connection.close();
      this.#refill();
    });
    this.#ready.set(connection, timer);
    connection.attach({
      onData: () => lost(new ProtocolError(`${peer} spoke before the header of a stream`)),
      onEnd: early,
      onDrain: () => {},
      onClose: (error) => (error === undefined ? early() : lost(error)),
    });
    connection.resume();
  }

  #forget(connection: Connection): boolean {
    this.#ready.get(connection)?.cancel();
    return this.#ready.delete(connection);
  }

  #failed(error: TunnelError): void {
    this.#failedAt = this.#options.runtime.clock.now();
    this.#options.onFailure(error);
  }
}

/** After a failure streams dial for themselves this long: they report what is wrong. */
const PAUSE_MS = 5_000;
