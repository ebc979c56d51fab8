import type { Peer, ProviderGroup } from "./peer.ts";

/** Tells a connector how many providers it has. */
export function tellProviderCount(connector: Peer, { providers }: ProviderGroup): void {
  connector.send({ type: "partners", count: providers.size });
}

/**
 * A provider came or went.
 *
 * DEVIATION(linksocks): the reference tells all connectors of all tokens the number of all providers,
 * and not every time. Spec: linksocks 3.9.
 */
export function announceProviders(group: ProviderGroup): void {
  for (const connector of group.connectors) tellProviderCount(connector, group);
}

/** A connector came or went. */
export function announceConnectors({ providers, connectors }: ProviderGroup): void {
  for (const provider of providers) provider.send({ type: "partners", count: connectors.size });
}
