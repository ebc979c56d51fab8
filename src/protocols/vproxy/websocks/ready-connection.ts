import type { Timer } from "../../../clock/clock.ts";
import { NetworkError, type TunnelError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import { PONG } from "./marker.ts";

/** How one connection waits. */
export interface ReadyConnectionOptions {
  readonly runtime: Runtime;
  /** The wall clock, which goes on while the machine sleeps. */
  readonly unixMs: () => number;
  readonly keepaliveMs: number;
  readonly maxAgeMs: number;
  /** It is of no use any more: the other side ended it or said something; `undefined`: too old. */
  readonly onLost: (error: TunnelError | undefined) => void;
}

/** An upgraded connection that waits to be used, and says so from time to time. */
export class ReadyConnection {
  readonly bornAt: number;
  readonly #connection: Connection;
  readonly #options: ReadyConnectionOptions;
  #timer: Timer | undefined;
  #pongAt: number;
  #isOver = false;

  /** @param connection paused and without a handler */
  constructor(connection: Connection, options: ReadyConnectionOptions) {
    this.#connection = connection;
    this.#options = options;
    this.bornAt = options.runtime.clock.now();
    this.#pongAt = options.unixMs();
    const { peer } = connection.info;
    connection.attach({
      onData: () => this.#lose(`${peer}: spoke on a connection that waits`),
      onEnd: () => this.#lose(`${peer}: ended a connection that waited`),
      onDrain: () => {},
      onClose: (cause) => this.#lose(`${peer}: connection that waited is gone`, cause),
    });
    if (!this.#isOver) this.#keepAlive();
    if (!this.#isOver) connection.resume();
  }

  /**
   * The connection, to be used now; paused and without a handler.
   *
   * @returns `undefined` when it slept through its keep-alives together with the machine
   */
  take(): Connection | undefined {
    this.#over();
    const silentMs = this.#options.unixMs() - this.#pongAt;
    const isStale = silentMs > STALE_KEEPALIVES * this.#options.keepaliveMs;
    if (isStale) {
      this.#connection.close();
      return undefined;
    }
    this.#connection.detach();
    return this.#connection;
  }

  /** It is not needed any more. */
  close(): void {
    this.#over();
    this.#connection.close();
  }

  #keepAlive(): void {
    const { runtime, keepaliveMs, maxAgeMs, unixMs, onLost } = this.#options;
    this.#timer = runtime.clock.schedule(keepaliveMs, () => {
      if (runtime.clock.now() - this.bornAt >= maxAgeMs) {
        this.close();
        onLost(undefined);
        return;
      }
      this.#pongAt = unixMs();
      this.#connection.write([PONG.slice()]);
      this.#keepAlive();
    });
  }

  #lose(text: string, cause?: TunnelError): void {
    if (this.#isOver) return;
    this.#over();
    if (cause === undefined) this.#connection.close();
    this.#options.onLost(new NetworkError("ERR_TUNNEL_LOST", text, { cause, hint: cause?.hint }));
  }

  #over(): void {
    this.#isOver = true;
    this.#timer?.cancel();
  }
}

/** As many that did not leave make a connection one that nobody remembers. */
const STALE_KEEPALIVES = 3;
