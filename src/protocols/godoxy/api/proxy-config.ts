import { parseHostPort } from "../../../address/target.ts";
import { ConfigError, ProtocolError } from "../../../errors.ts";
import { decodeGoBase64 } from "./go-base64.ts";

/** The schemes an origin can be reached with; `h2c` is HTTP/2 without TLS. */
export type ProxyScheme = "http" | "https" | "h2c";

/** Where a proxied request goes and how, as its headers say. */
export interface ProxyConfig {
  readonly scheme: ProxyScheme;
  readonly host: string;
  readonly port: number;
  /** ms; `undefined`: the agent's own. */
  readonly responseHeaderTimeoutMs: number | undefined;
  /** 0: the agent's own bound. */
  readonly maxConnections: number;
  readonly tls: OriginTls;
}

/** How TLS to an origin is spoken. */
export interface OriginTls {
  /** Whether its certificate is taken as it is. */
  readonly insecure: boolean;
  /** The name asked for and verified; `undefined`: the host's. */
  readonly serverName: string | undefined;
  /** Whether it is asked for a name at all. */
  readonly hasSni: boolean;
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
}

/** The versions of TLS we speak. */
export type TlsVersion = "TLSv1.2" | "TLSv1.3";

/**
 * Reads where a request goes: the present headers when one of them is there, else those of old
 * servers.
 *
 * Reference: godoxy `agent/pkg/agentproxy/config.go`, `ConfigFromHeaders`. Ours refuses what names
 * anything twice: two programs on the way could take different ones.
 *
 * @param headers values by lower-case name, one for each time a header is there
 * @throws ProtocolError whose message the peer is told; ConfigError when it asks for what this agent does not do
 */
export function readProxyConfig(headers: Headers): ProxyConfig {
  for (const name of [...MODERN, ...LEGACY]) {
    if ((headers[name]?.length ?? 0) > 1) throw new ProtocolError(`more than one ${name}`);
  }
  return MODERN.some((name) => headers[name] !== undefined)
    ? readModern(headers)
    : readLegacy(headers);
}

/** Node's `headersDistinct`. */
type Headers = Readonly<Record<string, readonly string[] | undefined>>;

function readModern(headers: Headers): ProxyConfig {
  const json = readJson(first(headers, "x-proxy-config"));
  const settings = readSettings(json);
  const host = first(headers, "x-proxy-host");
  if (host === "") throw new ProtocolError("missing proxy host");
  const scheme = first(headers, "x-proxy-scheme");
  if (!isScheme(scheme)) throw new ProtocolError("invalid proxy scheme");
  return { scheme, ...readHost(host, scheme), ...settings };
}

function readLegacy(headers: Headers): ProxyConfig {
  const host = first(headers, "x-proxy-host");
  if (host === "") throw new ProtocolError("missing proxy host");
  const scheme = isTrue(first(headers, "x-proxy-https")) ? "https" : "http";
  const seconds = first(headers, "x-proxy-response-header-timeout");
  const timeout = /^[+-]?\d{1,9}$/.test(seconds) ? Number(seconds) * 1_000 : 0;
  const insecure = isTrue(first(headers, "x-proxy-skip-tls-verify"));
  return {
    scheme,
    ...readHost(host, scheme),
    responseHeaderTimeoutMs: timeoutOf(timeout),
    maxConnections: 0,
    tls: { ...DEFAULT_TLS, insecure },
  };
}

function readJson(base64: string): Readonly<Record<string, unknown>> {
  if (base64.length > MAX_CONFIG_CHARS) {
    throw new ProtocolError(`config of ${base64.length} bytes exceeds ${MAX_CONFIG_CHARS}`);
  }
  const result = decodeGoBase64(base64);
  if ("faultAt" in result) {
    throw new ProtocolError(`illegal base64 data at input byte ${result.faultAt}`);
  }
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(result.bytes));
  } catch {
    throw new ProtocolError("config is no JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new ProtocolError("config is no JSON object");
  }
  return Object.fromEntries(Object.entries(json));
}

type Settings = Omit<ProxyConfig, "scheme" | "host" | "port">;

function readSettings(json: Readonly<Record<string, unknown>>): Settings {
  const nanoseconds = field(json, "response_header_timeout", "number", 0);
  const maxConnections = field(json, "max_conns_per_host", "number", 0);
  const serverName = field(json, "ssl_server_name", "string", "");
  // Ours passes bodies as they are; there is nothing to switch off.
  field(json, "disable_compression", "boolean", false);
  for (const name of FILES) {
    if (field(json, name, "string", "") === "") continue;
    // The reference opens any file of its machine that the request names.
    throw new ConfigError(`${name}: this agent reads no files for requests`);
  }
  if (!Number.isInteger(nanoseconds)) throw wrongType("response_header_timeout");
  if (!Number.isInteger(maxConnections)) throw wrongType("max_conns_per_host");
  const isName = serverName !== "" && serverName !== "on" && serverName !== "off";
  return {
    responseHeaderTimeoutMs: timeoutOf(nanoseconds / 1e6),
    maxConnections: Math.max(0, maxConnections),
    tls: {
      insecure: field(json, "no_tls_verify", "boolean", false),
      serverName: isName ? serverName : undefined,
      hasSni: serverName !== "off",
      ...readVersions(json["ssl_protocols"]),
    },
  };
}

function readVersions(value: unknown): Pick<OriginTls, "minVersion" | "maxVersion"> {
  if (value === undefined || value === null) return ANY_VERSION;
  if (!Array.isArray(value)) throw wrongType("ssl_protocols");
  const asked = value.map((name: unknown) => {
    if (typeof name !== "string") throw wrongType("ssl_protocols");
    const rank = PROTOCOLS.indexOf(name.toLowerCase());
    if (rank < 0) throw new ConfigError(`${name}: unsupported TLS protocol`);
    return rank;
  });
  if (asked.length === 0) return ANY_VERSION;
  if (Math.max(...asked) < PROTOCOLS.indexOf("tlsv1.2")) {
    throw new ConfigError("ssl_protocols: TLS before 1.2 is not spoken here");
  }
  const is13 = (rank: number): TlsVersion =>
    rank >= PROTOCOLS.indexOf("tlsv1.3") ? "TLSv1.3" : "TLSv1.2";
  return { minVersion: is13(Math.min(...asked)), maxVersion: is13(Math.max(...asked)) };
}

/** A setting; absent and `null` are its default. */
function field<Kind extends keyof Kinds>(
  json: Readonly<Record<string, unknown>>,
  name: string,
  kind: Kind,
  otherwise: Kinds[Kind],
): Kinds[Kind] {
  const value = json[name];
  if (value === undefined || value === null) return otherwise;
  if (!isOf(value, kind)) throw wrongType(name);
  return value;
}

interface Kinds {
  readonly number: number;
  readonly string: string;
  readonly boolean: boolean;
}

function isOf<Kind extends keyof Kinds>(value: unknown, kind: Kind): value is Kinds[Kind] {
  return typeof value === kind;
}

function wrongType(name: string): ProtocolError {
  return new ProtocolError(`${name} is of the wrong type`);
}

/**
 * Reads `host` or `host:port`, IPv6 in brackets.
 *
 * @throws ProtocolError when it is something else
 */
export function readHost(text: string, scheme: ProxyScheme): { host: string; port: number } {
  const isBare = !/:\d+$/.test(text.replace(/^\[[^\]]*\]/, ""));
  const target = /^[!-~]+$/.test(text) && !/[/?#@\\<>"%]/.test(text);
  const parsed = parseHostPort(isBare ? `${text}:${scheme === "https" ? 443 : 80}` : text);
  if (!target || parsed === undefined) throw new ProtocolError("invalid proxy host");
  return parsed;
}

/** Not positive: the agent's own. What nobody would wait for is cut. */
function timeoutOf(ms: number): number | undefined {
  return ms > 0 ? Math.min(ms, MAX_TIMEOUT_MS) : undefined;
}

function first(headers: Headers, name: string): string {
  return headers[name]?.[0] ?? "";
}

/** Reference: Go's `strconv.ParseBool`; everything else is false. */
function isTrue(text: string): boolean {
  return ["1", "t", "T", "true", "TRUE", "True"].includes(text);
}

function isScheme(text: string): text is ProxyScheme {
  return text === "http" || text === "https" || text === "h2c";
}

const MODERN = ["x-proxy-scheme", "x-proxy-config"] as const;

const LEGACY = [
  "x-proxy-host",
  "x-proxy-https",
  "x-proxy-skip-tls-verify",
  "x-proxy-response-header-timeout",
] as const;

const FILES = ["ssl_trusted_certificate", "ssl_certificate", "ssl_certificate_key"] as const;

const PROTOCOLS: readonly string[] = ["tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"];

const ANY_VERSION = { minVersion: "TLSv1.2", maxVersion: "TLSv1.3" } as const;

/** How TLS is spoken when nothing is said about it. */
export const DEFAULT_TLS: OriginTls = {
  insecure: false,
  serverName: undefined,
  hasSni: true,
  ...ANY_VERSION,
};

/** A configuration has a few hundred bytes. */
const MAX_CONFIG_CHARS = 16 * 1024;

const MAX_TIMEOUT_MS = 3_600_000;
