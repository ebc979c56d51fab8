import { formatTarget, type Target } from "../address/target.ts";
import { IdleTimer } from "../clock/idle-timer.ts";
import { blameOf, PolicyError, toTunnelError, TunnelError } from "../errors.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Packet, PacketChannel } from "../tunnel/packets.ts";
import type { Outbound, PacketRequest } from "../tunnel/request.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import { SaidOnce } from "../tunnel/said-once.ts";
import type { StreamEnd, StreamInfo } from "./live-stream.ts";
import { carriesNone, PacketLeg } from "./packet-leg.ts";
import type { Router } from "./router.ts";

/** What an association needs and whom it tells. */
export interface LiveAssociationOptions {
  readonly id: number;
  readonly router: Router;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** How long opening a way out may take. */
  readonly openTimeoutMs: number;
  readonly idleTimeoutMs: number;
  onOpened(): void;
  /** Exactly once, last. */
  onClosed(end: StreamEnd): void;
}

/**
 * The life of one association: each target's datagrams leave through the outbound its route names,
 * which is opened once, when the first of them comes, and again when it was lost.
 *
 * Where only one way out is possible it is opened before the client is answered, so that the answer
 * tells whether datagrams can go at all. Where the client names its one target, the association is as
 * long as the way there.
 */
export class LiveAssociation {
  readonly #request: PacketRequest;
  readonly #options: LiveAssociationOptions;
  readonly #since: number;
  readonly #legs = new Map<string, PacketLeg>();
  /** By target; `undefined`: its datagrams are dropped. */
  readonly #routes = new Map<string, Outbound | undefined>();
  /** When a way out that failed may be tried again, by name. */
  readonly #retryAt = new Map<string, number>();
  readonly #said = new SaidOnce();
  readonly #used = new Set<string>();
  readonly #counts = { bytesUp: 0, bytesDown: 0, packetsUp: 0, packetsDown: 0 };
  #state: StreamInfo["state"] = "dialling";
  #client: PacketChannel | undefined;
  #idle: IdleTimer | undefined;
  #lastTarget: Target | undefined;
  #targetCount = 0;
  #isDraining = false;

  constructor(request: PacketRequest, options: LiveAssociationOptions) {
    this.#request = request;
    this.#options = options;
    this.#since = options.runtime.clock.now();
  }

  /** A snapshot. */
  get info(): StreamInfo {
    const { metadata } = this.#request;
    return {
      id: this.#options.id,
      state: this.#state,
      from: metadata.inbound,
      source: metadata.source,
      user: metadata.user,
      to: this.#to,
      via: this.#used.size === 0 ? undefined : [...this.#used].join(", "),
      ...this.#counts,
      since: this.#since,
    };
  }

  /** Answers the request, at once or when its one way out is open. */
  run(): void {
    const { metadata, signal, target } = this.#request;
    try {
      if (target !== undefined) {
        this.#lastTarget = target;
        this.#targetCount = 1;
      }
      const { router } = this.#options;
      const candidates =
        target === undefined
          ? router.candidates("udp", metadata)
          : [router.choose(target, metadata)];
      const carriers = candidates.filter(({ associate }) => associate !== undefined);
      const [only] = carriers;
      if (only === undefined) throw carriesNone(candidates.map(({ name }) => name));
      if (candidates.length > 1) this.#accept();
      else this.#open(only);
    } catch (thrown) {
      this.#close(toTunnelError(thrown, "ERR_DIAL_FAILED", "datagrams"));
      return;
    }
    const onGone = (): void => {
      if (this.#state !== "dialling") return;
      this.#close(toTunnelError(signal.reason, "ERR_ABORTED", "client gave up"));
    };
    signal.addEventListener("abort", onGone, { once: true });
    if (signal.aborted) onGone();
  }

  /** Ends it hard: rejects it while it is not answered, closes it with the reason afterwards. */
  abort(error: TunnelError): void {
    this.#close(error);
  }

  /** Datagrams know no end: from now on a moment of silence counts as one. */
  drain(): void {
    this.#isDraining = true;
    this.#idle?.changeTo(DRAIN_SILENCE_MS);
  }

  get #to(): string {
    if (this.#lastTarget === undefined) return "datagrams";
    const others = this.#targetCount - 1;
    return `${formatTarget(this.#lastTarget)}${others === 0 ? "" : ` and ${others} more`}`;
  }

  #accept(): void {
    const { runtime, idleTimeoutMs } = this.#options;
    this.#state = "open";
    try {
      this.#client = this.#request.accept();
    } catch (thrown) {
      this.#close(toTunnelError(thrown, "ERR_CLOSED", "accept"));
      return;
    }
    this.#idle = new IdleTimer(runtime.clock, idleTimeoutMs, () => {
      const text = `no datagram came or went for ${idleTimeoutMs} ms`;
      this.#close(this.#isDraining ? undefined : new PolicyError("ERR_IDLE_TIMEOUT", text));
    });
    this.#options.onOpened();
    this.#client.attach({
      onPacket: (packet) => this.#fromClient(packet),
      onClose: (error) => this.#close(error, "client"),
    });
  }

  #fromClient(packet: Packet): void {
    if (this.#state !== "open") return;
    this.#idle?.touch();
    this.#counts.packetsUp++;
    this.#counts.bytesUp += packet.data.byteLength;
    const target: Target = { network: "udp", host: packet.host, port: packet.port };
    const outbound = this.#route(target);
    if (outbound !== undefined) this.#legTo(outbound)?.send(packet);
  }

  #fromTarget(packet: Packet): void {
    if (this.#state !== "open") return;
    this.#idle?.touch();
    this.#counts.packetsDown++;
    this.#counts.bytesDown += packet.data.byteLength;
    this.#client?.send(packet);
  }

  /** Which way a target's datagrams go; decided once for each target, while it is remembered. */
  #route(target: Target): Outbound | undefined {
    const key = `${target.host} ${target.port}`;
    this.#lastTarget = target;
    if (this.#routes.has(key)) return this.#routes.get(key);
    if (this.#request.target === undefined) this.#targetCount++;
    const outbound = this.#choose(target);
    this.#routes.set(key, outbound);
    const [oldest] = this.#routes.keys();
    if (this.#routes.size > MAX_ROUTES && oldest !== undefined) this.#routes.delete(oldest);
    return outbound;
  }

  #choose(target: Target): Outbound | undefined {
    const { metadata } = this.#request;
    let outbound: Outbound;
    try {
      outbound = this.#options.router.choose(target, metadata);
    } catch (thrown) {
      this.#logDrops(metadata.via, target, toTunnelError(thrown, "ERR_TUNNEL_DOWN", "route"));
      return undefined;
    }
    if (outbound.associate !== undefined) return outbound;
    this.#logDrops(outbound.name, target, carriesNone([outbound.name]));
    return undefined;
  }

  #legTo(outbound: Outbound): PacketLeg | undefined {
    const leg = this.#legs.get(outbound.name);
    if (leg !== undefined) return leg;
    const retryAt = this.#retryAt.get(outbound.name) ?? Number.NEGATIVE_INFINITY;
    return this.#options.runtime.clock.now() < retryAt ? undefined : this.#open(outbound);
  }

  #open(outbound: Outbound): PacketLeg {
    const { name } = outbound;
    const { runtime, openTimeoutMs } = this.#options;
    this.#used.add(name);
    const leg = new PacketLeg(outbound, {
      runtime,
      openTimeoutMs,
      metadata: this.#request.metadata,
      target: this.#request.target,
      onPacket: (packet) => this.#fromTarget(packet),
      onOpened: () => {
        if (this.#state === "dialling") this.#accept();
      },
      onClosed: (error) => this.#legClosed(outbound, error),
    });
    this.#legs.set(name, leg);
    return leg;
  }

  #legClosed({ name }: Outbound, error: TunnelError | undefined): void {
    this.#legs.delete(name);
    if (this.#state === "dialling") {
      this.#close(error ?? new TunnelError("ERR_CLOSED", `${name} closed at once`));
    } else if (this.#state === "open" && this.#request.target !== undefined) {
      this.#close(error);
    } else if (this.#state === "open" && error && error.code !== "ERR_IDLE_TIMEOUT") {
      this.#retryAt.set(name, this.#options.runtime.clock.now() + RETRY_MS);
      this.#logDrops(name, this.#lastTarget, error);
    }
  }

  #close(error: TunnelError | undefined, side?: "client"): void {
    if (this.#state === "closed" || this.#state === "refused") return;
    const isRefused = this.#state === "dialling";
    this.#state = isRefused ? "refused" : "closed";
    this.#idle?.cancel();
    // Silence is how associations end; the far side need not take it for a failure.
    const cause = error?.code === "ERR_IDLE_TIMEOUT" ? undefined : error;
    for (const leg of this.#legs.values()) leg.close(cause);
    const blame = error && blameOf(error);
    // The codes say "target" of the far end; toward the client that is the client.
    const fault = side === "client" && blame === "target" ? "client" : blame;
    this.#options.onClosed({ error, fault });
    if (isRefused) this.#request.reject(error ?? new TunnelError("ERR_CLOSED", "closed"));
    else if (side === undefined) this.#client?.close(error);
  }

  /** One line for each way out and reason; datagrams are many. */
  #logDrops(via: string | undefined, target: Target | undefined, error: TunnelError): void {
    if (!this.#said.isFirst(`${via} ${error.code}`)) return;
    const { logger, id } = this.#options;
    const { user, source, inbound: from } = this.#request.metadata;
    const { message: reason, code, hint } = error;
    const to = target === undefined ? undefined : formatTarget(target);
    logger.info("datagrams dropped", {
      stream: id,
      user,
      source,
      from,
      to,
      via,
      reason,
      code,
      hint,
    });
  }
}

/** Targets one association remembers the way of; the oldest is decided anew. */
const MAX_ROUTES = 1_024;

/** A way out that failed is not opened again by every datagram. */
const RETRY_MS = 1_000;

/** Longer than an answer takes, when the program is told to end. */
const DRAIN_SILENCE_MS = 1_000;
