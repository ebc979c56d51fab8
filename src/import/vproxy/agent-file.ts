import { isIP } from "node:net";
import { parsePort } from "../../config/listen-address.ts";
import { parsePlace } from "../../config/proxy-url.ts";
import type { Place } from "../../config/imported.ts";
import { ConfigError } from "../../errors.ts";
import type { ImportReport } from "./report.ts";
import { type AgentRule, parseRule } from "./rules.ts";
import { Section, type Setting } from "./section.ts";
import { VjsonError, type VjsonNode } from "./vjson.ts";
import { readVjson } from "./vjson-reader.ts";

/** The configuration file of vproxy's agent (spec 5.8), as far as it has a meaning. */
export interface AgentFile {
  readonly socks: Setting<number> | undefined;
  readonly http: Setting<number> | undefined;
  readonly shadowsocks: Setting<number> | undefined;
  readonly dns: Setting<number> | undefined;
  readonly pac: Setting<number> | undefined;
  readonly gateway: Setting<boolean> | undefined;
  readonly strict: Setting<boolean> | undefined;
  readonly pool: Setting<number> | undefined;
  /** A Java key store. */
  readonly caCerts: Setting<string> | undefined;
  readonly verifiesCerts: Setting<boolean> | undefined;
  readonly sniErasure: { readonly place: Place } | undefined;
  readonly directRelay: { readonly place: Place; readonly isTransparent: boolean } | undefined;
  readonly uot: { readonly place: Place } | undefined;
  readonly quic: { readonly place: Place } | undefined;
  readonly login: Setting<AgentLogin>;
  readonly checksHealth: Setting<boolean> | undefined;
  /** By name; groups of one name are one. */
  readonly groups: ReadonlyMap<string, AgentGroup>;
}

/** Who the agent is to its servers. */
export interface AgentLogin {
  readonly user: string;
  readonly password: string;
}

/** Servers that take turns, and what goes to them. */
export interface AgentGroup {
  readonly place: Place;
  readonly servers: readonly Setting<AgentServer>[];
  readonly domains: readonly Setting<AgentRule>[];
  readonly resolve: readonly Setting<AgentRule>[];
  readonly noProxy: readonly Setting<AgentRule>[];
}

/** One server, as its address says. */
export interface AgentServer {
  readonly text: string;
  readonly hasTls: boolean;
  readonly carrier: "tcp" | "kcp" | "uot" | "quic";
  readonly host: string;
  readonly port: number;
}

/**
 * Reads the file; whatever is wrong with it is reported.
 *
 * @returns `undefined` when no configuration comes of it
 */
export function readAgentFile(text: string, report: ImportReport): AgentFile | undefined {
  const node = readNode(text, report);
  if (node === undefined) return undefined;
  if (node.kind !== "object") {
    report.problem(node.place, "the file is one block: { agent { … } proxy { … } }");
    return undefined;
  }
  const root = new Section(node, "", report);
  const nothing = (path: string): Section =>
    new Section({ kind: "object", entries: [], place: root.place }, path, report);
  const agent = root.section("agent") ?? nothing("agent");
  const proxy = root.section("proxy") ?? nothing("proxy");
  const sections = [root, agent, proxy];
  const optional = (key: string): Section | undefined => {
    const section = agent.section(key);
    if (section !== undefined) sections.push(section);
    return section;
  };
  const login = readLogin(proxy, report);
  const rest: Omit<AgentFile, "login"> = {
    socks: agent.port("socks5.listen"),
    http: agent.port("httpconnect.listen"),
    shadowsocks: agent.port("ss.listen"),
    dns: agent.port("dns.listen"),
    pac: agent.port("gateway.pac.listen"),
    gateway: agent.flag("gateway"),
    strict: agent.flag("strict"),
    pool: agent.integer("pool", 0, 999_999_999),
    caCerts: agent.text("cacerts.path"),
    verifiesCerts: agent.flag("cert.verify"),
    sniErasure: readSniErasure(optional("tls-sni-erasure")),
    directRelay: readDirectRelay(optional("direct-relay")),
    uot: readSwitch(optional("uot"), ["nic"]),
    quic: readSwitch(optional("quic"), ["cacerts"]),
    checksHealth: proxy.flag("hc"),
    groups: readGroups(proxy.sections("groups"), report),
  };
  agent.skip("ss.password", "cacerts.pswd");
  for (const section of sections) section.noteUnknown();
  return login && { ...rest, login };
}

function readNode(text: string, report: ImportReport): VjsonNode | undefined {
  try {
    return readVjson(text);
  } catch (thrown) {
    if (!(thrown instanceof VjsonError)) throw thrown;
    report.problem(thrown.place, thrown.message);
    return undefined;
  }
}

function readSniErasure(section: Section | undefined): AgentFile["sniErasure"] {
  if (section === undefined) return undefined;
  section.skip("cert-key.auto-sign", "cert-key.list", "domains");
  return { place: section.place };
}

function readDirectRelay(section: Section | undefined): AgentFile["directRelay"] {
  if (section === undefined) return undefined;
  const enabled = section.flag("enabled");
  const [range, listen] = [section.text("ip-range"), section.text("listen")];
  section.skip("ip-bond-timeout");
  if (enabled?.value !== true) return undefined;
  return { place: enabled.place, isTransparent: range !== undefined || listen !== undefined };
}

function readSwitch(
  section: Section | undefined,
  others: readonly string[],
): { readonly place: Place } | undefined {
  const enabled = section?.flag("enabled");
  section?.skip(...others);
  return enabled?.value === true ? { place: enabled.place } : undefined;
}

function readLogin(proxy: Section, report: ImportReport): Setting<AgentLogin> | undefined {
  const auth = proxy.text("auth");
  if (auth === undefined) {
    report.problem(proxy.place, "proxy.auth: is missing: write auth = user:password");
    return undefined;
  }
  const [user = "", password = "", ...more] = auth.value.split(":").map((part) => part.trim());
  if (user === "" || password === "" || more.length > 0) {
    report.problem(auth.place, "proxy.auth: write user:password, with exactly one colon");
    return undefined;
  }
  return { value: { user, password }, place: auth.place };
}

function readGroups(
  sections: readonly Section[],
  report: ImportReport,
): ReadonlyMap<string, AgentGroup> {
  const groups = new Map<string, AgentGroup>();
  for (const section of sections) {
    const name = section.text("name")?.value ?? DEFAULT_GROUP;
    const rules = (key: string): readonly Setting<AgentRule>[] => readRules(section, key, report);
    const servers = section.texts("servers").flatMap(({ value, place }) => {
      const server = readServer(value);
      if (typeof server !== "string") return [{ value: server, place }];
      report.problem(place, `${section.path}.servers: ${server}`);
      return [];
    });
    const before = groups.get(name);
    groups.set(name, {
      place: before?.place ?? section.place,
      servers: withoutTwins([...(before?.servers ?? []), ...servers]),
      domains: [...(before?.domains ?? []), ...rules("domains")],
      resolve: [...(before?.resolve ?? []), ...rules("resolve")],
      noProxy: [...(before?.noProxy ?? []), ...rules("no-proxy")],
    });
    section.noteUnknown();
  }
  for (const [name, { place, servers, ...rules }] of groups) {
    const hasRules = Object.values(rules).some((list) => list.length > 0);
    if (servers.length > 0 || !hasRules) continue;
    report.problem(place, `group ${JSON.stringify(name)} has rules, and no servers for them`);
  }
  return groups;
}

function readRules(
  section: Section,
  key: string,
  report: ImportReport,
): readonly Setting<AgentRule>[] {
  return section.texts(key).flatMap(({ value, place }) => {
    const rule = parseRule(value);
    if (typeof rule !== "string") return [{ value: rule, place }];
    report.problem(place, `${section.path}.${key}: ${rule}`);
    return [];
  });
}

/** @returns what is wrong with it, or the server */
function readServer(text: string): AgentServer | string {
  const [scheme = "", name = ""] = /^(websockss?(?::[a-z:]+)?):\/\//.exec(text) ?? [];
  const kind = SERVER_KINDS.get(name);
  if (kind === undefined) {
    const known = [...SERVER_KINDS.keys()].map((word) => `${word}://`).join(", ");
    return `${JSON.stringify(text)} starts with none of ${known}`;
  }
  const rest = text.slice(scheme.length);
  const [, place = "", digits = ""] = /^(.+):(\d{1,5})$/.exec(rest) ?? [];
  try {
    const port = parsePort(digits);
    // There an IPv6 address may stand without brackets, since the port is mandatory.
    const { host } = parsePlace(isIP(place) === 6 ? `[${place}]` : place, port);
    if (host !== "" && port > 0) return { text, ...kind, host, port };
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
  }
  return `${JSON.stringify(text)} has no host:port at its end, and the port is never left out`;
}

/** Every server once, where it stands first. */
function withoutTwins(servers: readonly Setting<AgentServer>[]): readonly Setting<AgentServer>[] {
  const seen = new Set<string>();
  return servers.filter(({ value: { text } }) => !seen.has(text) && seen.add(text));
}

/** The group that has no name. */
export const DEFAULT_GROUP = "DEFAULT";

const SERVER_KINDS: ReadonlyMap<string, Pick<AgentServer, "hasTls" | "carrier">> = new Map([
  ["websocks", { hasTls: false, carrier: "tcp" }],
  ["websockss", { hasTls: true, carrier: "tcp" }],
  ["websocks:kcp", { hasTls: false, carrier: "kcp" }],
  ["websockss:kcp", { hasTls: true, carrier: "kcp" }],
  ["websocks:uot:kcp", { hasTls: false, carrier: "uot" }],
  ["websockss:uot:kcp", { hasTls: true, carrier: "uot" }],
  ["websocks:quic", { hasTls: true, carrier: "quic" }],
]);
