import { randomUUID } from "node:crypto";
import type { ConfigInput } from "../config/config.ts";
import { formatHostPort } from "../address/target.ts";
import { parseForwardAddress } from "../config/listen-address.ts";
import type { Role, SystemName } from "../config/systems.ts";
import { hasCredentials, SYSTEMS } from "../config/systems.ts";
import { parseTunnelUrl, type TunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError } from "../errors.ts";
import {
  type DoorFlags,
  type HubFlags,
  toClients,
  toHub,
  toInbounds,
  toPatterns,
  toRoutes,
} from "./flags.ts";
import { parseArgument, UsageError } from "./usage-error.ts";

/** Flags of `serve`. */
export interface ServeFlags extends DoorFlags, HubFlags {
  readonly client?: readonly string[];
  readonly anonymous?: boolean;
  readonly cert?: string;
  readonly key?: string;
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

/** Flags of `connect`. */
export interface ConnectFlags extends DoorFlags {
  readonly route?: readonly string[];
}

/** Flags of `provide`. */
export interface ProvideFlags {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

/** The configuration that `sluice serve …` stands for. */
export function serveInput(urls: readonly string[], flags: ServeFlags): ConfigInput {
  const clients = toClients(flags.client ?? []);
  const allow = toPatterns("--allow", flags.allow ?? []);
  const deny = toPatterns("--deny", flags.deny ?? []);
  const hub = toHub(flags);
  const { anonymous = false, cert, key } = flags;
  const serve = urls.map((text) => {
    const url = parseUrl(text, "serve");
    requireHub(url, hub);
    requireClients(url, { clients: { ...clients, ...hub }, anonymous });
    const tls = SYSTEMS[url.system].transports[url.transport]?.hasTls ?? false;
    requireCertificate(url, tls, flags);
    return {
      url: text,
      ...(Object.keys(clients).length > 0 && { clients }),
      ...(anonymous && { anonymous }),
      ...hub,
      ...(tls && cert !== undefined && { cert }),
      ...(tls && key !== undefined && { key }),
      ...(allow.length > 0 && { allow }),
      ...(deny.length > 0 && { deny }),
    };
  });
  // The doors of a server with providers lead to the first of them.
  const [via] = flags.autonomy === true ? [] : Object.keys(Object(hub["providers"]));
  const inbounds = toInbounds(flags).map((inbound) => ({ ...inbound, ...(via && { via }) }));
  if (flags.autonomy === true && inbounds.length > 0) {
    throw new UsageError(
      "--autonomy: providers serve their own connectors only, so drop -D and -L",
    );
  }
  return { serve, inbounds };
}

/** The configuration that `sluice connect …` stands for. */
export function connectInput(args: readonly string[], flags: ConnectFlags): ConfigInput {
  const connect = toTunnels(args, "connect");
  const [first] = Object.values(connect);
  const url = first === undefined ? undefined : parseUrl(first, "connect");
  if (url !== undefined) requireDatagrams(url, flags);
  const inbounds = toInbounds(url === undefined ? flags : withFixedTarget(url, flags));
  if (inbounds.length === 0) {
    throw new UsageError(
      "nothing would use the tunnel: add -D 1080 for a proxy, or -L 2200:host:22 for a forward",
    );
  }
  return { connect, inbounds, routes: toRoutes(flags.route ?? []) };
}

/** What `ping` dials. */
export function pingInput(url: string): ConfigInput {
  return { connect: toTunnels([url], "connect") };
}

/** A way for datagrams alone takes no door for streams alone. */
function requireDatagrams({ system, transport, host }: TunnelUrl, flags: DoorFlags): void {
  if (transport !== "dtls") return;
  const forward = flags.forward?.find((spec) => !spec.endsWith("/udp"));
  const door = flags.http === undefined ? forward && `-L ${forward}` : "-H";
  if (door === undefined) return;
  throw new UsageError(
    `${door}: ${system}+${transport} carries datagrams alone: dial ${system}+tls://${host}, or forward to …/udp`,
  );
}

/** Where the server names the one target, there is no proxy, and `-L LISTEN` says enough. */
function withFixedTarget(
  { system, transport, host, port }: TunnelUrl,
  flags: DoorFlags,
): DoorFlags {
  if (!SYSTEMS[system].hasFixedTarget) return flags;
  const flag = flags.dynamic === undefined ? "-H" : "-D";
  if ((flags.dynamic ?? flags.http) !== undefined) {
    throw new UsageError(
      `${flag}: ${system}+${transport} leads to the one target its server names, so it is no way out for a proxy: use -L 5000`,
    );
  }
  const forward = flags.forward?.map((text) =>
    isListenAddress(text) ? `${text}:${formatHostPort(host, port)}` : text,
  );
  return { ...flags, ...(forward && { forward }) };
}

function isListenAddress(text: string): boolean {
  try {
    parseForwardAddress(text);
    return true;
  } catch (thrown) {
    if (thrown instanceof ConfigError) return false;
    throw thrown;
  }
}

/** The configuration that `sluice provide …` stands for. */
export function provideInput(args: readonly string[], flags: ProvideFlags): ConfigInput {
  const allow = toPatterns("--allow", flags.allow ?? []);
  const deny = toPatterns("--deny", flags.deny ?? []);
  const tunnels = Object.entries(toTunnels(args, "provide"));
  return {
    provide: Object.fromEntries(tunnels.map(([name, url]) => [name, { url, allow, deny }])),
  };
}

/** The configuration that `sluice up` stands for: both ends of a tunnel on this machine. */
export function upInput(options: {
  readonly tunnelPort: number;
  readonly proxy: string;
  /** Loopback targets to open, which are denied by default. */
  readonly allow: readonly string[];
}): ConfigInput {
  const { tunnelPort, proxy, allow } = options;
  const id = randomUUID();
  const place = `127.0.0.1:${tunnelPort}`;
  return {
    serve: [{ url: `pong+tcp://${place}`, clients: { demo: id }, allow }],
    connect: { demo: `pong+tcp://${id}@${place}` },
    inbounds: toInbounds({ dynamic: [proxy] }),
  };
}

/** `NAME=URL` or `URL`: a mapping of names to URLs. Without a name it is `tunnel`, `tunnel2`, … */
function toTunnels(args: readonly string[], role: Role): Record<string, string> {
  const tunnels: Record<string, string> = {};
  for (const [index, arg] of args.entries()) {
    const [, given, text = ""] = /^(?:([A-Za-z0-9][\w.-]*)=)?(.*)$/s.exec(arg) ?? [];
    const name = given ?? (index === 0 ? "tunnel" : `tunnel${index + 1}`);
    if (Object.hasOwn(tunnels, name)) throw new UsageError(`the name "${name}" is used twice`);
    parseUrl(text, role);
    tunnels[name] = text;
  }
  return tunnels;
}

function parseUrl(text: string, role: Role): TunnelUrl {
  return parseArgument(role, () => parseTunnelUrl(text, role));
}

function requireHub({ system }: TunnelUrl, hub: ConfigInput): void {
  const [key] = Object.keys(hub);
  if (key === undefined || system === "linksocks") return;
  throw new UsageError(`${system} has no ${key}: --provider and --connector are for linksocks`);
}

function requireClients(
  { system, transport, credential }: TunnelUrl,
  { clients, anonymous }: { clients: object; anonymous: boolean },
): void {
  if (!hasCredentials(system)) return;
  if (anonymous || credential !== undefined || Object.keys(clients).length > 0) return;
  throw new ConfigError(`${system}+${transport} would let nobody in: no client is named`, {
    hint: CLIENT_HINTS[system] ?? "name one with --client, or let everybody in with --anonymous",
  });
}

function requireCertificate(
  { system, transport, options }: TunnelUrl,
  hasTls: boolean,
  { cert, key }: ServeFlags,
): void {
  // An agent may be configured by its environment instead.
  if (!hasTls || SYSTEMS[system].login === "certificate") return;
  if ((options.cert ?? cert) !== undefined && (options.key ?? key) !== undefined) return;
  throw new ConfigError(`${system}+${transport} wants a certificate and its key`, {
    hint: "give --cert FILE --key FILE (PEM), or use a transport without TLS behind something that has it",
  });
}

const CLIENT_HINTS: Readonly<Partial<Record<SystemName, string>>> = {
  pong: "name one with --client alice=UUID (uuidgen makes one), or let everybody in with --anonymous",
  linksocks: "name one with --client alice=TOKEN, or a provider with --provider office=TOKEN",
  vproxy: "name one with --client alice=PASSWORD; PASSWORD may be env:NAME or file:PATH",
};
