import {
  BUILT_IN_OUTBOUNDS,
  type Config,
  defaultName,
  type GroupConfig,
  type InboundConfig,
  type ServeConfig,
} from "./config.ts";
import { parseClientId } from "./client-id.ts";
import type { Credential } from "./credential.ts";
import { formatListenAddress, isSameListener, type ListenAddress } from "./listen-address.ts";
import { checkFixedTargets, wrongFixedTarget } from "./fixed-targets.ts";
import { checkGroups } from "./group-references.ts";
import { hasHealthPort } from "./health-port.ts";
import { didYouMean } from "./nearest.ts";
import { formatPath, type PathPart, type Problem } from "./problem.ts";
import { hasCredentials, SYSTEMS } from "./systems.ts";
import type { TunnelUrl } from "./tunnel-url.ts";
import { formatHostPort } from "../address/target.ts";
import { ConfigError } from "../errors.ts";

/** The parts of a configuration that could be read; what could not is `undefined`. */
export interface PartialConfig {
  readonly serve: readonly (ServeConfig | undefined)[];
  readonly inbounds: readonly (InboundConfig | undefined)[];
  readonly routes: readonly (Config["routes"][number] | undefined)[];
  /** Names, whether or not their entries could be read. */
  readonly connect: readonly string[];
  readonly connectUrls: ReadonlyMap<string, TunnelUrl>;
  readonly groupNames: readonly string[];
  readonly groups: ReadonlyMap<string, GroupConfig>;
  readonly outbounds: readonly string[];
  /** Under every entry of `serve`. */
  readonly providers: readonly string[];
}

/** Everything that is wrong between parts that are right by themselves. */
export function checkReferences(config: PartialConfig): Problem[] {
  return [
    ...checkOutboundNames(config),
    ...checkVias(config),
    ...checkGroups(config.groups, config.connect),
    ...checkInboundNames(config),
    ...checkListeners(config),
    ...checkFixedTargets(config),
    ...config.serve.flatMap((serve, index) =>
      serve === undefined ? [] : checkServe(serve, ["serve", index]),
    ),
    ...[...config.connectUrls].flatMap(([name, url]) => checkDialled(url, ["connect", name])),
  ];
}

/** The name an inbound has in logs and routes. */
export function inboundName(inbound: InboundConfig): string {
  const place = formatListenAddress(inbound.listen);
  return inbound.name ?? defaultName(inbound.kind, isUdp(inbound) ? `${place}/udp` : place);
}

/** The name a served tunnel has in logs and routes. */
export function serveName({ name, url }: ServeConfig): string {
  const { system, transport, host, port } = url;
  return name ?? defaultName(`${system}+${transport}`, formatHostPort(host, port));
}

function checkOutboundNames({ connect, groupNames, outbounds, serve }: PartialConfig): Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<string>(BUILT_IN_OUTBOUNDS);
  for (const [section, names] of [
    [["connect"], connect],
    [["groups"], groupNames],
    [["outbounds"], outbounds],
    ...serve.map((entry, at) => [["serve", at, "providers"], providerNames(entry)] as const),
  ] as const) {
    for (const name of names) {
      if (seen.has(name)) {
        const why = isBuiltIn(name) ? "always exists" : "is used twice";
        const message = `the name "${name}" ${why}`;
        problems.push({ path: [...section, name], message, isKey: true });
      }
      seen.add(name);
    }
  }
  return problems;
}

function checkVias(config: PartialConfig): Problem[] {
  const { connect, groupNames, outbounds, providers, serve, inbounds, routes } = config;
  const autonomous = serve.flatMap((entry) =>
    Object.entries(entry?.providers ?? {}).flatMap(([name, { autonomy }]) =>
      autonomy ? [name] : [],
    ),
  );
  const known = [...BUILT_IN_OUTBOUNDS, ...connect, ...groupNames, ...outbounds];
  known.push(...providers.filter((name) => !autonomous.includes(name)));
  const vias: (readonly [readonly PathPart[], string | undefined])[] = [
    ...inbounds.map((inbound, index) => [["inbounds", index, "via"], inbound?.via] as const),
    ...routes.map((route, index) => [["routes", index, "via"], route?.via] as const),
  ];
  return vias.flatMap(([path, via]) => {
    if (via === undefined || known.includes(via)) return [];
    if (autonomous.includes(via)) {
      const message = `provider "${via}" has autonomy: it serves its own connectors only`;
      return [{ path, message }];
    }
    const message = `there is no way out named "${via}"${didYouMean(via, known) || `; known: ${known.join(", ")}`}`;
    return [{ path, message }];
  });
}

function checkInboundNames({ serve, inbounds, routes }: PartialConfig): Problem[] {
  const named: readonly (readonly [readonly PathPart[], string | undefined])[] = [
    ...serve.map((entry, index) => [["serve", index], entry && serveName(entry)] as const),
    ...inbounds.map((entry, index) => [["inbounds", index], entry && inboundName(entry)] as const),
  ];
  const problems: Problem[] = [];
  const known = new Map<string, readonly PathPart[]>();
  for (const [path, name] of named) {
    if (name === undefined) continue;
    const first = known.get(name);
    if (first === undefined) known.set(name, path);
    else if (!name.endsWith(":0")) {
      problems.push({ path, message: `the name "${name}" is taken by ${formatPath(first)}` });
    }
  }
  if (named.some(([, name]) => name === undefined)) return problems; // a missing name may be theirs
  for (const [index, route] of routes.entries()) {
    for (const [at, name] of (route?.inbound ?? []).entries()) {
      if (known.has(name)) continue;
      const guess = didYouMean(name, known.keys()) || `; known: ${[...known.keys()].join(", ")}`;
      const message = `there is no inbound named "${name}"${guess}`;
      problems.push({ path: ["routes", index, "inbound", at], message });
    }
  }
  return problems;
}

function checkListeners({ serve, inbounds }: PartialConfig): Problem[] {
  const listeners: {
    path: readonly PathPart[];
    at: ListenAddress | "stdio";
    isUdp: boolean;
  }[] = [];
  for (const [index, entry] of serve.entries()) {
    if (entry === undefined) continue;
    const path = ["serve", index, "url"];
    listeners.push(...portsOf(entry.url).map((at) => ({ path, ...at })));
  }
  for (const [index, entry] of inbounds.entries()) {
    if (entry === undefined) continue;
    const path = ["inbounds", index, entry.kind];
    listeners.push({ path, at: entry.listen, isUdp: isUdp(entry) });
  }
  return listeners.flatMap(({ path, at, isUdp: ofUdp }, index) => {
    const first = listeners
      .slice(0, index)
      .find((other) => other.isUdp === ofUdp && isSame(other.at, at));
    if (first === undefined) return [];
    const message = `${formatListenAddress(at)} is taken by ${formatPath(first.path)}`;
    return [{ path, message }];
  });
}

/** Every port a served tunnel opens. */
function portsOf({ system, transport, host, port, options }: TunnelUrl): {
  readonly at: ListenAddress;
  readonly isUdp: boolean;
}[] {
  const info = SYSTEMS[system].transports[transport];
  const ports = [{ at: { host, port }, isUdp: info?.isUdp === true }];
  if (info?.hasKcp === true && hasHealthPort(system, options))
    ports.push({ at: { host, port }, isUdp: false });
  if (options.redirect !== undefined) {
    ports.push({ at: { host, port: options.redirect }, isUdp: false });
  }
  return ports;
}

/** Ports of UDP and of TCP do not meet. */
function isUdp(inbound: InboundConfig): boolean {
  return inbound.kind === "forward" && inbound.to.network === "udp";
}

function isSame(one: ListenAddress | "stdio", other: ListenAddress | "stdio"): boolean {
  if (one === "stdio" || other === "stdio") return one === other;
  return isSameListener(one, other);
}

function checkServe(serve: ServeConfig, path: readonly PathPart[]): Problem[] {
  const { url, clients, anonymous, providers = {}, connectors = {}, api } = serve;
  const problems: Problem[] = [];
  const { login } = SYSTEMS[url.system];
  const report = (keys: readonly PathPart[], message: string): void => {
    problems.push({ path: [...path, ...keys], message });
  };
  const names = Object.keys(clients);
  const hasClient = names.length > 0 || url.credential !== undefined;
  const hasOthers = Object.keys({ ...providers, ...connectors }).length > 0 || api !== undefined;
  const missing = wrongFixedTarget(url);
  if (missing !== undefined) report(["url"], missing);
  if (names.length > 0 && !hasCredentials(url.system)) {
    const who = login === "certificate" ? "whom its CA signed" : "whoever reaches the port";
    report(["clients"], `${url.system} knows no logins: ${who} is let in`);
  } else if (hasCredentials(url.system) && !hasClient && !hasOthers && !anonymous) {
    report([], "nobody could connect: name clients, or say anonymous to let everybody in");
  }
  if (login === "user and password" && anonymous) {
    report(["anonymous"], `${url.system} has no strangers, every client logs in: name clients`);
  } else if (hasClient && anonymous) {
    report(["anonymous"], "clients are named, and anonymous lets everybody in: choose one");
  }
  const ownName = url.user ?? DEFAULT_CLIENT;
  if (url.credential !== undefined && Object.hasOwn(clients, ownName)) {
    report(["clients", ownName], "the URL's credential has this name already");
  }
  for (const name of names) {
    const id = clients[name]?.id;
    const wrong = id && wrongCredential(url, id);
    if (wrong !== undefined) report(["clients", name], wrong);
  }
  problems.push(...checkHub(serve, path));
  for (const key of ["cert", "key"] as const) {
    const fromUrl = url.options[key];
    if (fromUrl !== undefined && serve[key] !== undefined) {
      report([key], `is given twice, here and in the URL`);
    }
    const { hasTls } = SYSTEMS[url.system].transports[url.transport] ?? { hasTls: false };
    const has = fromUrl !== undefined || serve[key] !== undefined;
    // An agent may be configured by its environment instead.
    if (hasTls && !has && login !== "certificate")
      report([], `${url.system}+${url.transport} wants ${key}`);
    if (!hasTls && has) report([key], `${url.system}+${url.transport} has no TLS to use it for`);
  }
  return problems;
}

/** What only a server with providers has. */
function checkHub(serve: ServeConfig, path: readonly PathPart[]): Problem[] {
  const { url, clients, providers = {}, connectors = {} } = serve;
  const problems: Problem[] = [];
  for (const key of ["providers", "connectors", "api"] as const) {
    if (serve[key] === undefined || url.system === "linksocks") continue;
    const message = `${url.system} has no ${key}, only linksocks has`;
    problems.push({ path: [...path, key], message, isKey: true });
  }
  problems.push(...checkTokens(serve, path));
  for (const [name, { provider }] of Object.entries(connectors)) {
    const at = [...path, "connectors", name];
    if (Object.hasOwn(clients, name)) {
      problems.push({ path: at, message: `a client has the name "${name}" too`, isKey: true });
    }
    const found = Object.hasOwn(providers, provider) ? providers[provider] : undefined;
    if (found === undefined) {
      const guess = didYouMean(provider, Object.keys(providers));
      const message = `there is no provider named "${provider}"${guess}`;
      problems.push({ path: [...at, "provider"], message });
    } else if (found.autonomy) {
      const message = `provider "${provider}" has autonomy: it announces its connectors itself`;
      problems.push({ path: [...at, "provider"], message });
    }
  }
  return problems;
}

/** Tokens say who somebody is, and what: none may be there twice. */
function checkTokens(serve: ServeConfig, path: readonly PathPart[]): Problem[] {
  const { url, clients, providers = {}, connectors = {} } = serve;
  if (url.system !== "linksocks") return [];
  const all: (readonly [readonly PathPart[], Credential])[] = [
    ...(url.credential === undefined ? [] : [[["url"], url.credential] as const]),
    ...Object.entries(clients).map(([name, { id }]) => [["clients", name], id] as const),
    ...Object.entries(providers).map(([name, { token }]) => [["providers", name], token] as const),
    ...Object.entries(connectors).map(
      ([name, { token }]) => [["connectors", name], token] as const,
    ),
  ];
  const known = new Map<string, readonly PathPart[]>();
  const problems: Problem[] = [];
  for (const [keys, credential] of all) {
    if (credential.kind !== "literal") continue;
    const token = credential.secret.reveal();
    const first = known.get(token);
    const wrong = keys[0] === "clients" ? undefined : wrongCredential(url, credential);
    const twice = first && `the token is that of ${formatPath([...path, ...first])} too`;
    const message = twice ?? wrong;
    if (message !== undefined) problems.push({ path: [...path, ...keys], message });
    known.set(token, first ?? keys);
  }
  return problems;
}

function providerNames(serve: ServeConfig | undefined): readonly string[] {
  return Object.keys(serve?.providers ?? {});
}

function checkDialled(url: TunnelUrl, path: readonly PathPart[]): Problem[] {
  const problems: Problem[] = [];
  const { credential } = SYSTEMS[url.system];
  if (url.credential === undefined && hasCredentials(url.system)) {
    const message = `the URL names no credential (${credential}): write ${url.system}+${url.transport}://env:NAME@…`;
    problems.push({ path, message });
  }
  const { cert, key } = url.options;
  if ((cert === undefined) !== (key === undefined)) {
    problems.push({ path, message: "a client certificate wants both cert and key" });
  }
  return problems;
}

/** What is wrong with a literal credential for a system; references are judged when they resolve. */
function wrongCredential({ system }: TunnelUrl, credential: Credential): string | undefined {
  if (credential.kind !== "literal") return undefined;
  if (system === "linksocks") return wrongToken(credential.secret.reveal());
  if (system === "vproxy") return wrongPassword(credential.secret.reveal());
  if (system !== "pong") return undefined;
  try {
    parseClientId(credential.secret.reveal());
    return undefined;
  } catch (thrown) {
    if (thrown instanceof ConfigError) return `${thrown.message}; ${thrown.hint}`;
    throw thrown;
  }
}

function wrongToken(token: string): string | undefined {
  if (token === "anonymous") return "the token anonymous is reserved for those who have none";
  const byteLength = Buffer.byteLength(token);
  return byteLength > 255 ? `token of ${byteLength} bytes exceeds 255` : undefined;
}

function wrongPassword(password: string): string | undefined {
  return password.includes(":")
    ? "the password holds a colon, which vproxy cannot carry"
    : undefined;
}

function isBuiltIn(name: string): boolean {
  return BUILT_IN_OUTBOUNDS.some((builtIn) => builtIn === name);
}

/** The name of the client whose credential stands in a `serve` URL. */
export const DEFAULT_CLIENT = "default";
