import { type HostPattern, parseHostPattern } from "../address/host-pattern.ts";
import { formatHostPort } from "../address/target.ts";
import type { Config, ServeConfig } from "../config/config.ts";
import { serveName } from "../config/references.ts";
import { ExitPolicy, type Policy, policyByRequest } from "../relay/exit-policy.ts";

/** Who may reach what: by the inbound that asks. */
export interface Policies {
  /** Judges what `direct` dials. */
  readonly exit: Policy;
  /**
   * Judges what peers of `serve` and `provide` send on elsewhere. What our own users send into a
   * tunnel is the far side's to judge.
   */
  readonly guard: Policy;
}

/** The policies that `allow`, `deny` and the clients' own lists come down to. */
export function createPolicies({ serve, provide, allow, deny }: Config): Policies {
  const local = new ExitPolicy({ allow, deny });
  const byPeers = new Map<string, (user: string | undefined) => Policy>();
  for (const entry of serve) {
    const everybody = new ExitPolicy({ allow: allowOf(entry), deny: entry.deny });
    const restricted = new Map<string, Policy>();
    for (const [name, client] of Object.entries(entry.clients)) {
      if (client.allow !== undefined) restricted.set(name, everybody.restrictedTo(client.allow));
    }
    byPeers.set(serveName(entry), (user) => restricted.get(user ?? "") ?? everybody);
  }
  for (const [name, entry] of Object.entries(provide)) {
    const everybody = new ExitPolicy({ allow: entry.allow, deny: entry.deny });
    byPeers.set(name, () => everybody);
  }
  return {
    exit: policyByRequest(({ inbound, user }) => byPeers.get(inbound)?.(user) ?? local),
    guard: policyByRequest(({ inbound, user, via }) =>
      via === undefined ? (byPeers.get(inbound)?.(user) ?? ANYTHING) : ANYTHING,
    ),
  };
}

/** A target that the URL names is the operator's own wish. */
function allowOf({ url, allow }: ServeConfig): readonly HostPattern[] {
  const { target } = url.options;
  if (target === undefined) return allow;
  return [...allow, parseHostPattern(formatHostPort(target.host, target.port))];
}

/** Our own users' wishes into a tunnel, and those of a provider's connectors: its end judges them. */
const ANYTHING: Policy = {
  checkName: () => undefined,
  checkAddress: () => undefined,
  checkUnresolved: () => undefined,
};
