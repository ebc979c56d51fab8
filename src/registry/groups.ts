import type { Config, GroupConfig } from "../config/config.ts";
import { createGroup, type Group } from "../outbound/group/group.ts";
import type { GroupMember } from "../outbound/group/member.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Outbound } from "../tunnel/request.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import type { ConnectedTunnel } from "./system.ts";

/** What the groups of a configuration are made from. */
export interface GroupParts {
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** Dialled tunnels and ways out, by name. */
  readonly tunnels: ReadonlyMap<string, { readonly tunnel: ConnectedTunnel }>;
  readonly outbounds: ReadonlyMap<string, Outbound>;
}

/** Every group of a configuration. */
export class Groups {
  readonly #configs: Config["groups"];
  readonly #groups: readonly Group[];
  /** Tunnels whose peer said no for good. */
  readonly #refused = new Set<string>();

  constructor(configs: Config["groups"], parts: GroupParts) {
    this.#configs = configs;
    this.#groups = Object.entries(configs).map(([name, config]) => makeGroup(name, config, parts));
  }

  /** The ways out they are. */
  get outbounds(): readonly Outbound[] {
    return this.#groups.map(({ outbound }) => outbound);
  }

  start(): void {
    for (const group of this.#groups) group.start();
  }

  /** The status of a tunnel changed. */
  changed(): void {
    for (const group of this.#groups) group.changed();
  }

  /** A tunnel was refused for good. @returns whether a group goes on without it */
  goesOnWithout(tunnel: string): boolean {
    this.#refused.add(tunnel);
    return Object.values(this.#configs).some(
      ({ tunnels }) =>
        tunnels.includes(tunnel) && tunnels.some((other) => !this.#refused.has(other)),
    );
  }

  close(): void {
    for (const group of this.#groups) group.close();
  }
}

function makeGroup(name: string, config: GroupConfig, parts: GroupParts): Group {
  const { policy, check, wait, tunnels } = config;
  const { runtime, logger } = parts;
  return createGroup({
    name,
    runtime,
    logger,
    policy,
    waitMs: wait,
    check: { everyMs: check.every, timeoutMs: check.timeout, up: check.up, down: check.down },
    members: tunnels.flatMap((member) => makeMember(member, { name, config, parts })),
  });
}

function makeMember(
  member: string,
  group: { readonly name: string; readonly config: GroupConfig; readonly parts: GroupParts },
): GroupMember[] {
  const { tunnels, outbounds } = group.parts;
  const tunnel = tunnels.get(member)?.tunnel;
  const outbound = outbounds.get(member);
  if (tunnel === undefined || outbound === undefined) return [];
  const { target } = group.config.check;
  const metadata = { inbound: `group ${group.name}`, source: "check" };
  const check: GroupMember["check"] =
    target === undefined
      ? tunnel.probe?.bind(tunnel)
      : async ({ signal }) => {
          const connection = await outbound.dial(target, { signal, metadata });
          connection.close();
        };
  return [{ outbound, status: () => tunnel.status(), check }];
}
