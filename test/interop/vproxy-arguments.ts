/** Who plays a part: {@link OURS}, or the command that starts the original's programs. */
export type Program = string;

/** Sluice. */
export const OURS: Program = "ours";

/** WebSocks by its transport, or the bare tunnel. */
export type LaneKind = "tcp" | "tls" | "kcp" | "kcp+tls" | "kcptun";

/** The parts of a lane. */
export type LaneRole = "server" | "client";

/** Who may connect, beside whom a client is. */
export const USERS = { alice: "pasSw0rD", bob: "b0b-secret" } as const;

/** A user of {@link USERS}. */
export type User = keyof typeof USERS;

/** What command lines depend on. */
export interface LaneSettings {
  readonly kind: LaneKind;
  readonly serverPort: number;
  /** Where a client reaches the server, which may be a relay in front of it. */
  readonly dialPort: number;
  /** SOCKS5, or with `kcptun` the port that leads to the target. */
  readonly clientPort: number;
  /** With `kcptun`: where every stream leads. */
  readonly targetPort: number;
  readonly pem: { readonly cert: string; readonly key: string };
  readonly user: User;
  readonly password: string;
  /** Whether an agent waits for each answer before it says more. */
  readonly isStrict: boolean;
  /** Added to the query of our URLs. */
  readonly query: readonly string[];
}

/** Sluice's command line for a role. */
export function ourArguments(role: LaneRole, settings: LaneSettings): readonly string[] {
  const { kind, serverPort, dialPort, clientPort, targetPort, pem, user, password } = settings;
  const log = ["--log-format", "json"];
  const isSecure = kind.endsWith("tls");
  if (role === "server") {
    const exit = ["--allow", "127.0.0.0/8", "--allow", "::1/128"];
    if (kind === "kcptun") {
      const target = `target=127.0.0.1:${targetPort}`;
      const url = `kcptun+kcp://127.0.0.1:${serverPort}${queryOf([target, ...settings.query])}`;
      return ["serve", url, ...log];
    }
    const url = `vproxy+${kind}://127.0.0.1:${serverPort}${queryOf(settings.query)}`;
    const users = Object.entries(USERS).flatMap(([name, word]) => ["--client", `${name}=${word}`]);
    const tls = isSecure ? ["--cert", pem.cert, "--key", pem.key] : [];
    return ["serve", url, ...users, ...tls, ...exit, ...log];
  }
  if (kind === "kcptun") {
    const url = `kcptun+kcp://127.0.0.1:${dialPort}${queryOf(settings.query)}`;
    return ["connect", url, "-L", String(clientPort), ...log];
  }
  const trust = isSecure ? [`ca=${encodeURIComponent(pem.cert)}`, "sni=localhost"] : [];
  const strict = settings.isStrict ? ["strict=on"] : [];
  const query = queryOf([...trust, ...strict, ...settings.query]);
  const url = `vproxy+${kind}://${user}:${password}@127.0.0.1:${dialPort}${query}`;
  return ["connect", url, "-D", String(clientPort), ...log];
}

/** The original's words for a role; `agentFile` is where {@link agentConfig} was written. */
export function referenceArguments(
  role: LaneRole,
  settings: LaneSettings,
  agentFile: string,
): readonly string[] {
  const { kind, serverPort, dialPort, clientPort, targetPort, pem } = settings;
  if (kind === "kcptun") {
    const [bind, target] = role === "server" ? [serverPort, targetPort] : [clientPort, dialPort];
    return ["kcptun", "mode", role, "bind", String(bind), "target", `127.0.0.1:${target}`];
  }
  if (role === "client") return ["agent", agentFile];
  const users = Object.entries(USERS).map(([name, word]) => `${name}:${word}`);
  const words = ["server", "listen", String(serverPort), "auth", users.join(",")];
  const tls = kind.endsWith("tls") ? ["ssl", "certpem", pem.cert, "keypem", pem.key] : [];
  return [...words, ...tls, ...(kind.startsWith("kcp") ? ["kcp"] : [])];
}

/** The original's configuration of an agent. */
export function agentConfig(settings: LaneSettings): string {
  const { kind, serverPort, dialPort, clientPort, user, password, isStrict } = settings;
  const scheme = `websocks${kind.endsWith("tls") ? "s" : ""}${kind.startsWith("kcp") ? ":kcp" : ""}`;
  // A relay for datagrams has no TCP port to ask after its health.
  const hc = dialPort === serverPort;
  return `{
  agent {
    socks5.listen = ${clientPort}
    pool = 2
    strict = ${isStrict}
    cert.verify = false
  }
  proxy {
    auth = '${user}:${password}'
    hc = ${hc}
    groups = [ { servers = [ '${scheme}://127.0.0.1:${dialPort}' ] domains = [ '/.*/' ] } ]
  }
}
`;
}

function queryOf(parts: readonly string[]): string {
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}
