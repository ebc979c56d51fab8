import { BUILT_IN_OUTBOUNDS } from "../../config/config.ts";
import { formatTunnelUrl } from "../../config/tunnel-url.ts";
import type { AgentFile, AgentGroup, AgentServer } from "./agent-file.ts";
import type { ImportReport } from "./report.ts";
import type { Setting } from "./section.ts";
import { ServerOptions } from "./server-options.ts";
import { type Login, toCredential } from "./login.ts";

/** What the groups of servers become. */
export interface ConvertedGroups {
  /** URLs by name. */
  readonly connect: Readonly<Record<string, string>>;
  readonly groups: Readonly<Record<string, object>>;
  /** The way out for what a group carried. */
  readonly viaOf: (group: string) => string;
}

/**
 * Converts the servers: one alone is a tunnel, several are tunnels that take turns and are checked
 * as often as by the original, which are our defaults.
 */
export function convertGroups(
  file: AgentFile,
  login: Login,
  report: ImportReport,
): ConvertedGroups {
  const connect: Record<string, string> = {};
  const groups: Record<string, object> = {};
  const vias = new Map<string, string>();
  const options = new ServerOptions(file, report);
  for (const [name, group] of file.groups) {
    const servers = carriedServers(name, group, report);
    const plain = freeName(name, [...Object.keys(connect), ...Object.keys(groups)]);
    vias.set(name, servers.length === 0 ? "block" : plain);
    const tunnels = servers.map((server, index) => {
      const tunnel = servers.length === 1 ? plain : `${plain}-${index + 1}`;
      connect[tunnel] = toUrl(server, login, options);
      return tunnel;
    });
    if (tunnels.length > 1) groups[plain] = { tunnels };
  }
  if (file.checksHealth?.value === false && Object.keys(groups).length > 0) {
    report.note({
      kind: "differs",
      place: file.checksHealth.place,
      text: "proxy.hc is false: members of a group are checked all the same, by their links, without a TCP port of their own",
    });
  }
  return { connect, groups, viaOf: (group) => vias.get(group) ?? "block" };
}

function toUrl(
  { value: server, place }: Setting<AgentServer>,
  { user, ...login }: Login,
  options: ServerOptions,
): string {
  const { host, port, hasTls, carrier } = server;
  const transport = carrier === "kcp" ? (hasTls ? "kcp+tls" : "kcp") : hasTls ? "tls" : "tcp";
  const credential = toCredential(login);
  return formatTunnelUrl(
    {
      system: "vproxy",
      transport,
      user,
      credential,
      host,
      port,
      path: "",
      options: options.of(server, place),
    },
    { reveal: true },
  );
}

/** Servers that can be dialled; of the others, and of groups without any, the report hears. */
function carriedServers(
  name: string,
  { servers, domains, place }: AgentGroup,
  report: ImportReport,
): Setting<AgentServer>[] {
  const carried = servers.filter(({ value: { carrier } }) => !UNCARRIED.has(carrier));
  for (const { value, place: at } of servers) {
    const reason = UNCARRIED.get(value.carrier);
    if (reason === undefined) continue;
    report.note({
      kind: "left out",
      place: at,
      text: `${value.text}: ${reason}`,
      instead: `use the server's TCP, TLS or KCP port: websockss://${value.host}:PORT`,
    });
  }
  if (carried.length === 0 && domains.length > 0) {
    report.note({
      kind: "left out",
      place,
      text: `group "${name}": none of its servers can be dialled, so what its rules match is blocked`,
      instead: "name another way out in the routes with via: block",
    });
  }
  return carried;
}

/** The name of a group as a name of ours, which no other has. */
function freeName(name: string, taken: readonly string[]): string {
  const plain = name.replaceAll(/[^\w.-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  const base = plain.slice(0, MAX_BASE_LENGTH) || "group";
  const used = [...BUILT_IN_OUTBOUNDS, ...taken];
  for (let index = 1; ; index++) {
    const free = index === 1 ? base : `${base}-group${index}`;
    // Nor may its members be called like another.
    const isFree = used.every(
      (other) => !other.startsWith(free) || !/^(?:-\d+)?$/.test(other.slice(free.length)),
    );
    if (isFree) return free;
  }
}

/** Of the 64 characters of a name; the rest is for numbers. */
const MAX_BASE_LENGTH = 48;

/** Ways to a server that are out of scope, and why. */
const UNCARRIED: ReadonlyMap<AgentServer["carrier"], string> = new Map([
  ["uot", "KCP in hand-made TCP packets needs raw packet access (XDP), which Node.js has not"],
  ["quic", "the QUIC mode of vproxy is not spoken here"],
]);
