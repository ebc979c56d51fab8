import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Clock, Timer } from "../../../clock/clock.ts";
import { NetworkError, PolicyError, type TunnelError } from "../../../errors.ts";

/** How long a client of the API may take over what. */
export interface ApiDeadlines {
  /** From the connection, or a request's first byte, to the end of its head, ms. @default 10000 */
  readonly headTimeoutMs?: number | undefined;
  /** Between two requests, ms. @default 120000 */
  readonly idleTimeoutMs?: number | undefined;
  /** Between two pieces of a request's body, while we want more, ms. @default 60000 */
  readonly bodyTimeoutMs?: number | undefined;
}

/** Where a connection's own end is told. */
export interface ApiConnectionOptions extends ApiDeadlines {
  readonly clock: Clock;
  /** A deadline passed or a limit was reached. */
  onMisbehaved(phase: string, error: TunnelError): void;
}

/** The deadlines of one client connection of the API. */
export class ApiConnection {
  readonly duplex: Duplex;
  readonly #options: ApiConnectionOptions;
  readonly #requests = new Set<IncomingMessage>();
  #state: "head" | "idle" | "busy" | "left" = "head";
  #timer: Timer | undefined;
  #dataAt: number;

  /** @param duplex whose HTTP server listens already: Node reads past anybody who came before it */
  constructor(duplex: Duplex, options: ApiConnectionOptions) {
    this.duplex = duplex;
    this.#options = options;
    this.#dataAt = options.clock.now();
    duplex.on("data", this.#onData);
    duplex.once("close", () => this.becomeTunnel());
    this.#arm(this.#headMs, () => this.#headLate());
  }

  /** A request's head arrived. @returns false when there are too many at one time */
  begin(request: IncomingMessage): boolean {
    if (this.#state === "left") return false;
    this.#state = "busy";
    this.#requests.add(request);
    this.#arm(this.#bodyMs, () => this.#checkBodies());
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
    const { idleTimeoutMs = 120_000 } = this.#options;
    this.#arm(idleTimeoutMs, () => this.retire());
  }

  /** Whether a response is owed. */
  get isBusy(): boolean {
    return this.#requests.size > 0;
  }

  /** Ends the connection in order; one that does not take it is destroyed. */
  retire(): void {
    const { duplex } = this;
    if (duplex.destroyed) return;
    if (!duplex.writableEnded) duplex.end(() => duplex.destroy());
    this.#arm(HANG_UP_MS, () => duplex.destroy());
  }

  /** No deadlines from now on: what flows is not HTTP any more. */
  becomeTunnel(): void {
    this.#timer?.cancel();
    this.#state = "left";
    this.duplex.off("data", this.#onData);
  }

  get #headMs(): number {
    return this.#options.headTimeoutMs ?? 10_000;
  }

  get #bodyMs(): number {
    return this.#options.bodyTimeoutMs ?? 60_000;
  }

  readonly #onData = (): void => {
    this.#dataAt = this.#options.clock.now();
    if (this.#state !== "idle") return;
    this.#state = "head";
    this.#arm(this.#headMs, () => this.#headLate());
  };

  #headLate(): void {
    const text = `request head not complete within ${this.#headMs} ms`;
    this.#misbehaved("request head", new NetworkError("ERR_HANDSHAKE_TIMEOUT", text));
  }

  /** A body that stopped although we want more is late; one that waits for its origin is not. */
  #checkBodies(): void {
    const quietMs = this.#options.clock.now() - this.#dataAt;
    const isWaiting = [...this.#requests].some(
      (request) => !request.complete && !request.isPaused() && hasBody(request),
    );
    if (!isWaiting) this.#arm(this.#bodyMs, () => this.#checkBodies());
    else if (quietMs < this.#bodyMs) this.#arm(this.#bodyMs - quietMs, () => this.#checkBodies());
    else {
      const text = `no byte of the request body for ${this.#bodyMs} ms`;
      this.#misbehaved("request body", new NetworkError("ERR_IDLE_TIMEOUT", text));
    }
  }

  #misbehaved(phase: string, error: TunnelError): void {
    this.#state = "left";
    this.#timer?.cancel();
    this.#options.onMisbehaved(phase, error);
    this.duplex.destroy();
  }

  #arm(delayMs: number, onDue: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.schedule(delayMs, onDue);
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return "content-length" in headers || "transfer-encoding" in headers;
}

/** Far more than any client sends ahead. */
const MAX_PIPELINED = 64;

/** How long the last words may take to leave. */
const HANG_UP_MS = 5_000;
