import { PolicyError, TunnelError } from "../../errors.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { Metadata, Outbound } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { announceConnectors, announceProviders, tellProviderCount } from "./partners.ts";
import type { Peer, ProviderGroup } from "./peer.ts";
import { type Balance, ProviderPool } from "./providers.ts";
import type { Login } from "./server-login.ts";
import type { ConnectorToken, ReverseToken, Token, TokenTable } from "./tokens.ts";

/** Where ways out are made known and forgotten. */
export interface OutboundBook {
  add(outbound: Outbound): void;
  remove(name: string): void;
}

/** What a {@link Hub} needs. */
export interface HubOptions {
  readonly tokens: TokenTable;
  readonly outbounds: OutboundBook;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** How long a request waits for a provider, ms. */
  readonly waitMs: (metadata: Metadata) => number;
  readonly balance?: Balance | undefined;
  /** How long the connectors of an instance outlive its last WebSocket, ms. */
  readonly keepConnectorsMs: number;
}

/** Who is connected, who reaches whom, and the ways out that follow from it. */
export class Hub {
  readonly #options: HubOptions;
  readonly #peers = new Set<Peer>();
  /** By reverse token, then by instance; `undefined`: all providers of the token. */
  readonly #groups = new Map<ReverseToken, Map<string | undefined, ProviderGroup>>();

  constructor(options: HubOptions) {
    this.#options = options;
  }

  get peers(): ReadonlySet<Peer> {
    return this.#peers;
  }

  /** Makes the way out that a reverse token stands for; with autonomy each instance makes its own. */
  open(reverse: ReverseToken): void {
    this.#group(reverse, undefined);
  }

  /** The group a login belongs to; forward clients have none. */
  groupOf(login: Login): ProviderGroup | undefined {
    switch (login.role) {
      case "forward":
        return undefined;
      case "connector":
        return this.#group(login.token.reverse, login.token.instance);
      case "provider":
        return this.#group(login.token, login.token.autonomy ? login.instance : undefined);
    }
  }

  /** The group of this instance, where there is one. */
  find(reverse: ReverseToken, instance: string | undefined): ProviderGroup | undefined {
    return this.#groups.get(reverse)?.get(instance);
  }

  /** The groups of a reverse token: that of all its providers, then those of its instances. */
  groupsOf(reverse: ReverseToken): Iterable<ProviderGroup> {
    return this.#groups.get(reverse)?.values() ?? [];
  }

  /** A peer is ready: whoever waits for it goes on, and its partners hear of it. */
  join(peer: Peer): void {
    if (peer.isGone) return;
    this.#peers.add(peer);
    const { role, group } = peer;
    if (group === undefined) return;
    if (role === "provider") {
      group.farewell?.cancel();
      group.farewell = undefined;
      group.providers.add(peer);
      announceProviders(group);
      group.pool.join(peer.driver);
    } else if (role === "connector") {
      group.connectors.add(peer);
      tellProviderCount(peer, group);
      announceConnectors(group);
    }
  }

  /** A peer's WebSocket has ended. */
  leave(peer: Peer): void {
    peer.gone();
    this.#peers.delete(peer);
    const { group } = peer;
    if (group === undefined) return;
    if (group.providers.delete(peer)) {
      group.pool.leave(peer.driver);
      announceProviders(group);
    }
    if (group.connectors.delete(peer)) announceConnectors(group);
    this.#tidy(group);
  }

  /** Another instance takes a connector over, and those who use it come along. */
  move(from: ConnectorToken, to: ConnectorToken): void {
    const old = this.find(from.reverse, from.instance);
    const next = this.#group(to.reverse, to.instance);
    for (const peer of old?.connectors ?? []) {
      if (peer.token !== from) continue;
      old?.connectors.delete(peer);
      peer.token = to;
      peer.group = next;
      next.connectors.add(peer);
      tellProviderCount(peer, next);
    }
    announceConnectors(next);
    if (old !== undefined) this.#tidy(old);
  }

  /**
   * Forgets a token and ends every WebSocket that came with it; with a reverse token go its
   * connectors and its ways out.
   */
  remove(token: Token): void {
    const { tokens } = this.#options;
    if (!tokens.remove(token)) return;
    if (token.kind === "reverse") {
      for (const other of tokens) {
        if (other.kind === "connector" && other.reverse === token) this.remove(other);
      }
    }
    const error = new PolicyError("ERR_CLOSED", `token "${token.name}" was removed`);
    for (const peer of this.#peers) if (peer.token === token) peer.abort(error);
    if (token.kind !== "reverse") return;
    for (const group of this.groupsOf(token)) this.#close(group, error);
  }

  /** Nobody waits for anything any more. */
  close(): void {
    const error = new TunnelError("ERR_SHUTDOWN", "shutting down");
    for (const groups of this.#groups.values()) {
      for (const group of groups.values()) this.#close(group, error);
    }
  }

  #group(reverse: ReverseToken, instance: string | undefined): ProviderGroup {
    const groups = this.#groups.get(reverse) ?? new Map<string | undefined, ProviderGroup>();
    this.#groups.set(reverse, groups);
    const known = groups.get(instance);
    if (known !== undefined) return known;
    const { runtime, waitMs, balance, outbounds } = this.#options;
    const name = instance === undefined ? reverse.name : `${reverse.name}/${instance}`;
    const pool = new ProviderPool({ name, runtime, waitMs, balance });
    const group: ProviderGroup = {
      reverse,
      instance,
      pool,
      providers: new Set(),
      connectors: new Set(),
    };
    groups.set(instance, group);
    outbounds.add(pool);
    return group;
  }

  /** Of an instance that is away its connectors are kept for a while: it may come back. */
  #tidy(group: ProviderGroup): void {
    const { reverse, instance, providers, farewell } = group;
    if (instance === undefined || providers.size > 0 || farewell !== undefined) return;
    if (this.find(reverse, instance) !== group) return;
    const { runtime, keepConnectorsMs, logger } = this.#options;
    const error = new PolicyError("ERR_CLOSED", "the provider of this connector is gone");
    if (this.connectorsOf(group).length === 0) {
      this.#close(group, error);
      return;
    }
    group.farewell = runtime.clock.schedule(keepConnectorsMs, () => {
      for (const token of this.connectorsOf(group)) this.remove(token);
      this.#close(group, error);
      logger.info("connectors removed, their provider is gone", { via: group.pool.name });
    });
  }

  /** The connector tokens an instance added. */
  connectorsOf({ reverse, instance }: ProviderGroup): ConnectorToken[] {
    const found: ConnectorToken[] = [];
    for (const token of this.#options.tokens) {
      if (token.kind !== "connector") continue;
      if (token.reverse === reverse && token.instance === instance) found.push(token);
    }
    return found;
  }

  #close(group: ProviderGroup, error: TunnelError): void {
    const { reverse, instance, pool, farewell } = group;
    farewell?.cancel();
    const groups = this.#groups.get(reverse);
    if (groups?.get(instance) !== group) return;
    groups.delete(instance);
    if (groups.size === 0) this.#groups.delete(reverse);
    this.#options.outbounds.remove(pool.name);
    pool.close(error);
  }
}
