import { TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { DatagramConnection } from "../../tunnel/datagram-connection.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { OnPacketRequest, OnRequest } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { ClientIdentity } from "./agent-context.ts";
import { AgentSessions } from "./agent-sessions.ts";
import { AgentStreams } from "./agent-streams.ts";
import { DEFAULT_AGENT_LIMITS, type GodoxyAgentLimits } from "./limits.ts";

/** What an agent needs. */
export interface GodoxyAgentOptions {
  /** The name of this inbound in logs and routes. */
  readonly name: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** Takes every TCP stream's wish. */
  readonly onRequest: OnRequest;
  /** Takes every UDP session's wish; without it none is accepted. */
  readonly onPacketRequest?: OnPacketRequest | undefined;
  readonly limits?: Partial<GodoxyAgentLimits> | undefined;
}

/**
 * The agent: takes authenticated connections, and turns each into the wish its header names.
 *
 * Spec: godoxy 1, 4. Reference: godoxy `stream/tcp_server.go`, `stream/udp_server.go`.
 */
export class GodoxyAgent {
  readonly #runtime: Runtime;
  readonly #streams: AgentStreams;
  readonly #sessions: AgentSessions;

  constructor(options: GodoxyAgentOptions) {
    const { name, runtime, logger, onRequest, onPacketRequest } = options;
    const context = {
      name,
      runtime,
      logger,
      limits: { ...DEFAULT_AGENT_LIMITS, ...options.limits },
    };
    this.#runtime = runtime;
    this.#streams = new AgentStreams(context, onRequest);
    this.#sessions = new AgentSessions(context, onPacketRequest);
  }

  /** TCP connections that live now, those without a header included. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** The same of UDP. */
  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Takes a connection of a verified client, paused and without a handler. */
  accept(connection: Connection, client: ClientIdentity): void {
    this.#streams.accept(connection, client);
  }

  /** Takes a verified client's way for datagrams: one session of one target. */
  acceptDatagrams(connection: DatagramConnection, client: ClientIdentity): void {
    this.#sessions.accept(connection, client);
  }

  /** Takes nothing new, lets what runs finish for `graceMs`, then ends it. */
  async close(graceMs: number): Promise<void> {
    const streams = this.#streams.stop();
    this.#sessions.drain();
    const { clock } = this.#runtime;
    const until = clock.now() + graceMs;
    while (streams.size + this.#sessions.size > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    const error = new TunnelError("ERR_SHUTDOWN", "shutting down");
    for (const stream of streams) stream.reset(error);
    this.#sessions.end(error);
  }
}

/** How often a closing agent looks whether all is done. */
const DRAIN_POLL_MS = 50;
