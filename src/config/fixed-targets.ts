import { formatTarget } from "../address/target.ts";
import type { GroupConfig, InboundConfig, RouteConfig } from "./config.ts";
import { formatPath, type PathPart, type Problem } from "./problem.ts";
import { SYSTEMS } from "./systems.ts";
import type { TunnelUrl } from "./tunnel-url.ts";

/**
 * What cannot be asked of a tunnel whose server decides where every stream leads (kcptun): to reach
 * what a proxy's client or a route names, and to be two targets.
 */
export function checkFixedTargets(config: FixedTargetParts): Problem[] {
  const { inbounds, routes, connect, connectUrls, groups } = config;
  const hasFixedTarget = (way: string = connect[0] ?? ""): boolean => {
    const tunnels = groups.get(way)?.tunnels ?? [way];
    const urls = tunnels.flatMap((name) => connectUrls.get(name) ?? []);
    return urls.some(({ system }) => SYSTEMS[system].hasFixedTarget);
  };
  const problems: Problem[] = [];
  const targets = new Map<string, { readonly to: string; readonly path: readonly PathPart[] }>();
  for (const [index, inbound] of inbounds.entries()) {
    if (inbound === undefined || !hasFixedTarget(inbound.via)) continue;
    const way = inbound.via ?? connect[0] ?? "";
    const path = ["inbounds", index];
    if (inbound.kind !== "forward") {
      // Without `via`, routes may lead its clients elsewhere, and only what matches none goes here.
      const message = `"${way}" leads to the one target its server names, so it takes forwards and no proxy`;
      problems.push({ path: [...path, inbound.kind], message });
      continue;
    }
    const to = formatTarget(inbound.to);
    const first = targets.get(way);
    if (first === undefined) targets.set(way, { to, path });
    else if (first.to !== to) {
      const message = `"${way}" leads to the one target its server names, and ${formatPath(first.path)} says that is ${first.to}`;
      problems.push({ path: [...path, "to"], message });
    }
  }
  for (const [index, route] of routes.entries()) {
    if (route === undefined || !hasFixedTarget(route.via)) continue;
    const message = `"${route.via}" leads to the one target its server names: use a forward with via instead of a route`;
    problems.push({ path: ["routes", index, "via"], message });
  }
  return problems;
}

/** What is wrong with the URL of such a server. */
export function wrongFixedTarget({ system, transport, options }: TunnelUrl): string | undefined {
  if (!SYSTEMS[system].hasFixedTarget || options.target !== undefined) return undefined;
  return `${system}+${transport} wants the target of its streams: add ?target=host:port`;
}

/** The parts of a configuration this is about. */
interface FixedTargetParts {
  readonly inbounds: readonly (InboundConfig | undefined)[];
  readonly routes: readonly (RouteConfig | undefined)[];
  readonly connect: readonly string[];
  readonly connectUrls: ReadonlyMap<string, TunnelUrl>;
  readonly groups: ReadonlyMap<string, GroupConfig>;
}
