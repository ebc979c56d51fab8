import { formatHostPort } from "../address/target.ts";
import { ConfigError } from "../errors.ts";
import { parseClientId } from "./client-id.ts";
import { type Credential, formatCredential, parseCredential } from "./credential.ts";
import { didYouMean } from "./nearest.ts";
import { decodePercent, encodeUserinfo, parsePlace } from "./proxy-url.ts";
import {
  findScheme,
  hasCredentials,
  requireRole,
  type Role,
  type Scheme,
  type SystemName,
  SYSTEMS,
} from "./systems.ts";
import type { OptionName, OptionsDraft, TunnelOptions } from "./option-values.ts";
import { isOptionName, needOf, NEEDS, optionNames, OPTIONS } from "./tunnel-options.ts";

/**
 * One end of a tunnel:
 * `<system>+<transport>://[credential@]host[:port][/path][?option=value&…]`.
 */
export interface TunnelUrl {
  readonly system: SystemName;
  readonly transport: string;
  /** Whose password the credential is; absent where a reference holds both, `user:password`. */
  readonly user?: string | undefined;
  /** Who we are; for `serve`, the one client named `default` or as `user` says. */
  readonly credential?: Credential | undefined;
  /** Where to dial, or where to listen. */
  readonly host: string;
  readonly port: number;
  /** With its leading slash, still percent-encoded; empty when the URL has none. */
  readonly path: string;
  readonly options: TunnelOptions;
}

/** Something wrong inside a text. */
export interface TextProblem {
  /** Where in the text, in UTF-16 units from its start. */
  readonly offset: number;
  readonly message: string;
}

/** A tunnel URL, or everything that is wrong with it. */
export type TunnelUrlResult =
  | { readonly url: TunnelUrl; readonly problems: readonly [] }
  | { readonly url: undefined; readonly problems: readonly TextProblem[] };

/**
 * Reads a tunnel URL for a role.
 *
 * @throws ConfigError with everything that is wrong
 */
export function parseTunnelUrl(text: string, role: Role): TunnelUrl {
  const { url, problems } = readTunnelUrl(text, role);
  if (url !== undefined) return url;
  throw new ConfigError(problems.map(({ message }) => message).join("; "));
}

/** Reads a tunnel URL for a role, collecting every problem. */
export function readTunnelUrl(text: string, role: Role): TunnelUrlResult {
  const problems: TextProblem[] = [];
  const url = new UrlReader(text, role, problems).read();
  if (url === undefined || problems.length > 0) return { url: undefined, problems };
  return { url, problems: [] };
}

/** The URL again, port always written; secrets are `***` unless they are to be revealed. */
export function formatTunnelUrl(
  url: TunnelUrl,
  options: { readonly reveal: boolean } = { reveal: false },
): string {
  const credential =
    url.credential === undefined
      ? ""
      : `${formatUser(url.user)}${formatUserinfo(url.credential, options)}@`;
  const query = Object.keys(url.options)
    .filter(isOptionName)
    .flatMap((name) =>
      OPTIONS[name].write(url.options, options).map((text) => `${name}=${encodeOption(text)}`),
    )
    .join("&");
  return `${endpoint(url, credential)}${query === "" ? "" : `?${query}`}`;
}

/** `pong+tls://host:443/path`: what logs say. No credential, no options. */
export function describeTunnelUrl(url: TunnelUrl): string {
  return endpoint(url, "");
}

function endpoint({ system, transport, host, port, path }: TunnelUrl, credential: string): string {
  return `${system}+${transport}://${credential}${formatHostPort(host, port)}${path}`;
}

/** Reads the parts one after the other; a broken part does not keep the others from being read. */
class UrlReader {
  readonly #text: string;
  readonly #role: Role;
  readonly #problems: TextProblem[];

  constructor(text: string, role: Role, problems: TextProblem[]) {
    this.#text = text;
    this.#role = role;
    this.#problems = problems;
  }

  read(): TunnelUrl | undefined {
    const text = this.#text;
    if (text.length > MAX_URL_LENGTH) {
      this.#report(0, `tunnel URL of ${text.length} characters exceeds ${MAX_URL_LENGTH}`);
      return undefined;
    }
    const schemeEnd = text.indexOf("://");
    if (schemeEnd < 0) {
      this.#report(0, `"${shorten(text)}" is no tunnel URL: write ${EXAMPLE}`);
      return undefined;
    }
    const scheme = this.#try(0, () => findScheme(text.slice(0, schemeEnd)));
    if (scheme === undefined) return undefined;
    this.#try(0, () => requireRole(scheme.system, this.#role));

    const start = schemeEnd + "://".length;
    const hasUser = SYSTEMS[scheme.system].login === "user and password";
    const { credentialEnd, authorityEnd, pathEnd } = cut(text, start, hasUser);
    const login =
      credentialEnd === undefined
        ? undefined
        : this.#login(scheme, start, text.slice(start, credentialEnd));
    const placeStart = credentialEnd === undefined ? start : credentialEnd + 1;
    const place = this.#place(scheme, placeStart, text.slice(placeStart, authorityEnd));
    const path = this.#path(scheme, authorityEnd, text.slice(authorityEnd, pathEnd));
    const options = this.#options(scheme, pathEnd, text.slice(pathEnd));
    if (place === undefined) return undefined;
    const { system, transport } = scheme;
    return { system, transport, ...login, ...place, path, options };
  }

  #login(
    { system, transport }: Scheme,
    offset: number,
    text: string,
  ): Pick<TunnelUrl, "user" | "credential"> | undefined {
    return this.#try(offset, () => {
      const { login } = SYSTEMS[system];
      if (!hasCredentials(system)) throw new ConfigError(`${system}+${transport} knows no logins`);
      if (login === "user and password" && !REFERENCE.test(text)) return parseLogin(text);
      const credential = parseCredential(decodePercent(text));
      if (system === "pong" && credential.kind === "literal") {
        parseClientId(credential.secret.reveal());
      }
      return { credential };
    });
  }

  #place(scheme: Scheme, offset: number, text: string): { host: string; port: number } | undefined {
    return this.#try(offset, () => {
      const { host, port } = parsePlace(text, scheme.info.defaultPort);
      if (this.#role === "serve") {
        return { host: host === "" || host === "*" ? "0.0.0.0" : host, port };
      }
      if (host === "") throw new ConfigError(`host is empty: write ${EXAMPLE}`);
      if (port === 0) throw new ConfigError("port 0 cannot be dialled");
      return { host, port };
    });
  }

  #path(scheme: Scheme, offset: number, text: string): string {
    if (text === "" || text === "/") return "";
    const { system, transport, info } = scheme;
    if (!info.hasHttp) {
      this.#report(
        offset,
        `${system}+${transport} has no path, but the URL has "${shorten(text)}"`,
      );
    } else if (!/^[!-~]+$/.test(text) || text.includes("#")) {
      this.#report(offset, `path "${shorten(text)}" holds a character to be percent-encoded`);
    }
    return text;
  }

  #options(scheme: Scheme, offset: number, query: string): TunnelOptions {
    const found = new Map<OptionName, { readonly offset: number; readonly values: string[] }>();
    let at = offset + 1;
    for (const part of query === "" ? [] : query.slice(1).split("&")) {
      const [name = "", ...value] = part.split("=");
      const text = this.#try(at, () => decodePercent(value.join("=")));
      if (part !== "" && text !== undefined && this.#mayHave(scheme, name, at)) {
        const entry = found.get(name) ?? { offset: at, values: [] };
        entry.values.push(text);
        found.set(name, entry);
      }
      at += part.length + 1;
    }
    const options: OptionsDraft = {};
    for (const [name, entry] of found) {
      const read = (): void => OPTIONS[name].read(entry.values, options);
      this.#try(entry.offset, read, `option "${name}": `);
    }
    return options;
  }

  #mayHave(scheme: Scheme, name: string, offset: number): name is OptionName {
    const { system, transport, info } = scheme;
    const known = optionNames(system, this.#role);
    if (!isOptionName(name)) {
      const guess = didYouMean(name, known);
      this.#report(offset, `${system} has no option "${shorten(name)}"${guess}`);
      return false;
    }
    const need = needOf(name, system);
    if (!known.includes(name)) {
      this.#report(offset, `option "${name}" has no meaning for ${this.#role}`);
    } else if (need !== undefined && !NEEDS[need](info)) {
      this.#report(offset, `option "${name}" needs ${need}, and ${system}+${transport} has none`);
    } else {
      return true;
    }
    return false;
  }

  #try<Value>(offset: number, parse: () => Value, prefix = ""): Value | undefined {
    try {
      return parse();
    } catch (thrown) {
      if (!(thrown instanceof ConfigError)) throw thrown;
      const hint = thrown.hint === undefined ? "" : `; ${thrown.hint}`;
      this.#report(offset, `${prefix}${thrown.message}${hint}`);
      return undefined;
    }
  }

  #report(offset: number, message: string): void {
    this.#problems.push({ offset, message });
  }
}

/** Where the parts end, as offsets into the text. */
function cut(
  text: string,
  start: number,
  hasUser: boolean,
): {
  readonly credentialEnd: number | undefined;
  readonly authorityEnd: number;
  readonly pathEnd: number;
} {
  const find = (pattern: RegExp, from: number): number => {
    const at = text.slice(from).search(pattern);
    return at < 0 ? text.length : from + at;
  };
  // A reference may hold slashes and blanks, so it goes up to the first @ before any query.
  const rest = text.slice(start);
  const isReference = REFERENCE.test(rest) || (hasUser && USER_AND_REFERENCE.test(rest));
  const limit = find(isReference ? /\?/ : /[/?]/, start);
  const zone = text.slice(start, limit);
  const at = isReference ? zone.indexOf("@") : zone.lastIndexOf("@");
  const credentialEnd = at < 0 ? undefined : start + at;
  const authorityEnd = find(/[/?]/, credentialEnd === undefined ? start : credentialEnd + 1);
  return { credentialEnd, authorityEnd, pathEnd: find(/\?/, authorityEnd) };
}

/**
 * Reads `user:password`; the password may be a reference.
 *
 * @throws ConfigError without repeating the password
 */
function parseLogin(text: string): { readonly user: string; readonly credential: Credential } {
  const [encoded = "", ...rest] = text.split(":");
  const user = decodePercent(encoded);
  if (user === "" || rest.length === 0) throw new ConfigError("no login: write user:password");
  if (user.includes(":")) throw new ConfigError(`user "${user}" holds a colon`);
  const credential = parseCredential(decodePercent(rest.join(":")));
  if (credential.kind === "literal" && credential.secret.reveal().includes(":")) {
    throw new ConfigError("the password holds a colon, which its system cannot carry");
  }
  return { user, credential };
}

/** A user, such that it is not taken for a kind of reference. */
function formatUser(user: string | undefined): string {
  if (user === undefined) return "";
  const text = encodeUserinfo(user).replaceAll(/[:/]/g, encodeURIComponent);
  const first = text.charCodeAt(0).toString(16);
  return /^(env|file|cmd)$/.test(text) ? `%${first}${text.slice(1)}:` : `${text}:`;
}

function formatUserinfo(credential: Credential, options: { readonly reveal: boolean }): string {
  const text = encodeUserinfo(formatCredential(credential, options));
  return credential.kind === "literal" ? text.replaceAll("/", "%2F") : text;
}

/** Encodes what would end an option's value, and nothing that reads better as it is. */
function encodeOption(text: string): string {
  return text.toWellFormed().replaceAll(/[^\w!$'()*,;:@.~/+=-]/gu, encodeURIComponent);
}

/** Keeps quotations in errors short. */
function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

const EXAMPLE = "pong+tls://host:443";

const REFERENCE = /^(env|file|cmd):/;
const USER_AND_REFERENCE = /^[^:@/?]+:(env|file|cmd):/;

/** A URL with an inline certificate chain fits; anything longer is a mistake. */
const MAX_URL_LENGTH = 65_536;
