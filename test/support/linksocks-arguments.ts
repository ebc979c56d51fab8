/** How the parts of a LinkSocks set-up are put together. */
export type LinksocksMode = "forward" | "reverse" | "agent" | "autonomy";

/** A part: `client` is the forward client or the connector. */
export type LaneRole = "server" | "client" | "provider";

/** Sluice, or the path of a reference program. */
export type Program = string;

/** Stands for Sluice itself. */
export const OURS: Program = "ours";

/** What the command lines of one set-up have in common. */
export interface LaneSettings {
  readonly serverPort: number;
  /** Of a forward client or connector. */
  readonly socksPort: number;
  /** Of a server with a provider. */
  readonly reversePort: number;
  /** Several WebSockets for one client. */
  readonly threads?: number | undefined;
  readonly fastOpen?: boolean | undefined;
  /** Takes the way of the Auth message: a path other than `/socket`. */
  readonly path?: string | undefined;
  /** More flags for our server. */
  readonly serveFlags?: readonly string[] | undefined;
}

/** Sluice's command line for a role. */
export function ourArguments(
  role: LaneRole,
  mode: LinksocksMode,
  settings: LaneSettings,
): readonly string[] {
  const { serverPort, socksPort, reversePort } = settings;
  const log = ["--log-format", "json"];
  const exit = ["--allow", "127.0.0.0/8", "--allow", "::1/128"];
  if (role === "server") {
    const autonomy = mode === "autonomy" ? ["--autonomy"] : [];
    const connector = mode === "agent" ? ["--connector", `app@home=${CONNECTOR_TOKEN}`] : [];
    const socks = mode === "reverse" || mode === "agent" ? ["-D", String(reversePort)] : [];
    const who =
      mode === "forward"
        ? ["--client", `app=${FORWARD_TOKEN}`, ...exit]
        : ["--provider", `home=${PROVIDER_TOKEN}`, ...autonomy, ...connector, ...socks];
    const url = `linksocks+ws://127.0.0.1:${serverPort}`;
    return ["serve", url, ...who, ...log, ...(settings.serveFlags ?? [])];
  }
  const url = (token: string, options: Readonly<Record<string, string | undefined>>): string => {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    const query = given.map(([name, value]) => `${name}=${value}`).join("&");
    const path = settings.path ?? "";
    return `linksocks+ws://${token}@127.0.0.1:${serverPort}${path}${query && "?"}${query}`;
  };
  const threads = settings.threads?.toString();
  if (role === "provider") {
    const connector = mode === "autonomy" ? CONNECTOR_TOKEN : undefined;
    return ["provide", url(PROVIDER_TOKEN, { connector, threads }), ...exit, ...log];
  }
  const fastopen = settings.fastOpen === true ? "true" : undefined;
  const token = mode === "forward" ? FORWARD_TOKEN : CONNECTOR_TOKEN;
  return ["connect", url(token, { threads, fastopen }), "-D", String(socksPort), ...log];
}

/** The reference's command line for a role. */
export function referenceArguments(
  role: LaneRole,
  mode: LinksocksMode,
  settings: LaneSettings,
): readonly string[] {
  const { serverPort, socksPort, reversePort, path = "" } = settings;
  const fastOpen = settings.fastOpen === true ? ["-f"] : [];
  if (role === "server") {
    const base = ["server", "-H", "127.0.0.1", "-P", String(serverPort), ...fastOpen];
    if (mode === "forward") return [...base, "-t", FORWARD_TOKEN];
    const reverse = [...base, "-t", PROVIDER_TOKEN, "-r"];
    if (mode === "autonomy") return [...reverse, "-a"];
    const connector = mode === "agent" ? ["-c", CONNECTOR_TOKEN] : [];
    return [...reverse, "-p", String(reversePort), ...connector];
  }
  const base = ["-u", `ws://127.0.0.1:${serverPort}${path}`, "-E", "--direct-mode", "relay-only"];
  const threads = settings.threads === undefined ? [] : ["-T", String(settings.threads)];
  if (role === "provider") {
    const connector = mode === "autonomy" ? ["-c", CONNECTOR_TOKEN] : [];
    return ["provider", "-t", PROVIDER_TOKEN, ...base, ...threads, ...connector];
  }
  const token = mode === "forward" ? FORWARD_TOKEN : CONNECTOR_TOKEN;
  const client = mode === "forward" ? "client" : "connector";
  return [client, "-t", token, ...base, "-p", String(socksPort), ...threads, ...fastOpen];
}

/** Of a forward client. */
export const FORWARD_TOKEN = "forward-token-1";

/** Of a provider. */
export const PROVIDER_TOKEN = "provider-token-1";

/** Of a connector. */
export const CONNECTOR_TOKEN = "connector-token-1";
