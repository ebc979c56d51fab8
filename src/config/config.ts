import type { Cidr } from "../address/cidr.ts";
import type { HostPattern, PortRange } from "../address/host-pattern.ts";
import type { HostRegexp } from "../address/host-regexp.ts";
import type { Target } from "../address/target.ts";
import type { Credential } from "./credential.ts";
import type { Milliseconds } from "./duration.ts";
import type { ListSource } from "./list-file.ts";
import type { ForwardAddress, ListenAddress } from "./listen-address.ts";
import type { ProxyUrl } from "./proxy-url.ts";
import type { TunnelUrl } from "./tunnel-url.ts";

/** Everything a process does: what the command line and the configuration file come down to. */
export interface Config {
  readonly serve: readonly ServeConfig[];
  readonly connect: Readonly<Record<string, ConnectConfig>>;
  readonly provide: Readonly<Record<string, ProvideConfig>>;
  readonly groups: Readonly<Record<string, GroupConfig>>;
  readonly inbounds: readonly InboundConfig[];
  readonly outbounds: Readonly<Record<string, ProxyUrl>>;
  readonly routes: readonly RouteConfig[];
  /** What `direct` may dial for inbounds, beyond the default; see the exit policy. */
  readonly allow: readonly HostPattern[];
  readonly deny: readonly HostPattern[];
  readonly log: LogConfig;
  /** How long running streams may take to finish when the process is told to end. */
  readonly grace: Milliseconds;
}

/** Listens for the peers of a tunnel. */
export interface ServeConfig {
  readonly name?: string | undefined;
  readonly url: TunnelUrl;
  readonly clients: Readonly<Record<string, ClientConfig>>;
  /** Lets everybody in. */
  readonly anonymous: boolean;
  /** Who dials targets for others; each name is one of a way out too. */
  readonly providers?: Readonly<Record<string, ProviderConfig>> | undefined;
  /** Whose targets a provider dials. */
  readonly connectors?: Readonly<Record<string, ConnectorConfig>> | undefined;
  /** Manages tokens while it runs. */
  readonly api?: ApiConfig | undefined;
  /** Our certificate and its key, PEM. */
  readonly cert?: Credential | undefined;
  readonly key?: Credential | undefined;
  readonly allow: readonly HostPattern[];
  readonly deny: readonly HostPattern[];
}

/** One client a server knows. */
export interface ClientConfig {
  readonly id: Credential;
  /** The only targets this client may reach. */
  readonly allow?: readonly HostPattern[] | undefined;
}

/** One provider a server knows, or several with the same token. */
export interface ProviderConfig {
  readonly token: Credential;
  /** Serves connectors it announces itself, and nothing else. */
  readonly autonomy: boolean;
}

/** One client of a server whose targets a provider dials. */
export interface ConnectorConfig {
  readonly token: Credential;
  /** A name under `providers`. */
  readonly provider: string;
}

/** The HTTP API of a server. */
export interface ApiConfig {
  readonly key: Credential;
  /** The address on which it opens proxies. */
  readonly bind: string;
}

/** Dials a tunnel to use the far side's network. */
export interface ConnectConfig {
  readonly url: TunnelUrl;
  readonly retry: RetryConfig;
  /** How long a new connection waits for the tunnel to come up. */
  readonly wait: Milliseconds;
}

/** Several tunnels to the same places, as one way out. */
export interface GroupConfig {
  /** Names under `connect`, in the order of preference. */
  readonly tunnels: readonly string[];
  readonly policy: "round-robin" | "least-streams" | "failover";
  readonly check: CheckConfig;
  /** How long a new connection waits while no member is healthy. */
  readonly wait: Milliseconds;
}

/** How members of a group are checked. */
export interface CheckConfig {
  readonly every: Milliseconds;
  readonly timeout: Milliseconds;
  /** Passed checks in a row that bring a member up again, and failed ones that take it down. */
  readonly up: number;
  readonly down: number;
  /** What a check opens; without it the tunnel speaks for itself. */
  readonly target?: Target | undefined;
}

/** Dials a tunnel to lend our network to the far side. */
export interface ProvideConfig {
  readonly url: TunnelUrl;
  readonly retry: RetryConfig;
  readonly allow: readonly HostPattern[];
  readonly deny: readonly HostPattern[];
}

/** Bounds of the delay before a lost tunnel is dialled again. */
export interface RetryConfig {
  readonly min: Milliseconds;
  readonly max: Milliseconds;
}

/** A door for local programs. */
export type InboundConfig = ProxyInboundConfig | ForwardInboundConfig;

/** A proxy on a local port. */
export interface ProxyInboundConfig {
  /**
   * `socks`: SOCKS5, SOCKS4a and HTTP on one port; `http`: HTTP alone; `sni`: what knows no proxy,
   * TLS and HTTP led on to the host they ask for.
   */
  readonly kind: "socks" | "http" | "sni";
  readonly name?: string | undefined;
  readonly listen: ListenAddress;
  /** Who may use it; nobody named: everybody. */
  readonly users: Readonly<Record<string, Credential>>;
  readonly via?: string | undefined;
  /** Serves a PAC file for browsers: on the usual paths, or on this one. */
  readonly pac?: boolean | string | undefined;
}

/** One local port, socket or standard input joined to one target; for datagrams always a port. */
export interface ForwardInboundConfig {
  readonly kind: "forward";
  readonly name?: string | undefined;
  readonly listen: ForwardAddress;
  readonly to: Target;
  readonly via?: string | undefined;
}

/**
 * One rule: every condition that is there must hold, one of its values is enough; `domain`, `cidr`,
 * `regexp` and `list` are one condition: which host it is.
 */
export interface RouteConfig {
  readonly domain?: readonly HostPattern[] | undefined;
  readonly cidr?: readonly Cidr[] | undefined;
  /** Compared with the whole host, name or address. */
  readonly regexp?: readonly HostRegexp[] | undefined;
  readonly list?: readonly ListSource[] | undefined;
  /** `undefined` inside: every port. */
  readonly port?: readonly PortRange[] | undefined;
  readonly inbound?: readonly string[] | undefined;
  readonly user?: readonly string[] | undefined;
  /** Name of an outbound, a tunnel, `direct` or `block`. */
  readonly via: string;
}

/** What is logged, and how. */
export interface LogConfig {
  /** `auto`: pretty on a terminal, JSON lines elsewhere. */
  readonly format: "auto" | "pretty" | "json";
  readonly level: "debug" | "info" | "warn" | "error";
}

/** The configuration in the shape of the YAML file, before anything is checked. */
export type ConfigInput = Readonly<Record<string, unknown>>;

/** Ways out that always exist. */
export const BUILT_IN_OUTBOUNDS = ["direct", "block"] as const;

/** The name an inbound has in logs and routes when the configuration gives it none. */
export function defaultName(kind: string, place: string): string {
  return `${kind} ${place}`;
}
