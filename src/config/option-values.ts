import type { HostPort } from "../address/socks-address.ts";
import type { Credential } from "./credential.ts";
import type { Milliseconds } from "./duration.ts";
import type { Header } from "./option-codec.ts";
import type { ProxyUrl } from "./proxy-url.ts";

/** What the query of a tunnel URL says. What is absent is left to the protocol. */
export type TunnelOptions = Partial<OptionValues>;

/** Everything the query of a tunnel URL can say. */
export interface OptionValues {
  /** Name asked for in the TLS handshake, and checked against the certificate. */
  readonly sni: string;
  /** PEM: who may have signed the other side's certificate. */
  readonly ca: Credential;
  /** PEM: our certificate. */
  readonly cert: Credential;
  /** PEM: the key of our certificate. */
  readonly key: Credential;
  /** SHA-256 of the public keys (SPKI) accepted, base64. */
  readonly pin: readonly string[];
  /** Accepts any certificate. */
  readonly insecure: boolean;
  /** Proxy the tunnel itself goes through. */
  readonly proxy: ProxyUrl;
  /** Headers added to the request of ws and wss. */
  readonly header: readonly Header[];
  /** After how long a connection without streams is closed; 0: never. */
  readonly idle: Milliseconds;
  /** How often the peer is probed; it counts as lost after twice this time. */
  readonly keepalive: Milliseconds;
  /** pong: streams on one connection. */
  readonly streams: number;
  /** pong: which program the other side runs. */
  readonly peer: PongPeer;
  /** pong, linksocks: whether our extensions are offered. */
  readonly ext: boolean;
  /** pong, linksocks: what happens to a stream whose reader is too slow. */
  readonly slow: SlowPolicy;
  /** pong: connections kept ready. */
  readonly spare: number;
  /** pong: after this age a connection gets no new streams. */
  readonly maxage: Milliseconds;
  /** linksocks: how long a server waits for a provider to join. */
  readonly wait: Milliseconds;
  /** linksocks: how the providers of one token take turns. */
  readonly balance: Balance;
  /** linksocks: whether a server relays the signalling of direct paths. */
  readonly direct: boolean;
  /** linksocks: WebSockets at one time. */
  readonly threads: number;
  /** linksocks: answers the program before the exit does. */
  readonly fastopen: boolean;
  /** linksocks: tokens of connectors a provider announces. */
  readonly connector: readonly Credential[];
  /** linksocks: whether a refusal is tried again. */
  readonly retryauth: boolean;
  /** linksocks: servers to try after the one in the URL. */
  readonly failover: readonly HostPort[];
  /** linksocks, vproxy and kcptun over KCP: payloads from this size on are compressed, bytes. */
  readonly gzip: number;
  /** pong: how long the answer to the client waits for a sign of the target. */
  readonly hold: Milliseconds;
  /** vproxy, godoxy: connections kept ready. */
  readonly pool: number;
  /** vproxy: whether each step of a stream's opening waits for the answer to the one before. */
  readonly strict: boolean;
  /** vproxy: who may have names resolved over HTTP. */
  readonly resolve: ResolvePolicy;
  /** vproxy: directory whose files are served to browsers. */
  readonly webroot: string;
  /** vproxy: port that sends browsers on to https. */
  readonly redirect: number;
  /** vproxy: the name TLS clients may ask for, and redirects lead to. */
  readonly domain: string;
  /** kcptun: where every stream leads. */
  readonly target: HostPort;
  /** KCP: how eagerly it sends. */
  readonly profile: KcpProfileName;
  /** vproxy over KCP: whether the TCP port of the same number is open, for health checks. */
  readonly health: boolean;
  /** godoxy: zip with the CA, our certificate and its key. */
  readonly store: string;
  /** godoxy: the header that tells a target who asks. */
  readonly proxyprotocol: ProxyProtocol;
  /** godoxy: whether datagrams go over DTLS to the UDP port of the same number. */
  readonly udp: boolean;
}

/** Versions of the PROXY protocol. */
export type ProxyProtocol = (typeof PROXY_PROTOCOLS)[number];

/** Who may have names resolved over HTTP. */
export type ResolvePolicy = (typeof RESOLVE_POLICIES)[number];

/** Sets of KCP parameters. */
export type KcpProfileName = (typeof KCP_PROFILE_NAMES)[number];

/** Programs that speak pong and differ in what they do. */
export type PongPeer = (typeof PONG_PEERS)[number];

/** What happens to a stream whose reader is too slow. */
export type SlowPolicy = (typeof SLOW_POLICIES)[number];

/** How providers take turns. */
export type Balance = (typeof BALANCES)[number];

/** A key of {@link OptionValues}, which is also its name in the URL. */
export type OptionName = keyof OptionValues;

/** Options while they are being read. */
export type OptionsDraft = { -readonly [Name in OptionName]?: OptionValues[Name] };

/** Programs that speak pong, by the name the `peer` option uses. */
export const PONG_PEERS = ["auto", "sluice", "v0.9.4", "head"] as const;

/** The values of the `slow` option. */
export const SLOW_POLICIES = ["reset", "pause"] as const;

/** The values of the `balance` option. */
export const BALANCES = ["roundrobin", "leaststreams"] as const;

/** The values of the `resolve` option. */
export const RESOLVE_POLICIES = ["off", "users", "anybody"] as const;

/** The values of the `profile` option. */
export const KCP_PROFILE_NAMES = ["fast", "normal", "vproxy"] as const;

/** The values of the `proxyprotocol` option. */
export const PROXY_PROTOCOLS = ["v1", "v2"] as const;
