import { PolicyError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { Logger } from "./logger.ts";
import type { Runtime } from "./runtime.ts";

/** Bounds of {@link HandshakeSlots}. */
export interface HandshakeSlotsOptions {
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** @default 4096 */
  readonly limit?: number | undefined;
}

/**
 * The handshakes in progress of one inbound, bounded.
 *
 * Past the limit the oldest one is ended: clients that mean it need milliseconds, so a flood of
 * half-open connections pushes out itself.
 */
export class HandshakeSlots {
  readonly #options: HandshakeSlotsOptions;
  /** Oldest first. */
  readonly #connections = new Set<Connection>();
  /** Ended since the last line about it, and when that was. */
  #unlogged = 0;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: HandshakeSlotsOptions) {
    this.#options = options;
  }

  /** Handshakes in progress now. */
  get size(): number {
    return this.#connections.size;
  }

  /** Whether the handshake of this connection is in progress and was not ended here. */
  has(connection: Connection): boolean {
    return this.#connections.has(connection);
  }

  /** A handshake begins; its connection may be reset (`ERR_LIMIT`) until it leaves. */
  enter(connection: Connection): void {
    this.#connections.add(connection);
    const { limit = DEFAULT_MAX_HANDSHAKES } = this.#options;
    const [oldest] = this.#connections;
    if (this.#connections.size <= limit || oldest === undefined) return;
    this.#connections.delete(oldest);
    oldest.reset(new PolicyError("ERR_LIMIT", `more than ${limit} handshakes in progress`));
    this.#log(oldest.info.peer, limit);
  }

  /** The handshake is over, one way or the other. */
  leave(connection: Connection): void {
    this.#connections.delete(connection);
  }

  /** A flood of connections must not become a flood of lines. */
  #log(peer: string, limit: number): void {
    this.#unlogged++;
    const now = this.#options.runtime.clock.now();
    if (now - this.#loggedAt < LINE_MS) return;
    this.#options.logger.warn("oldest handshakes ended, too many in progress", {
      handshakes: this.#unlogged,
      limit,
      peer,
      phase: "handshake",
    });
    this.#unlogged = 0;
    this.#loggedAt = now;
  }
}

/** Ten seconds' worth of handshakes at hundreds of connections a second. */
const DEFAULT_MAX_HANDSHAKES = 4_096;

/** At most one line a second. */
const LINE_MS = 1_000;
