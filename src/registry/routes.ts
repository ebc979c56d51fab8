import { parseHostPattern } from "../address/host-pattern.ts";
import type { RouteConfig } from "../config/config.ts";
import type { Route, TargetMatcher } from "../relay/router.ts";
import type { HostLists } from "./host-lists.ts";

/**
 * The routes of a configuration, with their lists read.
 *
 * @throws ConfigError when a list cannot be read
 */
export async function createRoutes(
  configs: readonly RouteConfig[],
  lists: HostLists,
): Promise<Route[]> {
  const routes: Route[] = [];
  for (const config of configs) routes.push(await createRoute(config, lists));
  return routes;
}

async function createRoute(config: RouteConfig, lists: HostLists): Promise<Route> {
  const { domain, cidr, regexp, list, port, inbound, user, via } = config;
  const targets: TargetMatcher[] = [
    ...(domain ?? []),
    ...(cidr ?? []).map((block) => parseHostPattern(block.toString())),
    ...(regexp ?? []),
  ];
  for (const source of list ?? []) targets.push(await lists.open(source));
  const isForAll = [domain, cidr, regexp, list].every((values) => values === undefined);
  return {
    targets: isForAll ? undefined : targets,
    ports: port,
    inbounds: inbound,
    users: user,
    via,
  };
}
