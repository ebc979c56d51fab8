import type { Duplex } from "node:stream";
import { formatTarget } from "./address/target.ts";
import type { Config, InboundConfig, ProxyInboundConfig, ServeConfig } from "./config/config.ts";
import { inboundName, serveName } from "./config/references.ts";
import type { SystemName } from "./config/systems.ts";
import { describeTunnelUrl, type TunnelUrl } from "./config/tunnel-url.ts";
import { ConfigError, type TunnelError } from "./errors.ts";
import { createForwardInbound, type ForwardInboundOptions } from "./inbound/forward/inbound.ts";
import { createBlockOutbound } from "./outbound/block/block-outbound.ts";
import { createDirectOutbound } from "./outbound/direct/direct-outbound.ts";
import { createTunnelOutbound } from "./outbound/tunnel/tunnel-outbound.ts";
import { createUpstreamOutbound } from "./outbound/upstream/upstream-outbound.ts";
import { proxyDialer, readProxy } from "./registry/dialers.ts";
import { listenForward } from "./registry/forward-inbound.ts";
import { Groups } from "./registry/groups.ts";
import { HostLists } from "./registry/host-lists.ts";
import { listenForTunnel } from "./registry/listeners.ts";
import { createPolicies } from "./registry/policies.ts";
import { createProxyInbound } from "./registry/proxy-inbound.ts";
import { REGISTRY } from "./registry/registry.ts";
import { createRoutes } from "./registry/routes.ts";
import { createSecrets, type Secrets } from "./registry/secrets.ts";
import type {
  ConnectedTunnel,
  ConnectHooks,
  ProvidedTunnel,
  ServedTunnel,
  SystemContext,
  TunnelState,
  TunnelSystem,
} from "./registry/system.ts";
import type { Policy } from "./relay/exit-policy.ts";
import { guardOutbound } from "./relay/guarded-outbound.ts";
import type { StreamInfo } from "./relay/live-stream.ts";
import { createRelay, type Relay, type StreamEvent } from "./relay/relay.ts";
import { Router } from "./relay/router.ts";
import { dialTcp } from "./transports/tcp/dial.ts";
import { listenTcp } from "./transports/tcp/listen.ts";
import { bindUdp } from "./transports/udp/bind.ts";
import type { Listener } from "./tunnel/connection.ts";
import { DuplexConnection } from "./tunnel/duplex-connection.ts";
import type { InboundOptions } from "./tunnel/inbound.ts";
import { type Logger, silentLogger } from "./tunnel/logger.ts";
import type { Outbound } from "./tunnel/request.ts";
import { type Runtime, systemRuntime } from "./tunnel/runtime.ts";

/** What an app takes from outside; everything has a default. */
export interface AppOptions {
  readonly runtime?: Runtime | undefined;
  /** @default silent */
  readonly logger?: Logger | undefined;
  /** For `env:` credentials. @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** What `-L -:…` joins. */
  readonly stdio?: Duplex | undefined;
  readonly onStream?: ((event: StreamEvent) => void) | undefined;
  /** A tunnel changed its state. */
  readonly onTunnel?: ((tunnel: TunnelStatus) => void) | undefined;
}

/** One open door. */
export interface ListenerStatus {
  readonly name: string;
  /** `socks`, `http`, `forward`, or the scheme of a tunnel. */
  readonly kind: string;
  /** Where it really listens: a port the system chose is filled in. */
  readonly address: string;
  /** What comes in goes there. */
  readonly leadsTo: string;
  /** When the certificate it shows ends; absent without TLS. */
  readonly certificateExpires?: Date | undefined;
}

/** One dialled tunnel. */
export interface TunnelStatus extends TunnelState {
  readonly name: string;
  /** Without credential and options. */
  readonly url: string;
}

/** A running configuration. */
export interface App extends AsyncDisposable {
  readonly listeners: readonly ListenerStatus[];
  tunnels(): readonly TunnelStatus[];
  /** The tunnel of that name, for streams without a local port. */
  tunnel(name: string): ConnectedTunnel | undefined;
  streams(): readonly StreamInfo[];
  kill(streamId: number): boolean;
  /** Resolves when a peer refused us for good: there is no use in going on. */
  readonly refused: Promise<TunnelError>;
  /** Resolves with the end of the stream on standard input and output; never without one. */
  readonly stdioEnded: Promise<TunnelError | undefined>;
  /** Stops accepting, lets running streams finish for `graceMs`, closes everything. Idempotent. */
  close(graceMs: number): Promise<void>;
}

/**
 * The composition root: builds everything a configuration names and starts it. When one part
 * cannot start, what had started is closed again.
 *
 * @throws ConfigError when an address is taken, a secret cannot be had, or a role does not exist
 */
export async function startApp(config: Config, options: AppOptions = {}): Promise<App> {
  const app = new RunningApp(config, options);
  try {
    await app.start();
    return app;
  } catch (thrown) {
    await app.close(0);
    throw thrown;
  }
}

class RunningApp implements App {
  readonly listeners: ListenerStatus[] = [];
  readonly refused: Promise<TunnelError>;
  readonly stdioEnded: Promise<TunnelError | undefined>;
  readonly #config: Config;
  readonly #options: AppOptions;
  readonly #runtime: Runtime;
  readonly #logger: Logger;
  readonly #secrets: Secrets;
  readonly #outbounds = new Map<string, Outbound>();
  readonly #tunnels = new Map<string, { readonly url: string; readonly tunnel: ConnectedTunnel }>();
  readonly #provided = new Map<string, { readonly url: string; readonly tunnel: ProvidedTunnel }>();
  readonly #served: { readonly config: ServeConfig; readonly tunnel: ServedTunnel }[] = [];
  readonly #open: Listener[] = [];
  readonly #settle: { refused(error: TunnelError): void; stdio(error?: TunnelError): void };
  readonly #lists: HostLists;
  #groups: Groups | undefined;
  #relay: Relay | undefined;
  #closing: Promise<void> | undefined;

  constructor(config: Config, options: AppOptions) {
    this.#config = config;
    this.#options = options;
    this.#runtime = options.runtime ?? systemRuntime();
    this.#logger = options.logger ?? silentLogger;
    this.#secrets = createSecrets(this.#runtime.clock, options.env ?? process.env);
    this.#lists = new HostLists({ runtime: this.#runtime, logger: this.#logger });
    const refused = Promise.withResolvers<TunnelError>();
    const stdio = Promise.withResolvers<TunnelError | undefined>();
    this.refused = refused.promise;
    this.stdioEnded = stdio.promise;
    this.#settle = { refused: refused.resolve, stdio: stdio.resolve };
  }

  async start(): Promise<void> {
    const policy = createPolicies(this.#config);
    const own = { runtime: this.#runtime, logger: this.#logger, dialTcp, bindUdp };
    this.#outbounds.set("direct", createDirectOutbound({ ...own, policy: policy.exit }));
    this.#outbounds.set("block", createBlockOutbound());
    for (const [name, url] of Object.entries(this.#config.outbounds)) {
      const proxy = await readProxy(url, this.#secrets);
      const dial = proxyDialer({ runtime: this.#runtime });
      const outbound = createUpstreamOutbound({ name, runtime: this.#runtime, proxy, dial });
      this.#outbounds.set(name, guardOutbound(outbound, policy.guard, this.#logger));
    }
    for (const name of Object.keys(this.#config.connect)) await this.#addTunnel(name, policy.guard);
    this.#addGroups();
    for (const serve of this.#config.serve) await this.#addServed(serve, policy.guard);
    this.#relay = await this.#makeRelay();
    for (const { config, tunnel } of this.#served) await this.#listenForPeers(config, tunnel);
    for (const inbound of this.#config.inbounds) await this.#addInbound(inbound);
    for (const name of Object.keys(this.#config.provide)) await this.#provide(name);
    for (const { tunnel } of this.#tunnels.values()) tunnel.start();
    for (const { tunnel } of this.#provided.values()) tunnel.start();
    this.#groups?.start();
  }

  tunnels(): readonly TunnelStatus[] {
    return Array.from([...this.#tunnels, ...this.#provided], ([name, { url, tunnel }]) => ({
      name,
      url,
      ...tunnel.status(),
    }));
  }

  tunnel(name: string): ConnectedTunnel | undefined {
    return this.#tunnels.get(name)?.tunnel;
  }

  streams(): readonly StreamInfo[] {
    return this.#relay?.streams() ?? [];
  }

  kill(streamId: number): boolean {
    return this.#relay?.kill(streamId) ?? false;
  }

  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close(0);
  }

  async #close(graceMs: number): Promise<void> {
    await Promise.all(this.#open.map((listener) => listener.close()));
    await this.#relay?.close(graceMs);
    this.#lists.close();
    this.#groups?.close();
    await Promise.all(this.#served.map(({ tunnel }) => tunnel.close(0)));
    const dialled = [...this.#tunnels.values(), ...this.#provided.values()];
    await Promise.all(dialled.map(({ tunnel }) => tunnel.close(0)));
  }

  async #addTunnel(name: string, guard: Policy): Promise<void> {
    const config = this.#config.connect[name];
    if (config === undefined) return;
    const { url } = config;
    const connect = systemFor(url.system).connect;
    if (connect === undefined) throw new ConfigError(`${url.system} has no connect role`);
    const tunnel = await connect(config, this.#context(name), this.#hooks(name, url));
    this.#tunnels.set(name, { url: describeTunnelUrl(url), tunnel });
    const outbound = createTunnelOutbound(name, tunnel);
    this.#outbounds.set(name, guardOutbound(outbound, guard, this.#logger));
  }

  #addGroups(): void {
    this.#groups = new Groups(this.#config.groups, {
      runtime: this.#runtime,
      logger: this.#logger,
      tunnels: this.#tunnels,
      outbounds: this.#outbounds,
    });
    for (const outbound of this.#groups.outbounds) this.#outbounds.set(outbound.name, outbound);
  }

  async #provide(name: string): Promise<void> {
    const config = this.#config.provide[name];
    if (config === undefined) return;
    const { url } = config;
    const provide = systemFor(url.system).provide;
    if (provide === undefined) throw new ConfigError(`${url.system} has no provide role`);
    const hooks = this.#hooks(name, url);
    const tunnel = await provide(config, this.#context(name), {
      hooks,
      takers: this.#door(name),
    });
    this.#provided.set(name, { url: describeTunnelUrl(url), tunnel });
  }

  #hooks(name: string, url: TunnelUrl): ConnectHooks {
    const described = describeTunnelUrl(url);
    if (url.options.insecure === true) {
      this.#logger.warn("certificate checks are OFF for this tunnel", {
        tunnel: name,
        hint: "anybody on the way can read and change everything; use pin= or ca= instead",
      });
    }
    return {
      onStatus: (state) => {
        this.#groups?.changed();
        this.#options.onTunnel?.({ name, url: described, ...state });
      },
      onRefused: (error) => {
        if (this.#groups?.goesOnWithout(name) !== true) this.#settle.refused(error);
      },
    };
  }

  async #makeRelay(): Promise<Relay> {
    const [firstTunnel] = this.#tunnels.keys();
    const { serve, provide } = this.#config;
    const serveNames = [...serve.map(serveName), ...Object.keys(provide)];
    const routes = await createRoutes(this.#config.routes, this.#lists);
    // What peers ask for leaves here, unless a route says otherwise.
    if (serveNames.length > 0) routes.push({ inbounds: serveNames, via: "direct" });
    return createRelay({
      router: new Router({ routes, outbounds: this.#outbounds, fallback: firstTunnel ?? "direct" }),
      logger: this.#logger,
      runtime: this.#runtime,
      onStream: this.#options.onStream,
    });
  }

  async #addServed(config: ServeConfig, guard: Policy): Promise<void> {
    const { url } = config;
    const serve = systemFor(url.system).serve;
    if (serve === undefined) throw new ConfigError(`${url.system} has no serve role`);
    const name = serveName(config);
    if (config.anonymous) {
      this.#logger.warn("everybody may connect here", {
        listener: name,
        hint: "drop --anonymous and name clients",
      });
    }
    const { onRequest, onPacketRequest } = this.#door(name);
    const tunnel = await serve(config, this.#context(name), {
      onRequest,
      onPacketRequest,
      addOutbound: (outbound) =>
        void this.#outbounds.set(outbound.name, guardOutbound(outbound, guard, this.#logger)),
      removeOutbound: (outbound) => void this.#outbounds.delete(outbound),
      openProxy: async (proxy) => await this.#listen(proxy, this.#door(inboundName(proxy))),
    });
    this.#served.push({ config, tunnel });
  }

  async #listenForPeers(config: ServeConfig, tunnel: ServedTunnel): Promise<void> {
    const { url } = config;
    const name = serveName(config);
    const { listener, ...notes } = await listenForTunnel(config, this.#context(name), tunnel);
    this.#open.push(listener);
    this.listeners.push({
      name,
      kind: `${url.system}+${url.transport}`,
      address: `${listener.address}${url.path}`,
      ...notes,
    });
  }

  async #addInbound(config: InboundConfig): Promise<void> {
    const name = inboundName(config);
    const door = this.#door(name);
    const [firstTunnel = "direct"] = this.#tunnels.keys();
    const way = config.via ?? (this.#config.routes.length > 0 ? "routes" : firstTunnel);
    const leadsTo = config.kind === "forward" ? `${formatTarget(config.to)} via ${way}` : way;
    if (config.kind === "forward" && config.listen === "stdio") {
      this.#joinStdio({ ...door, target: config.to, via: config.via, where: leadsTo });
      return;
    }
    const listener =
      config.kind === "forward"
        ? await listenForward(config, door)
        : await this.#listen(config, door);
    this.#open.push(listener);
    this.listeners.push({ name, kind: config.kind, address: listener.address, leadsTo });
  }

  async #listen(config: ProxyInboundConfig, door: InboundOptions): Promise<Listener> {
    const accept = await createProxyInbound(config, door, this.#secrets);
    return await listenTcp({ runtime: this.#runtime, at: config.listen }, accept);
  }

  /** What every inbound is given. The relay is made when every way out is known. */
  #door(name: string): InboundOptions {
    return {
      name,
      runtime: this.#runtime,
      logger: this.#logger,
      bindUdp,
      onRequest: (request) => this.#relay?.onRequest(request),
      onPacketRequest: (request) => this.#relay?.onPacketRequest(request),
    };
  }

  /** The one stream of a ProxyCommand: when it ends, so does the program. */
  #joinStdio({ where, onRequest, ...options }: StdioForward): void {
    const { stdio } = this.#options;
    if (stdio === undefined) throw new ConfigError("-L -:… needs standard input and output");
    const info = { transport: "stdio", local: "-", peer: "stdio" };
    const connection = new DuplexConnection(stdio, { info, runtime: this.#runtime });
    stdio.once("close", () => this.#settle.stdio());
    const accept = createForwardInbound({
      ...options,
      onRequest: (request) => {
        onRequest({
          target: request.target,
          metadata: request.metadata,
          signal: request.signal,
          accept: () => request.accept(),
          reject: (error) => {
            request.reject(error);
            this.#settle.stdio(error);
          },
        });
      },
    });
    accept(connection);
    this.listeners.push({ name: options.name, kind: "forward", address: "-", leadsTo: where });
  }

  #context(name: string): SystemContext {
    return { name, runtime: this.#runtime, logger: this.#logger, secrets: this.#secrets };
  }
}

interface StdioForward extends ForwardInboundOptions {
  readonly where: string;
}

function systemFor(name: SystemName): TunnelSystem {
  const system = REGISTRY[name];
  if (system === undefined) throw new ConfigError(`${name} is not in this version yet`);
  return system;
}
