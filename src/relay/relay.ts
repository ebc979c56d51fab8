import { formatTarget } from "../address/target.ts";
import { type Blame, PolicyError, toTunnelError, type TunnelError } from "../errors.ts";
import type { Logger } from "../tunnel/logger.ts";
import type {
  Metadata,
  OnRequest,
  Request,
  OnPacketRequest,
  PacketRequest,
} from "../tunnel/request.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import { LiveAssociation } from "./live-association.ts";
import { LiveStream, type StreamEnd, type StreamInfo } from "./live-stream.ts";
import type { Router } from "./router.ts";

/** Bounds of a relay. */
export interface RelayLimits {
  /** Streams at one time, those being dialled included; more are refused. @default 16384 */
  readonly maxStreams?: number | undefined;
  /** From the request to an open target, whatever the outbound does. @default 20000 */
  readonly dialTimeoutMs?: number | undefined;
  /** Ends a stream on which no byte moved for this long; 0: never. @default 0 */
  readonly idleTimeoutMs?: number | undefined;
  /** The same once one side has finished; 0: never. @default 120000 */
  readonly halfClosedTimeoutMs?: number | undefined;
  /** Associations of datagrams at one time; more are refused. @default 4096 */
  readonly maxAssociations?: number | undefined;
  /** Ends an association on which no datagram came or went for this long; 0: never. @default 300000 */
  readonly associationIdleTimeoutMs?: number | undefined;
}

/** What happened to a stream or an association. A refused one closes without having opened. */
export type StreamEvent =
  | { readonly type: "opened"; readonly stream: StreamInfo }
  | {
      readonly type: "closed";
      readonly stream: StreamInfo;
      readonly durationMs: number;
      /** `finished`, or the error's message. */
      readonly reason: string;
      readonly error: TunnelError | undefined;
      readonly fault: Blame | undefined;
    };

/** What a relay needs. */
export interface RelayOptions {
  readonly router: Router;
  readonly logger: Logger;
  readonly runtime: Runtime;
  readonly limits?: RelayLimits | undefined;
  /** Hears of every stream; what it throws is logged. */
  readonly onStream?: ((event: StreamEvent) => void) | undefined;
}

/** The middle: takes requests from every inbound and joins them to targets. */
export interface Relay {
  readonly onRequest: OnRequest;
  /** The same for datagrams: each target of an association takes the way its route names. */
  readonly onPacketRequest: OnPacketRequest;
  /** Snapshots of the streams and associations that live now, oldest first. */
  streams(): readonly StreamInfo[];
  /** Ends one stream or association hard. @returns whether there was one with that id */
  kill(id: number): boolean;
  /**
   * Refuses new requests, lets streams finish for `graceMs`, then ends the rest hard. Associations
   * count as finished when they fall silent. A second call may shorten the grace of the first.
   */
  close(graceMs: number): Promise<void>;
}

/** Makes a relay; it holds nothing open until the first request. */
export function createRelay(options: RelayOptions): Relay {
  const relay = new StreamRelay(options);
  return {
    onRequest: (request) => relay.take(request),
    onPacketRequest: (request) => relay.takePackets(request),
    streams: () => relay.streams(),
    kill: (id) => relay.kill(id),
    close: async (graceMs) => await relay.close(graceMs),
  };
}

class StreamRelay {
  readonly #options: RelayOptions;
  readonly #limits: Required<{ [Name in keyof RelayLimits]: number }>;
  readonly #live = new Map<number, LiveStream | LiveAssociation>();
  #lastId = 0;
  #associations = 0;
  #isClosing = false;
  #onEmpty: (() => void)[] = [];
  /** Refusals since the last line about them, and when that was. */
  #unlogged = 0;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: RelayOptions) {
    this.#options = options;
    const { limits = {} } = options;
    this.#limits = {
      maxStreams: limits.maxStreams ?? DEFAULT_MAX_STREAMS,
      dialTimeoutMs: limits.dialTimeoutMs ?? DEFAULT_DIAL_TIMEOUT_MS,
      idleTimeoutMs: limits.idleTimeoutMs ?? 0,
      halfClosedTimeoutMs: limits.halfClosedTimeoutMs ?? DEFAULT_HALF_CLOSED_TIMEOUT_MS,
      maxAssociations: limits.maxAssociations ?? DEFAULT_MAX_ASSOCIATIONS,
      associationIdleTimeoutMs:
        limits.associationIdleTimeoutMs ?? DEFAULT_ASSOCIATION_IDLE_TIMEOUT_MS,
    };
  }

  take(request: Request): void {
    const streams = this.#live.size - this.#associations;
    const refusal = this.#refusal(streams, this.#limits.maxStreams, "streams");
    if (refusal !== undefined) {
      this.#logRefusal(request.metadata, formatTarget(request.target), refusal);
      request.reject(refusal);
      return;
    }
    const { router, runtime } = this.#options;
    const id = ++this.#lastId;
    const { dialTimeoutMs, idleTimeoutMs, halfClosedTimeoutMs } = this.#limits;
    const stream = new LiveStream(request, {
      id,
      router,
      runtime,
      dialTimeoutMs,
      idleTimeoutMs,
      halfClosedTimeoutMs,
      onOpened: () => this.#tell({ type: "opened", stream: stream.info }),
      onClosed: (end) => this.#closed(stream.info, end),
    });
    this.#live.set(id, stream);
    stream.run().catch((thrown: unknown) => this.#logBug("stream", thrown));
  }

  takePackets(request: PacketRequest): void {
    const { maxAssociations, dialTimeoutMs, associationIdleTimeoutMs } = this.#limits;
    const refusal = this.#refusal(this.#associations, maxAssociations, "associations");
    if (refusal !== undefined) {
      this.#logRefusal(request.metadata, "datagrams", refusal);
      request.reject(refusal);
      return;
    }
    const { router, runtime, logger } = this.#options;
    const id = ++this.#lastId;
    const association = new LiveAssociation(request, {
      id,
      router,
      runtime,
      logger,
      openTimeoutMs: dialTimeoutMs,
      idleTimeoutMs: associationIdleTimeoutMs,
      onOpened: () => this.#tell({ type: "opened", stream: association.info }),
      onClosed: (end) => {
        this.#associations--;
        this.#closed(association.info, end);
      },
    });
    this.#live.set(id, association);
    this.#associations++;
    association.run();
  }

  streams(): readonly StreamInfo[] {
    return Array.from(this.#live.values(), ({ info }) => info);
  }

  kill(id: number): boolean {
    const stream = this.#live.get(id);
    stream?.abort(new PolicyError("ERR_CLOSED", "killed by the operator"));
    return stream !== undefined;
  }

  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    for (const live of this.#live.values()) if (live instanceof LiveAssociation) live.drain();
    if (graceMs > 0) await this.#whenEmpty(graceMs);
    const error = new PolicyError("ERR_SHUTDOWN", "shutting down");
    for (const stream of this.#live.values()) stream.abort(error);
    // Those that were being dialled leave in the next microtasks.
    await this.#whenEmpty(undefined);
  }

  #refusal(
    count: number,
    limit: number,
    what: "streams" | "associations",
  ): PolicyError | undefined {
    if (this.#isClosing) return new PolicyError("ERR_SHUTDOWN", "shutting down");
    if (count < limit) return undefined;
    const setting = what === "streams" ? "maxStreams" : "maxAssociations";
    return new PolicyError("ERR_LIMIT", `${limit} ${what} are open, the limit of this relay`, {
      hint: `raise ${setting}, or look for clients that leak connections`,
    });
  }

  #closed(stream: StreamInfo, { error, fault }: StreamEnd): void {
    this.#live.delete(stream.id);
    const { logger, runtime } = this.#options;
    const durationMs = Math.round(runtime.clock.now() - stream.since);
    const reason = error?.message ?? "finished";
    const { packetsUp, packetsDown } = stream;
    const packets = packetsUp === undefined ? undefined : { packetsUp, packetsDown };
    logger.info(`${packets === undefined ? "stream" : "association"} ${stream.state}`, {
      stream: stream.id,
      user: stream.user,
      source: stream.source,
      from: stream.from,
      to: stream.to,
      via: stream.via,
      bytesUp: stream.bytesUp,
      bytesDown: stream.bytesDown,
      ...packets,
      durationMs,
      reason,
      code: error?.code,
      fault,
    });
    this.#tell({ type: "closed", stream, durationMs, reason, error, fault });
    if (this.#live.size > 0) return;
    for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  #whenEmpty(timeoutMs: number | undefined): Promise<void> {
    if (this.#live.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const { clock } = this.#options.runtime;
      const timer = timeoutMs === undefined ? undefined : clock.schedule(timeoutMs, resolve);
      this.#onEmpty.push(() => {
        timer?.cancel();
        resolve();
      });
    });
  }

  /** A flood of refusals must not become a flood of lines. */
  #logRefusal(metadata: Metadata, to: string, error: TunnelError): void {
    this.#unlogged++;
    const now = this.#options.runtime.clock.now();
    if (now - this.#loggedAt < REFUSAL_LINE_MS) return;
    this.#options.logger.warn("requests refused", {
      requests: this.#unlogged,
      source: metadata.source,
      from: metadata.inbound,
      to,
      reason: error.message,
      code: error.code,
      fault: "ours",
    });
    this.#unlogged = 0;
    this.#loggedAt = now;
  }

  #tell(event: StreamEvent): void {
    try {
      this.#options.onStream?.(event);
    } catch (thrown) {
      this.#logBug("onStream", thrown);
    }
  }

  #logBug(where: string, thrown: unknown): void {
    const { message } = toTunnelError(thrown, "ERR_MISUSE", where);
    this.#options.logger.error("a handler threw", { reason: message, fault: "ours" });
  }
}

/** Two sockets each: half of a common limit of 65536 files. */
const DEFAULT_MAX_STREAMS = 16_384;

/** Name, connect and a proxy's handshake, each within its own deadline, fit in. */
const DEFAULT_DIAL_TIMEOUT_MS = 20_000;

const DEFAULT_HALF_CLOSED_TIMEOUT_MS = 120_000;

/** A socket or two each, beside those of the streams. */
const DEFAULT_MAX_ASSOCIATIONS = 4_096;

/** Longer than games and calls pause, shorter than forgotten sockets matter. */
const DEFAULT_ASSOCIATION_IDLE_TIMEOUT_MS = 300_000;

/** At most one line a second says that requests are refused. */
const REFUSAL_LINE_MS = 1_000;
