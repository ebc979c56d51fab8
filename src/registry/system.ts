import type {
  ConnectConfig,
  ProvideConfig,
  ProxyInboundConfig,
  ServeConfig,
} from "../config/config.ts";
import type { TunnelError } from "../errors.ts";
import type { Connection, Listener } from "../tunnel/connection.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { OnRequest, Outbound, StreamOpener, OnPacketRequest } from "../tunnel/request.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import type { Secrets } from "./secrets.ts";

/** What every system is given to work with. */
export interface SystemContext {
  /** The tunnel's name in routes and logs. */
  readonly name: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly secrets: Secrets;
}

/** How a tunnel is doing, in the words of the start-up table. */
export interface TunnelState {
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  /** Where it goes, why it is down, what comes next. */
  readonly detail: string;
  /** ms. */
  readonly latencyMs: number | undefined;
  readonly links: number;
  readonly streams: number;
}

/** The dialling end of a tunnel. */
export interface ConnectedTunnel extends StreamOpener {
  start(): void;
  status(): TunnelState;
  /**
   * Proves that the far side is there, without asking it for a target; for systems that have a way
   * to do so, and whose status does not tell.
   *
   * @throws TunnelError saying why not
   */
  probe?(options: { readonly signal: AbortSignal }): Promise<void>;
  close(graceMs: number): Promise<void>;
}

/** The listening end of a tunnel. */
export type ServedTunnel = FedTunnel | ListeningTunnel;

/** One that opens its port itself: its peers are told apart before there is a byte channel. */
export interface ListeningTunnel {
  /** @throws ConfigError when the address is not to be had, or a certificate */
  listen(): Promise<Listener>;
  close(graceMs: number): Promise<void>;
}

/** One that a listener feeds with connections. */
export interface FedTunnel {
  /** @param path of the request a WebSocket began with, and its query; else empty */
  accept(connection: Connection, path: string): void;
  /** For systems whose WebSockets carry messages: what else they do with HTTP. */
  readonly web?: WebSurface | undefined;
  close(graceMs: number): Promise<void>;
}

/** The HTTP side of a system on WebSockets. */
export interface WebSurface {
  /** Whether WebSockets are taken on this path, which has no query. */
  isSocket(path: string): boolean;
  /** Answers everything else. */
  answer(question: WebQuestion): Promise<WebAnswer>;
}

/** One HTTP request, read whole. */
export interface WebQuestion {
  readonly method: string;
  /** Decoded, without query. */
  readonly path: string;
  /** What `X-API-Key` says; empty without it. */
  readonly apiKey: string;
  readonly body: string;
}

/** Its answer. */
export interface WebAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The dialling end that lends our network; its wishes go where `provide` was told. */
export interface ProvidedTunnel {
  start(): void;
  status(): TunnelState;
  close(graceMs: number): Promise<void>;
}

/** Takes what peers ask for. */
export interface Takers {
  readonly onRequest: OnRequest;
  readonly onPacketRequest?: OnPacketRequest | undefined;
}

/** What `serve` may do to the program around it. */
export interface ServeHooks extends Takers {
  /** Makes a way out known by its name; those that are no name of the configuration hold a slash. */
  addOutbound(outbound: Outbound): void;
  removeOutbound(name: string): void;
  /** Opens a proxy. @throws ConfigError when its address is not to be had */
  openProxy(config: ProxyInboundConfig): Promise<Listener>;
}

/** What `connect` and `provide` report while they run. */
export interface ConnectHooks {
  onStatus(state: TunnelState): void;
  /** The peer said no for good: there is no use in trying again. */
  onRefused(error: TunnelError): void;
}

/** One tunnel system, by role. A role that is absent does not exist in the system. */
export interface TunnelSystem {
  readonly connect?: (
    config: ConnectConfig,
    context: SystemContext,
    hooks: ConnectHooks,
  ) => Promise<ConnectedTunnel>;
  readonly provide?: (
    config: ProvideConfig,
    context: SystemContext,
    options: { readonly hooks: ConnectHooks; readonly takers: Takers },
  ) => Promise<ProvidedTunnel>;
  readonly serve?: (
    config: ServeConfig,
    context: SystemContext,
    hooks: ServeHooks,
  ) => Promise<ServedTunnel>;
}
