import { formatTarget, type Target } from "../../address/target.ts";
import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, PolicyError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { PacketChannel } from "../../tunnel/packets.ts";
import type { Metadata, PacketOpener, StreamOpener } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { Capabilities, type CapabilityName } from "./capabilities.ts";
import { ClientStream } from "./client-stream.ts";
import { DatagramSessions, type SessionBudget } from "./datagram-sessions.ts";
import { encodeHeader } from "./header.ts";
import {
  DEFAULT_CLIENT_LIMITS,
  DEFAULT_POOL,
  type GodoxyClientLimits,
  type GodoxyPoolOptions,
} from "./limits.ts";
import { type OpenDtls, type OpenTls, probeDtls, probeTls } from "./probe.ts";
import { encodeProxyHeader, type ProxyHeaderVersion } from "./proxy-header.ts";
import { StreamPool } from "./stream-pool.ts";

/** What a client needs. */
export interface GodoxyClientOptions {
  /** Its name in logs and routes. */
  readonly name: string;
  /** Where it goes, for logs: `godoxy+tls://agent:8890`. */
  readonly description: string;
  /** Opens connections for streams; without it there are none. */
  readonly openTls?: OpenTls | undefined;
  /** Opens sessions for datagrams; without it there are none. */
  readonly openDtls?: OpenDtls | undefined;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** Connections opened ahead of their use. */
  readonly pool?: Partial<GodoxyPoolOptions> | undefined;
  readonly limits?: Partial<GodoxyClientLimits> | undefined;
  /** Tells targets of streams who the client is. */
  readonly proxyProtocol?: ProxyHeaderVersion | undefined;
  /** Called whenever {@link GodoxyClient.status} changed. */
  readonly onStatus?: ((status: GodoxyClientStatus) => void) | undefined;
}

/** How a tunnel is doing. */
export interface GodoxyClientStatus {
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  /** Where it goes, and what the agent can do. */
  readonly detail: string;
  /** How long connecting took in the last probe, ms. */
  readonly latencyMs: number | undefined;
  /** Connections and sessions, those that wait in the pool included. */
  readonly links: number;
  readonly streams: number;
}

/**
 * The dialling end: every stream is a connection of its own, every target of datagrams a session.
 *
 * Spec: godoxy 1, 2.6, 5.6. Reference: godoxy `stream/tcp_client.go`, `stream/udp_client.go`.
 */
export class GodoxyClient implements StreamOpener {
  /** Absent where there is no way to open sessions. */
  readonly associate?: PacketOpener["associate"];
  readonly #options: GodoxyClientOptions;
  readonly #limits: GodoxyClientLimits;
  readonly #pool: StreamPool | undefined;
  readonly #capabilities: Capabilities;
  readonly #closing = new AbortController();
  readonly #streams = new Set<Connection>();
  readonly #associations = new Set<DatagramSessions>();
  readonly #budget: SessionBudget = { used: 0 };
  #dialling = 0;

  constructor(options: GodoxyClientOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_CLIENT_LIMITS, ...options.limits };
    const { runtime, openTls, openDtls } = options;
    const pool = { ...DEFAULT_POOL, ...options.pool };
    if (openTls !== undefined && pool.size > 0) {
      this.#pool = new StreamPool({
        ...pool,
        runtime,
        open: (signal) => this.#dial(openTls, signal),
        onFailure: (error) => this.#failed(error),
      });
    }
    this.#capabilities = new Capabilities({
      runtime,
      probes: this.#probes(),
      intervalMs: this.#limits.probeIntervalMs,
      onChange: () => this.#changed(),
    });
    if (openDtls !== undefined) {
      this.associate = async ({ signal, metadata }) => {
        signal.throwIfAborted();
        return await Promise.resolve(this.#associate(openDtls, metadata));
      };
    }
  }

  /** Asks the agent what it can do, and opens what the pool holds ready. */
  start(): void {
    this.#pool?.warm();
    void this.#capabilities.check();
    this.#changed();
  }

  /**
   * Opens a stream: resolves when the connection is there and its header is on its way. Whether the
   * agent reaches the target, the wire cannot say: if it does not, the stream ends without a byte.
   *
   * @throws TunnelError saying why there is no connection; `signal.reason` when aborted
   */
  async open(
    target: Target,
    { signal, metadata }: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection> {
    signal.throwIfAborted();
    if (this.#closing.signal.aborted) throw new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    const { name, openTls, proxyProtocol } = this.#options;
    if (openTls === undefined || target.network !== "tcp") {
      const text = `${name} carries no ${target.network} streams`;
      throw new TunnelError("ERR_COMMAND_UNSUPPORTED", text, { hint: "use a godoxy+tls:// URL" });
    }
    const head = [encodeHeader({ host: target.host, port: String(target.port) })];
    if (proxyProtocol !== undefined) {
      const destination = formatTarget(target);
      head.push(encodeProxyHeader(proxyProtocol, { source: metadata.source, destination }));
    }
    return this.#stream(await this.#connect(openTls, signal), head, target);
  }

  /**
   * Proves over every transport there is that the agent serves it.
   *
   * @throws TunnelError saying why not; where streams are served but datagrams are not, nothing is
   *   thrown and the status says so
   */
  async probe({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(toTunnelError(signal.reason, "ERR_ABORTED", "probe"));
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([this.#capabilities.check(), promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
    const [first] = this.#capabilities.known.values();
    if (first?.error !== undefined) throw first.error;
  }

  status(): GodoxyClientStatus {
    const { description } = this.#options;
    const known = [...this.#capabilities.known];
    const served = known.filter(([, { verdict }]) => verdict === "yes");
    const base = {
      latencyMs: served[0]?.[1].latencyMs,
      links: this.#streams.size + (this.#pool?.size ?? 0) + this.#budget.used,
      streams: this.#streams.size + this.#associations.size,
    };
    if (this.#closing.signal.aborted) return { state: "closed", detail: "closed", ...base };
    const words = known.map(([name, { verdict, error }]) => {
      if (verdict === "unknown") return `${name.toUpperCase()} not known yet`;
      return `${name.toUpperCase()} ${verdict}${error === undefined ? "" : ` (${error.message})`}`;
    });
    const detail = `${description}: ${words.join(", ")}`;
    if (served.length > 0) return { state: "up", detail, ...base };
    if (known.some(([, { verdict }]) => verdict === "no"))
      return { state: "down", detail, ...base };
    const state = this.#capabilities.isChecking ? "connecting" : "idle";
    return { state, detail, ...base };
  }

  /** Opens nothing more, lets running streams finish for `graceMs`, then ends everything. */
  async close(graceMs: number): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const error = new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    this.#closing.abort(error);
    this.#capabilities.close(error);
    this.#pool?.close(error);
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    while (this.#streams.size + this.#associations.size > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    for (const stream of this.#streams) stream.reset(error);
    for (const association of this.#associations) association.close();
    this.#changed();
  }

  // ---- streams ----

  async #connect(openTls: OpenTls, signal: AbortSignal): Promise<Connection> {
    const { maxStreams } = this.#limits;
    if (this.#streams.size + this.#dialling >= maxStreams) {
      throw new PolicyError(
        "ERR_LIMIT",
        `${maxStreams} streams are open, the limit of this tunnel`,
      );
    }
    const ready = this.#pool?.take();
    const connection = ready ?? (await this.#dialForStream(openTls, signal));
    this.#pool?.warm();
    return connection;
  }

  async #dialForStream(openTls: OpenTls, signal: AbortSignal): Promise<Connection> {
    this.#dialling++;
    try {
      const connection = await this.#dial(openTls, AbortSignal.any([signal, this.#closing.signal]));
      if (!signal.aborted && !this.#closing.signal.aborted) return connection;
      connection.close();
      signal.throwIfAborted();
      throw new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_TUNNEL_DOWN", this.#options.description);
      if (!signal.aborted) this.#failed(error);
      throw signal.aborted ? thrown : error;
    } finally {
      this.#dialling--;
    }
  }

  async #dial(openTls: OpenTls, outer: AbortSignal): Promise<Connection> {
    const { runtime, description } = this.#options;
    const { dialTimeoutMs } = this.#limits;
    using deadline = timeoutAfter(runtime.clock, dialTimeoutMs, () => {
      const text = `${description}: not connected within ${dialTimeoutMs} ms`;
      return new NetworkError("ERR_DIAL_TIMEOUT", text, {
        hint: "check the address, the port and its firewall",
      });
    });
    return await openTls(AbortSignal.any([deadline.signal, outer]));
  }

  #stream(connection: Connection, head: readonly Uint8Array[], target: Target): Connection {
    const { name, logger } = this.#options;
    const stream: Connection = new ClientStream(connection, head, {
      onClosed: () => {
        this.#streams.delete(stream);
        this.#changed();
      },
      onSilentEnd: (error) => {
        const to = formatTarget(target);
        const hint = "the agent's log says whether it refused the target or could not reach it";
        logger.debug("stream ended without a byte", {
          tunnel: name,
          to,
          reason: error?.message,
          hint,
        });
        if (error !== undefined) this.#capabilities.suspect();
      },
    });
    this.#streams.add(stream);
    this.#changed();
    return stream;
  }

  // ---- datagrams ----

  #associate(openDtls: OpenDtls, metadata: Metadata): PacketChannel {
    if (this.#closing.signal.aborted) throw new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    const { name, description, runtime, logger } = this.#options;
    const association = new DatagramSessions({
      name,
      description,
      runtime,
      logger,
      metadata,
      openDtls,
      limits: this.#limits,
      budget: this.#budget,
      onFailure: (error) => this.#failed(error),
      onClosed: () => {
        this.#associations.delete(association);
        this.#changed();
      },
    });
    this.#associations.add(association);
    this.#changed();
    return association;
  }

  // ---- what the agent can do ----

  #probes(): Map<CapabilityName, (signal: AbortSignal) => Promise<number>> {
    const { runtime, openTls, openDtls } = this.#options;
    const { probeTimeoutMs: timeoutMs } = this.#limits;
    const probes = new Map<CapabilityName, (signal: AbortSignal) => Promise<number>>();
    if (openTls) probes.set("tcp", (signal) => probeTls(openTls, { runtime, timeoutMs, signal }));
    if (openDtls)
      probes.set("udp", (signal) => probeDtls(openDtls, { runtime, timeoutMs, signal }));
    return probes;
  }

  #failed(error: TunnelError): void {
    if (this.#closing.signal.aborted) return;
    this.#options.logger.debug("connection to the agent failed", {
      tunnel: this.#options.name,
      reason: error.message,
      code: error.code,
    });
    this.#capabilities.suspect();
  }

  #changed(): void {
    this.#options.onStatus?.(this.status());
  }
}

/** How often a closing client looks whether the streams are done. */
const DRAIN_POLL_MS = 50;
