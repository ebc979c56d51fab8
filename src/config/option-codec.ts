import type { HostPort } from "../address/socks-address.ts";
import { formatHostPort, parseHostPort } from "../address/target.ts";
import { ConfigError } from "../errors.ts";
import {
  type Credential,
  formatCredential,
  parseCredential,
  parsePemSource,
} from "./credential.ts";
import {
  type DurationLimits,
  formatDuration,
  type Milliseconds,
  parseDuration,
} from "./duration.ts";
import { didYouMean } from "./nearest.ts";
import { formatProxyUrl, parseProxyUrl, type ProxyUrl } from "./proxy-url.ts";

/** How the value of one option of a tunnel URL is read and written. */
export interface OptionCodec<Value> {
  /** What may stand there: `TIME`, `1..300`. */
  readonly form: string;
  /** @throws ConfigError saying what is wrong */
  read(texts: readonly string[]): Value;
  write(value: Value, how: { readonly reveal: boolean }): readonly string[];
}

/** A header added to the request that opens a tunnel. */
export interface Header {
  readonly name: string;
  /** May be a reference, since headers carry tokens. */
  readonly value: Credential;
}

function one<Value>(
  form: string,
  parse: (text: string) => Value,
  format: (value: Value, how: { readonly reveal: boolean }) => string,
): OptionCodec<Value> {
  return {
    form,
    read([text = "", ...more]) {
      if (more.length > 0) throw new ConfigError(`given ${more.length + 1} times`);
      return parse(text);
    },
    write: (value, options) => [format(value, options)],
  };
}

/** A length of time within limits. */
export function duration(limits: DurationLimits): OptionCodec<Milliseconds> {
  return one("TIME", (text) => parseDuration(text, limits), formatDuration);
}

/** A whole number from `min` to `max`. */
export function integer(min: number, max: number): OptionCodec<number> {
  const parse = (text: string): number => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new ConfigError(`"${text}" is no whole number from ${min} to ${max}`);
  };
  return one(`${min}..${max}`, parse, String);
}

/** One of some words. */
export function choice<Word extends string>(words: readonly Word[]): OptionCodec<Word> {
  const parse = (text: string): Word => {
    const word = words.find((candidate) => candidate === text.toLowerCase());
    if (word !== undefined) return word;
    throw new ConfigError(`"${text}" is not ${words.join(", ")}${didYouMean(text, words)}`);
  };
  return one(words.join("|"), parse, String);
}

/** `on` or `off`; the bare name is `on`. */
export const flag: OptionCodec<boolean> = one("on|off", parseFlag, formatFlag);

/** A host name. */
export const hostName: OptionCodec<string> = one("NAME", parseName, String);

/** The path of a directory. */
export const directory: OptionCodec<string> = one("DIR", parsePath, String);

/** The path of a file. */
export const file: OptionCodec<string> = one("FILE", parsePath, String);

/** One place to dial. */
export const hostPort: OptionCodec<HostPort> = one("HOST:PORT", parseServer, ({ host, port }) =>
  formatHostPort(host, port),
);

/** A reference to PEM text. */
export const pem: OptionCodec<Credential> = one("FILE", parsePemSource, formatCredential);

/** An upstream proxy. */
export const proxyUrl: OptionCodec<ProxyUrl> = one("URL", parseProxyUrl, formatProxyUrl);

/** SHA-256 digests of public keys; canonical form is base64. */
export const pins: OptionCodec<readonly string[]> = {
  form: "SHA256",
  read: (texts) => texts.map(parsePin),
  write: (values) => values,
};

/** Headers, in the order given. */
export const headers: OptionCodec<readonly Header[]> = {
  form: "NAME:VALUE",
  read: (texts) => texts.map(parseHeader),
  write: (values, how) =>
    values.map(({ name, value }) => `${name}: ${formatCredential(value, how)}`),
};

/** Secrets, in the order given. */
export const tokens: OptionCodec<readonly Credential[]> = {
  form: "TOKEN",
  read: (texts) => texts.map((text) => parseCredential(text)),
  write: (values, how) => values.map((value) => formatCredential(value, how)),
};

/** Servers, in the order given. */
export const hostPorts: OptionCodec<readonly HostPort[]> = {
  form: "HOST:PORT",
  read: (texts) => texts.map(parseServer),
  write: (values) => values.map(({ host, port }) => formatHostPort(host, port)),
};

function parseServer(text: string): HostPort {
  const place = parseHostPort(text);
  if (place !== undefined && place.port > 0) return place;
  throw new ConfigError(`"${text}" is no server: write host:port`);
}

function parsePath(text: string): string {
  if (text !== "" && !text.includes("\0")) return text;
  throw new ConfigError("path is empty");
}

function parseFlag(text: string): boolean {
  const value = FLAGS.get(text.toLowerCase());
  if (value !== undefined) return value;
  throw new ConfigError(`"${text}" is not on or off`);
}

function formatFlag(value: boolean): string {
  return value ? "on" : "off";
}

function parseName(text: string): string {
  if (/^[\w.-]{1,253}$/.test(text)) return text;
  throw new ConfigError(`"${text}" is no host name`);
}

/** Accepts hexadecimal, base64, base64url, and curl's `sha256//` in front. */
function parsePin(text: string): string {
  const digest = text.replace(/^sha256[/:]*/i, "");
  const bytes = Buffer.from(digest, /^[0-9a-f]{64}$/i.test(digest) ? "hex" : "base64");
  if (bytes.byteLength === 32) return bytes.toString("base64");
  throw new ConfigError("no SHA-256: want 64 hexadecimal digits, or 44 characters of base64");
}

function parseHeader(text: string): Header {
  const [, name, value = ""] = /^([!#$%&'*+.^_`|~\w-]+):\s*(.*)$/s.exec(text) ?? [];
  if (name === undefined) throw new ConfigError("no header: write Name: value");
  if (/^(connection|upgrade|content-length|transfer-encoding|sec-websocket-.*)$/i.test(name)) {
    throw new ConfigError(`cannot set ${name}: it belongs to the handshake`);
  }
  // oxlint-disable-next-line no-control-regex -- control characters would split the header
  if (/[\u0000-\u001f\u007f]/.test(value)) {
    throw new ConfigError(`value of ${name} holds a control character`);
  }
  return { name, value: parseCredential(value) };
}

const FLAGS: ReadonlyMap<string, boolean> = new Map([
  ["", true],
  ["on", true],
  ["true", true],
  ["yes", true],
  ["1", true],
  ["off", false],
  ["false", false],
  ["no", false],
  ["0", false],
]);
