import type { IncomingMessage } from "node:http";
import type { Timer } from "../../clock/clock.ts";
import { NetworkError, PolicyError, type TunnelError } from "../../errors.ts";
import type { Connection, ConnectionInfo } from "../../tunnel/connection.ts";
import { type ConnectionDuplex, toDuplex } from "../../tunnel/duplex.ts";
import { OriginPool, type OriginPoolOptions } from "./origin-pool.ts";

/** Deadlines of a client connection and where its end is told. */
export interface HttpClientOptions extends Omit<OriginPoolOptions, "client" | "metadata"> {
  readonly inbound: string;
  /** From the first byte of a request's head to its last. */
  readonly headTimeoutMs: number;
  /** Between two requests. */
  readonly idleTimeoutMs: number;
  /** Between two pieces of a request's body, while we want more. */
  readonly bodyTimeoutMs: number;
  /** The first head has arrived, or never will. */
  onSettled(): void;
  /** The head did not come in time: answer, and hang up. */
  onHeadLate(error: TunnelError): void;
  /** Another deadline passed or a limit was reached; the connection is reset. */
  onMisbehaved(phase: string, error: TunnelError): void;
}

/** One connection of a client: its deadlines, and its connections to origins. */
export class HttpClient {
  readonly info: ConnectionInfo;
  /** What the HTTP server reads and writes. */
  readonly duplex: ConnectionDuplex;
  readonly #options: HttpClientOptions;
  readonly #pools = new Map<string | undefined, OriginPool>();
  readonly #requests = new Set<IncomingMessage>();
  #state: "head" | "idle" | "busy" | "left" = "head";
  #timer: Timer | undefined;
  #dataAt: number;

  constructor(connection: Connection, options: HttpClientOptions) {
    this.info = connection.info;
    this.#options = options;
    this.#dataAt = options.runtime.clock.now();
    // Node's server ends connections with `destroySoon` where there is one.
    const destroySoon = (): void => this.hangUp();
    this.duplex = Object.assign(toDuplex(connection), { destroySoon });
    this.duplex.on("data", this.#onData);
    this.duplex.on("error", () => {}); // the server or the exchange says what it means
    this.duplex.once("close", () => this.#leave());
    this.#arm(options.headTimeoutMs, () => this.#headLate());
  }

  /**
   * A request's head arrived. @returns false when there are too many at one time, and the
   * connection is reset
   */
  begin(request: IncomingMessage): boolean {
    if (this.#state === "left") return false;
    this.#state = "busy";
    this.#options.onSettled();
    this.#requests.add(request);
    this.#arm(this.#options.bodyTimeoutMs, () => this.#checkBodies());
    if (this.#requests.size <= MAX_PIPELINED) return true;
    const text = `more than ${MAX_PIPELINED} requests at one time`;
    this.#misbehaved("pipelining", new PolicyError("ERR_LIMIT", text));
    return false;
  }

  /** A response went out, or never will. */
  end(request: IncomingMessage): void {
    if (!this.#requests.delete(request) || this.#requests.size > 0) return;
    if (this.#state !== "busy") return;
    this.#state = "idle";
    this.#arm(this.#options.idleTimeoutMs, () => this.hangUp());
  }

  /** Whether a response is owed. */
  get isBusy(): boolean {
    return this.#requests.size > 0;
  }

  /** Connections to origins, never shared between users: routes may tell them apart. */
  originsFor(user: string | undefined): OriginPool {
    const known = this.#pools.get(user);
    if (known !== undefined) return known;
    const { inbound, runtime, onRequest } = this.#options;
    const metadata = { inbound, source: this.info.peer, user };
    const pool = new OriginPool({ runtime, onRequest, client: this.info, metadata });
    this.#pools.set(user, pool);
    return pool;
  }

  /** Gives the connection back to be tunnelled; nothing here touches it any more. */
  detach(): Connection {
    this.duplex.off("data", this.#onData);
    const connection = this.duplex.detach();
    this.#leave();
    return connection;
  }

  /** No deadlines from now on: what flows is not HTTP any more. */
  becomeTunnel(): void {
    this.#options.onSettled();
    this.#timer?.cancel();
    this.#state = "left";
    this.duplex.off("data", this.#onData);
  }

  /** Ends the connection behind all that was written, and `bytes`. */
  hangUp(bytes?: Uint8Array): void {
    const { duplex } = this;
    if (duplex.destroyed || duplex.writableEnded) return;
    duplex.once("finish", () => duplex.destroy());
    duplex.end(bytes);
    this.#arm(HANG_UP_MS, () => duplex.destroy());
  }

  readonly #onData = (): void => {
    this.#dataAt = this.#options.runtime.clock.now();
    if (this.#state !== "idle") return;
    this.#state = "head";
    this.#arm(this.#options.headTimeoutMs, () => this.#headLate());
  };

  #headLate(): void {
    const text = `request head not complete within ${this.#options.headTimeoutMs} ms`;
    this.#options.onHeadLate(new NetworkError("ERR_HANDSHAKE_TIMEOUT", text));
  }

  /** A body that stopped although we want more is late; one that waits for its origin is not. */
  #checkBodies(): void {
    const { bodyTimeoutMs, runtime } = this.#options;
    const quietMs = runtime.clock.now() - this.#dataAt;
    const isWaiting = [...this.#requests].some(({ complete }) => !complete);
    if (!isWaiting || this.duplex.isPaused()) {
      this.#arm(bodyTimeoutMs, () => this.#checkBodies());
    } else if (quietMs < bodyTimeoutMs) {
      this.#arm(bodyTimeoutMs - quietMs, () => this.#checkBodies());
    } else {
      const text = `no byte of the request body for ${bodyTimeoutMs} ms`;
      this.#misbehaved("request body", new NetworkError("ERR_IDLE_TIMEOUT", text));
    }
  }

  #misbehaved(phase: string, error: TunnelError): void {
    this.#state = "left";
    this.#options.onMisbehaved(phase, error);
    this.duplex.destroy(error);
  }

  #arm(delayMs: number, onDue: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#options.runtime.clock.schedule(delayMs, onDue);
  }

  #leave(): void {
    this.#state = "left";
    this.#timer?.cancel();
    this.#options.onSettled();
    for (const pool of this.#pools.values()) pool[Symbol.dispose]();
    this.#pools.clear();
  }
}

/** Far more than any client sends ahead; browsers send none. */
const MAX_PIPELINED = 64;

/** How long the last words may take to leave. */
const HANG_UP_MS = 5_000;
