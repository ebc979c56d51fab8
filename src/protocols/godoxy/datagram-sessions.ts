import { formatTarget, type Target } from "../../address/target.ts";
import { PolicyError, toTunnelError, type TunnelError } from "../../errors.ts";
import type { ConnectionInfo } from "../../tunnel/connection.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { Packet, PacketChannel, PacketHandler } from "../../tunnel/packets.ts";
import type { Metadata } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { SaidOnce } from "../../tunnel/said-once.ts";
import type { GodoxyClientLimits } from "./limits.ts";
import type { OpenDtls } from "./probe.ts";
import { type SessionEnd, TargetSession } from "./target-session.ts";

/** What an association needs. */
export interface DatagramSessionsOptions {
  /** The tunnel's name and where it goes. */
  readonly name: string;
  readonly description: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly limits: GodoxyClientLimits;
  readonly openDtls: OpenDtls;
  readonly metadata: Metadata;
  /** Sessions of all associations. */
  readonly budget: SessionBudget;
  /** A session could not be opened, or was lost. */
  onFailure(error: TunnelError): void;
  /** Exactly once. */
  onClosed(): void;
}

/** Sessions of all associations of a client. */
export interface SessionBudget {
  used: number;
}

/**
 * One association over many sessions: the wire knows one target per session, so each target gets
 * its own, when its first datagram comes, and a new one when it was lost and more comes.
 */
export class DatagramSessions implements PacketChannel {
  readonly info: ConnectionInfo;
  readonly #options: DatagramSessionsOptions;
  readonly #sessions = new Map<string, TargetSession>();
  /** When a target whose session failed may have a new one. */
  readonly #retryAt = new Map<string, number>();
  readonly #said = new SaidOnce();
  #handler: PacketHandler | undefined;
  #dropped = 0;
  #isClosed = false;
  #error: TunnelError | undefined;

  constructor(options: DatagramSessionsOptions) {
    this.#options = options;
    const { name: local, description: peer } = options;
    this.info = { transport: "godoxy", local, peer };
  }

  /** Sessions that live now. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Datagrams that never left. */
  get dropped(): number {
    return this.#dropped;
  }

  attach(handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#isClosed) queueMicrotask(() => this.#report());
  }

  send({ host, port, data }: Packet): void {
    if (this.#isClosed) return;
    const key = `${host} ${port}`;
    const current = this.#sessions.get(key);
    if (current?.isUnanswered === true) current.close(); // the agent may know nothing of it any more
    const session = this.#sessions.get(key) ?? this.#open(key, { network: "udp", host, port });
    if (session === undefined) this.#dropped++;
    else session.send(data);
  }

  close(error?: TunnelError): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#error = error;
    for (const session of this.#sessions.values()) session.close();
    this.#options.onClosed();
    this.#report();
  }

  #open(key: string, target: Target): TargetSession | undefined {
    const { runtime, limits, openDtls, budget } = this.#options;
    const { clock } = runtime;
    if (clock.now() < (this.#retryAt.get(key) ?? Number.NEGATIVE_INFINITY)) return undefined;
    this.#retryAt.delete(key);
    try {
      this.#makeRoom();
      const session: TargetSession = new TargetSession({
        target,
        clock,
        limits,
        openDtls,
        onDatagram: (data) => {
          this.#handler?.onPacket({ host: target.host, port: target.port, data });
        },
        onTooLong: (bytes, limit) => this.#logTooLong(target, bytes, limit),
        onClosed: (end) => this.#ended(key, target, end),
      });
      this.#sessions.set(key, session);
      budget.used++;
      session.start();
      return session;
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_LIMIT", "udp session");
      this.#sessions.get(key)?.close();
      this.#failed(key, target, error);
      return undefined;
    }
  }

  /** @throws PolicyError `ERR_LIMIT` when other associations hold all sessions */
  #makeRoom(): void {
    const { limits, budget } = this.#options;
    const isFull = this.#sessions.size >= limits.maxSessionsPerAssociation;
    const isSpent = budget.used >= limits.maxSessions;
    if (!isFull && !isSpent) return;
    let oldest: TargetSession | undefined;
    for (const session of this.#sessions.values()) {
      if (oldest === undefined || session.usedAt < oldest.usedAt) oldest = session;
    }
    if (oldest === undefined) {
      throw new PolicyError("ERR_LIMIT", `${limits.maxSessions} udp sessions are open, the limit`);
    }
    oldest.close();
  }

  #ended(key: string, target: Target, { error, isWanted, dropped }: SessionEnd): void {
    this.#sessions.delete(key);
    this.#options.budget.used--;
    this.#dropped += dropped;
    if (!isWanted && error !== undefined) {
      this.#failed(key, target, error);
      // An agent that closes in order is well: it is the target that is not.
      if (error.code !== "ERR_STREAM_RESET") this.#options.onFailure(error);
    }
  }

  #failed(key: string, target: Target, error: TunnelError): void {
    const { runtime, limits } = this.#options;
    this.#retryAt.set(key, runtime.clock.now() + limits.sessionRetryMs);
    const [oldest] = this.#retryAt.keys();
    if (this.#retryAt.size > MAX_RETRIES && oldest !== undefined) this.#retryAt.delete(oldest);
    const to = formatTarget(target);
    if (!this.#said.isFirst(`${to} ${error.code}`)) return;
    const { message: reason, code, hint } = error;
    this.#log("datagrams dropped", { to, reason, code, hint });
  }

  #logTooLong(target: Target, bytes: number, limit: number): void {
    const to = formatTarget(target);
    if (!this.#said.isFirst(`${to} length`)) return;
    this.#log("datagram dropped, too long for DTLS", { to, bytes, limit });
  }

  #log(message: string, fields: Readonly<Record<string, unknown>>): void {
    const { name: tunnel, logger, metadata } = this.#options;
    const { source, user, inbound: from } = metadata;
    logger.info(message, { tunnel, user, source, from, ...fields });
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#error);
  }
}

/** Targets remembered for having failed. */
const MAX_RETRIES = 256;
