import { EventEmitter } from "node:events";
import type http from "node:http";
import type https from "node:https";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";
import type { Clock } from "../clock/clock.ts";
import type { ConnectConfig } from "../config/config.ts";
import { connectSchema } from "../config/schema.ts";
import { describeTunnelUrl, parseTunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError, TunnelError } from "../errors.ts";
import { REGISTRY } from "../registry/registry.ts";
import { createSecrets } from "../registry/secrets.ts";
import type { ConnectedTunnel, TunnelState } from "../registry/system.ts";
import { toDuplex } from "../tunnel/duplex.ts";
import { type Logger, silentLogger } from "../tunnel/logger.ts";
import type { PacketChannel } from "../tunnel/packets.ts";
import type { Metadata } from "../tunnel/request.ts";
import { type Runtime, systemRuntime } from "../tunnel/runtime.ts";
import { type SocketLike, toSocketLike } from "./socket-like.ts";
import { createDispatcher, createHttpAgent, createHttpsAgent } from "./agents.ts";

/** Options of {@link connect}; the tunnel's own are in its URL. */
export interface ConnectOptions {
  /** @default silent */
  readonly logger?: Logger | undefined;
  /** For `env:` credentials in the URL. @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly runtime?: Runtime | undefined;
}

/** What a {@link Tunnel} reports through its `events`. */
export interface TunnelEvents {
  /** The tunnel came up, went down, or waits to try again. */
  status: [state: TunnelState];
  /** The peer refused us for good. */
  refused: [error: TunnelError];
}

/** A dialled tunnel: streams to the far side's network without a local port. */
export interface Tunnel extends AsyncDisposable {
  readonly events: EventEmitter<TunnelEvents>;
  /**
   * Opens a stream to a host and port as seen from the far side.
   *
   * @throws TunnelError whose `code` says why not; `signal.reason` when aborted
   */
  open(
    target: { readonly host: string; readonly port: number },
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Duplex>;
  /**
   * Opens a UDP association: datagrams to and from many targets.
   *
   * @throws TunnelError `ERR_COMMAND_UNSUPPORTED` when the tunnel carries none
   */
  associate(options?: { readonly signal?: AbortSignal | undefined }): Promise<PacketChannel>;
  /** For `http.request({ agent })`. */
  httpAgent(options?: http.AgentOptions): http.Agent;
  /** For `https.request({ agent })`. */
  httpsAgent(options?: https.AgentOptions): https.Agent;
  /** For `fetch(url, { dispatcher })`; needs the package `undici`. */
  dispatcher(): Promise<Dispatcher>;
  status(): TunnelState;
  /** Lets running streams finish for `graceMs`, then closes. @default 0 */
  close(graceMs?: number): Promise<void>;
}

/**
 * Dials a tunnel and keeps it up. Returns at once; `open` waits for the tunnel for a bounded time.
 *
 * @throws ConfigError when the URL is wrong, or its system has no `connect` role in this version
 */
export function connect(url: string, options: ConnectOptions = {}): Tunnel {
  const parsed = parseTunnelUrl(url, "connect");
  const { connect: start } = REGISTRY[parsed.system] ?? {};
  if (start === undefined) throw new ConfigError(`${parsed.system} cannot connect in this version`);
  return new DialledTunnel(connectSchema.parse(url), start, options);
}

type Start = NonNullable<NonNullable<(typeof REGISTRY)["pong"]>["connect"]>;

class DialledTunnel implements Tunnel {
  readonly events = new EventEmitter<TunnelEvents>();
  readonly #started: Promise<ConnectedTunnel>;
  #state: TunnelState = {
    state: "connecting",
    detail: "starting",
    latencyMs: undefined,
    links: 0,
    streams: 0,
  };

  readonly #clock: Clock;

  constructor(config: ConnectConfig, start: Start, options: ConnectOptions) {
    const { runtime = systemRuntime(), logger = silentLogger, env = process.env } = options;
    this.#clock = runtime.clock;
    const secrets = createSecrets(runtime.clock, env);
    const context = { name: describeTunnelUrl(config.url), runtime, logger, secrets };
    this.#started = start(config, context, {
      onStatus: (state) => {
        this.#state = state;
        this.events.emit("status", state);
      },
      onRefused: (error) => void this.events.emit("refused", error),
    }).then((tunnel) => {
      tunnel.start();
      return tunnel;
    });
    // Whoever opens hears of it; nobody else is waiting.
    this.#started.catch(() => {});
  }

  async open(
    { host, port }: { readonly host: string; readonly port: number },
    { signal = new AbortController().signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<SocketLike> {
    const tunnel = await this.#started;
    const target = { network: "tcp", host, port } as const;
    const stream = await tunnel.open(target, { signal, metadata: METADATA });
    return toSocketLike(toDuplex(stream), this.#clock);
  }

  async associate({
    signal = new AbortController().signal,
  }: {
    readonly signal?: AbortSignal | undefined;
  } = {}): Promise<PacketChannel> {
    const tunnel = await this.#started;
    const opened = tunnel.associate?.({ signal, metadata: METADATA });
    if (opened !== undefined) return await opened;
    throw new TunnelError("ERR_COMMAND_UNSUPPORTED", "this tunnel carries no datagrams");
  }

  httpAgent(options?: http.AgentOptions): http.Agent {
    return createHttpAgent((target) => this.open(target), options);
  }

  httpsAgent(options?: https.AgentOptions): https.Agent {
    return createHttpsAgent((target) => this.open(target), options);
  }

  dispatcher(): Promise<Dispatcher> {
    return createDispatcher((target) => this.open(target));
  }

  status(): TunnelState {
    return this.#state;
  }

  async close(graceMs = 0): Promise<void> {
    const tunnel = await this.#started.catch(() => undefined);
    await tunnel?.close(graceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

const METADATA: Metadata = { inbound: "library", source: "library" };
