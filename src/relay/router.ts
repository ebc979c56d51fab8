import type { PortRange } from "../address/host-pattern.ts";
import type { Target } from "../address/target.ts";
import { ConfigError, NetworkError } from "../errors.ts";
import type { Metadata, Outbound } from "../tunnel/request.ts";

/** Something that knows which targets it means: a pattern, an expression, a list. */
export interface TargetMatcher {
  /** Names are not resolved for it. */
  matchesTarget(target: Target): boolean;
}

/**
 * One rule: when everything it names matches, targets go out through `via`. Of the values of one
 * property any may match; a property that is absent matches everything.
 */
export interface Route {
  /**
   * Domains, addresses and blocks, each with ports if it wants; expressions; lists. Names are not
   * resolved here: a block matches targets that were asked for as IP literals only, and a domain
   * names only.
   */
  readonly targets?: readonly TargetMatcher[] | undefined;
  readonly ports?: readonly PortRange[] | undefined;
  readonly network?: Target["network"] | undefined;
  readonly inbounds?: readonly string[] | undefined;
  /** Authenticated users; a request without one never matches. */
  readonly users?: readonly string[] | undefined;
  /** The name of an outbound. */
  readonly via: string;
}

/** What a router chooses from. */
export interface RouterOptions {
  readonly routes: readonly Route[];
  /** By name. Read at each choice: outbounds may come and go. */
  readonly outbounds: ReadonlyMap<string, Outbound>;
  /** The outbound of what no route matches. */
  readonly fallback: string;
}

/** Chooses the way out. The first route that matches wins. Routes are no access rules. */
export class Router {
  readonly #routes: readonly Route[];
  readonly #outbounds: ReadonlyMap<string, Outbound>;
  readonly #fallback: string;

  /** @throws ConfigError when a route, or the fallback, names no outbound that exists now */
  constructor({ routes, outbounds, fallback }: RouterOptions) {
    this.#routes = routes;
    this.#outbounds = outbounds;
    this.#fallback = fallback;
    for (const name of [...routes.map(({ via }) => via), fallback]) {
      if (outbounds.has(name)) continue;
      const known = [...outbounds.keys()].join(", ");
      throw new ConfigError(`route via "${name}": there is no such outbound`, {
        hint: known === "" ? undefined : `use one of: ${known}`,
      });
    }
  }

  /**
   * `metadata.via` beats every route.
   *
   * @throws NetworkError `ERR_TUNNEL_DOWN` when the chosen outbound is not there (any more)
   */
  choose(target: Target, metadata: Metadata): Outbound {
    const name =
      metadata.via ??
      this.#routes.find((route) => matches(route, target, metadata))?.via ??
      this.#fallback;
    const outbound = this.#outbounds.get(name);
    if (outbound !== undefined) return outbound;
    throw new NetworkError("ERR_TUNNEL_DOWN", `outbound "${name}" is not there`);
  }

  /**
   * Every way out that this asker's targets may take, before any of them is known.
   *
   * @throws NetworkError `ERR_TUNNEL_DOWN` when none of them is there
   */
  candidates(network: Target["network"], metadata: Metadata): readonly Outbound[] {
    const names = this.#candidateNames(network, metadata);
    const found = names.flatMap((name) => this.#outbounds.get(name) ?? []);
    if (found.length > 0) return found;
    throw new NetworkError("ERR_TUNNEL_DOWN", `outbound "${names.join('", "')}" is not there`);
  }

  #candidateNames(network: Target["network"], metadata: Metadata): readonly string[] {
    if (metadata.via !== undefined) return [metadata.via];
    const names = new Set<string>();
    for (const route of this.#routes) {
      if (!matchesAsker(route, network, metadata)) continue;
      names.add(route.via);
      if (route.targets === undefined && route.ports === undefined) return [...names];
    }
    return [...names.add(this.#fallback)];
  }
}

function matchesAsker(route: Route, network: Target["network"], metadata: Metadata): boolean {
  if (route.network !== undefined && route.network !== network) return false;
  const { inbounds, users } = route;
  if (inbounds !== undefined && !inbounds.includes(metadata.inbound)) return false;
  if (users === undefined) return true;
  return metadata.user !== undefined && users.includes(metadata.user);
}

function matches(route: Route, target: Target, metadata: Metadata): boolean {
  const { targets, ports } = route;
  if (!matchesAsker(route, target.network, metadata)) return false;
  if (ports !== undefined) {
    if (!ports.some(({ first, last }) => target.port >= first && target.port <= last)) return false;
  }
  return targets === undefined || targets.some((pattern) => pattern.matchesTarget(target));
}
