import {
  choice,
  directory,
  duration,
  file,
  flag,
  headers,
  hostName,
  hostPort,
  hostPorts,
  integer,
  type OptionCodec,
  pem,
  pins,
  proxyUrl,
  tokens,
} from "./option-codec.ts";
import {
  BALANCES,
  KCP_PROFILE_NAMES,
  type OptionName,
  type OptionsDraft,
  type OptionValues,
  PONG_PEERS,
  PROXY_PROTOCOLS,
  RESOLVE_POLICIES,
  SLOW_POLICIES,
  type TunnelOptions,
} from "./option-values.ts";
import type { Role, SystemName, TransportInfo } from "./systems.ts";

/** One option: how it is written, where it makes sense, and what it does. */
export interface OptionDefinition extends OptionInfo {
  /** What may stand there: `TIME`, `1..300`. */
  readonly form: string;
  /** Reads all values given under the name, at least one, into the draft. */
  read(texts: readonly string[], into: OptionsDraft): void;
  /** Writes the option again, if it is there; secrets are hidden unless they are to be revealed. */
  write(options: TunnelOptions, how: { readonly reveal: boolean }): readonly string[];
}

/** What help and checks know of an option. */
export interface OptionInfo {
  /** One sentence on what it does. */
  readonly summary: string;
  /** The only systems that have it. @default all */
  readonly systems?: readonly SystemName[];
  /** The roles that have it. @default all */
  readonly roles?: readonly Role[];
  /** What the transport must have, for every system or by system. */
  readonly needs?: OptionNeed | Readonly<Partial<Record<SystemName, OptionNeed>>>;
}

/** What an option can need of a transport. */
export type OptionNeed = "TLS" | "HTTP" | "KCP" | "TCP";

/** Whether a transport has what an option needs. */
export const NEEDS: Readonly<Record<OptionNeed, (transport: TransportInfo) => boolean>> = {
  TLS: ({ hasTls }) => hasTls,
  HTTP: ({ hasHttp }) => hasHttp,
  KCP: ({ hasKcp }) => hasKcp,
  TCP: ({ isUdp }) => !isUdp,
};

/** Every option there is. */
export const OPTIONS: Readonly<Record<OptionName, OptionDefinition>> = {
  sni: option("sni", hostName, {
    summary: "name sent in the TLS handshake and checked against the certificate",
    roles: ["connect", "provide"],
    needs: "TLS",
  }),
  ca: option("ca", pem, {
    summary: "PEM certificates that may have signed the other side's certificate",
    needs: "TLS",
  }),
  cert: option("cert", pem, {
    summary: "our certificate, PEM",
    needs: "TLS",
  }),
  key: option("key", pem, {
    summary: "the key of our certificate, PEM",
    needs: "TLS",
  }),
  pin: option("pin", pins, {
    summary: "public key (SPKI) the other side must have, hex or base64; repeatable",
    roles: ["connect", "provide"],
    needs: "TLS",
  }),
  insecure: option("insecure", flag, {
    summary: "accept any certificate: anybody on the way can read and change everything",
    roles: ["connect", "provide"],
    needs: "TLS",
  }),
  proxy: option("proxy", proxyUrl, {
    summary: "HTTP or SOCKS5 proxy the tunnel itself goes through",
    roles: ["connect", "provide"],
    needs: "TCP",
  }),
  header: option("header", headers, {
    summary: "header added to the opening request; repeatable",
    roles: ["connect", "provide"],
    needs: "HTTP",
  }),
  idle: option("idle", duration({ min: 0, max: 86_400_000 }), {
    summary: "close a connection without streams after this time; 0: never; default 1m",
    roles: ["connect", "provide"],
  }),
  keepalive: option("keepalive", duration({ min: 0, max: 3_600_000 }), {
    summary: "probe the peer this often, give it up after twice the time; 0: never; default 15s",
  }),
  streams: option("streams", integer(1, 300), {
    summary: "streams on one connection before another one is dialled; default 100",
    systems: ["pong"],
    roles: ["connect"],
  }),
  peer: option("peer", choice(PONG_PEERS), {
    summary: "what the other side runs, where its quirks must be known; default auto",
    systems: ["pong"],
  }),
  ext: option("ext", flag, {
    summary: "offer Sluice's extensions (windows, probes, real half-close); default on",
    systems: ["pong", "linksocks"],
  }),
  slow: option("slow", choice(SLOW_POLICIES), {
    summary:
      "a stream whose reader is too slow is reset, or pauses the whole connection; default reset",
    systems: ["pong", "linksocks", "vproxy", "kcptun"],
    needs: { vproxy: "KCP" },
  }),
  spare: option("spare", integer(0, 8), {
    summary: "connections kept open in advance; default 1",
    systems: ["pong"],
    roles: ["connect"],
  }),
  maxage: option("maxage", duration({ min: 1_000, max: 30 * 86_400_000 }), {
    summary: "give a connection no new streams after this age; default 1h",
    systems: ["pong"],
    roles: ["connect"],
  }),
  wait: option("wait", duration({ min: 0, max: 60_000 }), {
    summary: "wait so long for a provider to join; default 5s for connectors, 10s for proxies",
    systems: ["linksocks"],
    roles: ["serve"],
  }),
  balance: option("balance", choice(BALANCES), {
    summary:
      "the providers of a token take turns, or the least busy one is next; default roundrobin",
    systems: ["linksocks"],
    roles: ["serve"],
  }),
  direct: option("direct", flag, {
    summary: "relay what connectors and providers say to find a direct path; default on",
    systems: ["linksocks"],
    roles: ["serve"],
  }),
  threads: option("threads", integer(1, 64), {
    summary: "WebSockets to the server at one time; default 1",
    systems: ["linksocks"],
    roles: ["connect", "provide"],
  }),
  fastopen: option("fastopen", flag, {
    summary: "tell programs they are connected before the far side says so; default off",
    systems: ["linksocks"],
    roles: ["connect"],
  }),
  connector: option("connector", tokens, {
    summary: "token of a connector to announce, where the server allows it; repeatable",
    systems: ["linksocks"],
    roles: ["provide"],
  }),
  retryauth: option("retryauth", flag, {
    summary: "try again even when the server says the token is wrong; default off",
    systems: ["linksocks"],
    roles: ["connect", "provide"],
  }),
  failover: option("failover", hostPorts, {
    summary: "another server, host:port, dialled when those before cannot be reached; repeatable",
    systems: ["linksocks"],
    roles: ["connect", "provide"],
  }),
  gzip: option("gzip", integer(1024, 1_048_576), {
    summary: "compress pieces of at least so many bytes where that saves a tenth; default never",
    systems: ["linksocks", "vproxy", "kcptun"],
    needs: { vproxy: "KCP" },
  }),
  hold: option("hold", duration({ min: 0, max: 60_000 }), {
    summary: "hold the answer to the client this long for a sign of the target; default 0",
    systems: ["pong"],
    roles: ["connect"],
  }),
  pool: option("pool", integer(0, 256), {
    summary: "connections kept ready for the next stream; 0: none; default 4, godoxy 0",
    systems: ["vproxy", "godoxy"],
    roles: ["connect"],
    needs: { godoxy: "TCP" },
  }),
  strict: option("strict", flag, {
    summary: "say each step of a stream's opening only after the answer to the last; default off",
    systems: ["vproxy"],
    roles: ["connect"],
  }),
  resolve: option("resolve", choice(RESOLVE_POLICIES), {
    summary: "who may have names resolved through /tools/resolve, as agents do; default users",
    systems: ["vproxy"],
    roles: ["serve"],
  }),
  webroot: option("webroot", directory, {
    summary: "serve the files of this directory to browsers; default: none",
    systems: ["vproxy"],
    roles: ["serve"],
  }),
  redirect: option("redirect", integer(1, 65_535), {
    summary: "send browsers that come to this port on to https; default: none",
    systems: ["vproxy"],
    roles: ["serve"],
    needs: "TLS",
  }),
  domain: option("domain", hostName, {
    summary: "the only name TLS clients may ask for, and where redirects lead; default: any",
    systems: ["vproxy"],
    roles: ["serve"],
    needs: "TLS",
  }),
  target: option("target", hostPort, {
    summary: "where every stream leads; required",
    systems: ["kcptun"],
    roles: ["serve"],
  }),
  profile: option("profile", choice(KCP_PROFILE_NAMES), {
    summary: "how eagerly KCP sends; default vproxy, as that program does",
    systems: ["vproxy", "kcptun"],
    needs: "KCP",
  }),
  health: option("health", flag, {
    summary: "open the TCP port of the same number too, for the agents' health checks; default on",
    systems: ["vproxy"],
    roles: ["serve"],
    needs: "KCP",
  }),
  store: option("store", file, {
    summary: "zip of GoDoxy's certs folder: the CA, our certificate and its key",
    systems: ["godoxy"],
    roles: ["connect"],
  }),
  proxyprotocol: option("proxyprotocol", choice(PROXY_PROTOCOLS), {
    summary: "tell targets who asks with a PROXY header; default: none",
    systems: ["godoxy"],
    roles: ["connect"],
    needs: { godoxy: "TCP" },
  }),
  udp: option("udp", flag, {
    summary: "carry datagrams over DTLS, to the UDP port of the same number; default on",
    systems: ["godoxy"],
    roles: ["connect"],
    needs: { godoxy: "TCP" },
  }),
};

/** What an option needs in a system. */
export function needOf(name: OptionName, system: SystemName): OptionNeed | undefined {
  const { needs } = OPTIONS[name];
  return typeof needs === "object" ? needs[system] : needs;
}

/** Whether there is an option of this name. */
export function isOptionName(text: string): text is OptionName {
  return Object.hasOwn(OPTIONS, text);
}

/** The options a system has in a role, whatever the transport. */
export function optionNames(system: SystemName, role: Role): OptionName[] {
  return Object.keys(OPTIONS)
    .filter(isOptionName)
    .filter((name) => {
      const definition = OPTIONS[name];
      const isOfSystem = definition.systems?.includes(system) ?? true;
      return isOfSystem && (definition.roles?.includes(role) ?? true);
    });
}

function option<Name extends OptionName>(
  name: Name,
  codec: OptionCodec<OptionValues[Name]>,
  info: OptionInfo,
): OptionDefinition {
  return {
    ...info,
    form: codec.form,
    read(texts, into) {
      into[name] = codec.read(texts);
    },
    write(options, how) {
      const value = options[name];
      return value === undefined ? [] : codec.write(value, how);
    },
  };
}
