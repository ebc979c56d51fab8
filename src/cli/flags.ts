import { HostPattern, parseHostPattern } from "../address/host-pattern.ts";
import type { ConfigInput } from "../config/config.ts";
import { parseCredential } from "../config/credential.ts";
import { parseForwardAddress, parseListenAddress, parsePort } from "../config/listen-address.ts";
import { ConfigError } from "../errors.ts";
import { parseArgument, UsageError } from "./usage-error.ts";

/** Flags that open local doors, as text. */
export interface DoorFlags {
  readonly dynamic?: readonly string[];
  readonly forward?: readonly string[];
  readonly http?: readonly string[];
  readonly user?: readonly string[];
  readonly pac?: boolean;
}

/** What `-D`, `-H`, `-L`, `--user` and `--pac` stand for: the section `inbounds`. */
export function toInbounds({
  dynamic = [],
  http = [],
  forward = [],
  user = [],
  pac = false,
}: DoorFlags): ConfigInput[] {
  const users = toUsers(user);
  const proxy = { ...(user.length > 0 && { users }), ...(pac && { pac }) };
  if (dynamic.length + http.length === 0) {
    if (user.length > 0) throw new UsageError("--user wants a -D or -H that asks for it");
    if (pac) throw new UsageError("--pac wants a -D or -H that serves it");
  }
  return [
    ...dynamic.map((text) => ({ socks: checkedListen("-D", text), ...proxy })),
    ...http.map((text) => ({ http: checkedListen("-H", text), ...proxy })),
    ...forward.map((text) => parseArgument(`-L ${text}`, () => parseForward(text))),
  ];
}

/**
 * Takes `LISTEN:HOST:PORT` or `LISTEN:HOST:PORT/udp` apart, from the right, since the left may be a
 * path or an address.
 *
 * @throws ConfigError when it is nothing of that form
 */
export function parseForward(text: string): ConfigInput {
  const match = /^(.+):(\[[^\]]+\]|[^:[\]/]+):(\d+)(\/udp)?$/.exec(text);
  if (match === null) {
    if (/^[^/]+:\//.test(text)) {
      throw new ConfigError("a path cannot be reached through a tunnel: write LISTEN:HOST:PORT");
    }
    throw new ConfigError(
      "write LISTEN:HOST:PORT; LISTEN is a port, bind:port, a path, or - for stdin and stdout; PORT/udp forwards datagrams",
    );
  }
  const [, listen = "", host = "", port = "", udp = ""] = match;
  const address = parseForwardAddress(listen);
  if (udp !== "" && (address === "stdio" || "path" in address)) {
    throw new ConfigError("datagrams come in through a port: write [bind:]PORT:HOST:PORT/udp");
  }
  if (parsePort(port) === 0) throw new ConfigError("port 0 cannot be reached");
  return { forward: listen, to: `${host}:${port}${udp}` };
}

/** What `--client` stands for: the section `clients` of `serve`. */
export function toClients(flags: readonly string[]): Record<string, string> {
  return toTokens("--client", "NAME=ID", flags);
}

/** Flags of a server with providers, as text. */
export interface HubFlags {
  readonly provider?: readonly string[];
  readonly connector?: readonly string[];
  readonly autonomy?: boolean;
  readonly apiKey?: string;
}

/** What `--provider`, `--connector`, `--autonomy` and `--api-key` stand for: keys of `serve`. */
export function toHub({
  provider = [],
  connector = [],
  autonomy = false,
  apiKey,
}: HubFlags): ConfigInput {
  const tokens = toTokens("--provider", "NAME=TOKEN", provider);
  const [first] = Object.keys(tokens);
  if (autonomy && first === undefined) throw new UsageError("--autonomy wants a --provider");
  const providers = Object.entries(tokens).map(([name, token]) => [
    name,
    autonomy ? { token, autonomy } : token,
  ]);
  const spelled = Object.entries(toTokens("--connector", "NAME@PROVIDER=TOKEN", connector));
  const connectors = spelled.map(([spelling, token]) => {
    const [name = "", ...rest] = spelling.split("@");
    const via = rest.length === 0 ? first : rest.join("@");
    if (via === undefined || name === "") {
      throw new UsageError(`--connector ${spelling}: write NAME@PROVIDER=TOKEN`);
    }
    return [name, { token, provider: via }] as const;
  });
  if (apiKey !== undefined) parseArgument("--api-key", () => parseCredential(apiKey));
  return {
    ...(providers.length > 0 && { providers: Object.fromEntries(providers) }),
    ...(connectors.length > 0 && { connectors: Object.fromEntries(connectors) }),
    ...(apiKey !== undefined && { api: apiKey }),
  };
}

/** What `--route PATTERN=VIA` stands for: the section `routes`. */
export function toRoutes(flags: readonly string[]): ConfigInput[] {
  return flags.map((flag) => {
    const at = flag.lastIndexOf("=");
    if (at < 1)
      throw new UsageError(`--route ${flag}: write PATTERN=VIA, like *.corp.example=office`);
    const pattern = parseArgument(`--route ${flag}`, () => parseHostPattern(flag.slice(0, at)));
    const { host, ports } = pattern;
    const bare = new HostPattern(host, undefined).toString();
    const key = host.kind === "block" ? "cidr" : "domain";
    return {
      ...(host.kind !== "any" && { [key]: bare }),
      ...(ports && {
        port: ports.first === ports.last ? ports.first : `${ports.first}-${ports.last}`,
      }),
      via: flag.slice(at + 1),
    };
  });
}

/** Patterns of `--allow` and `--deny`, each checked. */
export function toPatterns(flag: string, texts: readonly string[]): readonly string[] {
  for (const text of texts) parseArgument(`${flag} ${text}`, () => parseHostPattern(text));
  return texts;
}

function toUsers(flags: readonly string[]): Record<string, string> {
  const users: Record<string, string> = {};
  for (const flag of flags) {
    const at = flag.indexOf(":");
    const name = flag.slice(0, at);
    if (at < 1) {
      throw new UsageError("--user: write NAME:PASSWORD; PASSWORD may be env:NAME or file:PATH");
    }
    if (Object.hasOwn(users, name)) throw new UsageError(`--user: "${name}" is given twice`);
    users[name] = flag.slice(at + 1);
    parseArgument(`--user ${name}`, () => parseCredential(users[name] ?? ""));
  }
  return users;
}

function checkedListen(flag: string, text: string): string {
  parseArgument(`${flag} ${text}`, () => parseListenAddress(text));
  return text;
}

/** Names and secrets of a flag that is given for each. */
function toTokens(flag: string, form: string, texts: readonly string[]): Record<string, string> {
  const [, secret = ""] = form.split("=");
  const tokens: Record<string, string> = {};
  for (const text of texts) {
    const at = text.indexOf("=");
    const name = text.slice(0, at);
    // The flag holds a secret, so it is not repeated in what goes wrong.
    if (at < 1) {
      throw new UsageError(`${flag}: write ${form}; ${secret} may be env:NAME or file:PATH`);
    }
    if (Object.hasOwn(tokens, name)) throw new UsageError(`${flag}: "${name}" is given twice`);
    tokens[name] = text.slice(at + 1);
    parseArgument(`${flag} ${name}`, () => parseCredential(tokens[name] ?? ""));
  }
  return tokens;
}
