import { ConfigError } from "../errors.ts";
import { Cidr, parseCidr } from "./cidr.ts";
import { normalizeHostName } from "./host-name.ts";
import { parseIp } from "./ip.ts";
import type { Target } from "./target.ts";

/** Ports from `first` to `last`, both included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** What the host part of a pattern matches. */
export type HostMatch =
  | { readonly kind: "any" }
  | { readonly kind: "block"; readonly cidr: Cidr }
  | { readonly kind: "name"; readonly name: string }
  /** `*.corp.example`: every name below, not the name itself. */
  | { readonly kind: "below"; readonly name: string }
  /** `.corp.example`: the name itself and every name below. */
  | { readonly kind: "domain"; readonly name: string };

/**
 * One entry of `--allow`, `--deny` and of a route: a host, and ports when it names them.
 *
 * | text | matches |
 * |---|---|
 * | `10.0.0.0/8:22` | port 22 of a block of addresses |
 * | `127.0.0.1`, `::1` | every port of one address |
 * | `[::1]:8080`, `[fd00::/8]:443` | IPv6 with a port needs brackets |
 * | `db.internal:5432` | one name |
 * | `*.internal:443` | every name below `internal`, at any depth; not `internal` itself |
 * | `.internal` | `internal` and every name below it |
 * | `*:8000-8999` | every host on a range of ports |
 * | `db.internal:*` | every port, said aloud |
 *
 * Names are compared without case and final dot. A block never matches a name, nor a name an
 * address: who resolves names asks for both.
 */
export class HostPattern {
  readonly host: HostMatch;
  /** `undefined`: every port. */
  readonly ports: PortRange | undefined;

  constructor(host: HostMatch, ports: PortRange | undefined) {
    this.host = host;
    this.ports = ports;
  }

  /** Whether it names one address or one name, not a set of them. */
  get isExact(): boolean {
    return this.host.kind === "name" || (this.host.kind === "block" && this.host.cidr.isSingle);
  }

  /** Whether it can match an address on that port at all. */
  isForAddressesAt(port: number): boolean {
    return this.matchesPort(port) && (this.host.kind === "block" || this.host.kind === "any");
  }

  /** Matches a name, not an IP literal. */
  matchesName(name: string, port: number): boolean {
    if (!this.matchesPort(port)) return false;
    const { host } = this;
    if (host.kind === "any") return true;
    if (host.kind === "block") return false;
    const asked = normalizeHostName(name);
    if (asked === undefined) return false;
    const isSame = asked === host.name;
    if (host.kind === "name") return isSame;
    return asked.endsWith(`.${host.name}`) || (host.kind === "domain" && isSame);
  }

  /** Matches the 4 or 16 bytes of an address. */
  matchesAddress(address: Uint8Array, port: number): boolean {
    if (!this.matchesPort(port)) return false;
    const { host } = this;
    return host.kind === "any" || (host.kind === "block" && host.cidr.contains(address));
  }

  /** Matches a target as it was asked for: literals by address, the rest by name. */
  matchesTarget({ host, port }: Target): boolean {
    const address = parseIp(host);
    return address === undefined
      ? this.matchesName(host, port)
      : this.matchesAddress(address, port);
  }

  /** Whether the pattern's ports include `port`. */
  matchesPort(port: number): boolean {
    return this.ports === undefined || (port >= this.ports.first && port <= this.ports.last);
  }

  /** The shortest text that {@link parseHostPattern} reads back as the same pattern. */
  toString(): string {
    const host = formatHost(this.host);
    if (this.ports === undefined) return host;
    const { first, last } = this.ports;
    const ports = first === last ? `${first}` : `${first}-${last}`;
    return host.includes(":") ? `[${host}]:${ports}` : `${host}:${ports}`;
  }
}

/**
 * Reads one pattern; the grammar is at {@link HostPattern}.
 *
 * @throws ConfigError quoting the text and saying what is wrong with it
 */
export function parseHostPattern(text: string): HostPattern {
  const fail = (why: string): ConfigError => new ConfigError(`host pattern "${text}": ${why}`);
  if (text === "") throw fail("is empty");
  if (text.includes("://")) throw fail("is a URL; write host:port");
  const { host, ports } = splitPorts(text, fail);
  return new HostPattern(
    parseHost(host, fail),
    ports === undefined ? undefined : parsePorts(ports, fail),
  );
}

/**
 * Reads a port `443`, a range `8000-8999`, or `*` for all of them.
 *
 * @returns `undefined` for `*`
 * @throws what `fail` makes of one clause saying what is wrong
 */
export function parsePorts(text: string, fail: (why: string) => Error): PortRange | undefined {
  if (text === "*") return undefined;
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) throw fail(`port "${text}" is no port, no range like 8000-8999, and not *`);
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  for (const port of [first, last]) {
    if (port < 1 || port > 65_535) throw fail(`port ${port} is not 1..65535`);
  }
  if (first > last) throw fail(`port range ${first}-${last} runs backwards`);
  return { first, last };
}

function splitPorts(
  text: string,
  fail: (why: string) => ConfigError,
): { readonly host: string; readonly ports: string | undefined } {
  if (text.startsWith("[")) {
    const match = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
    if (match === null) throw fail("a [ needs its ], then nothing or :port");
    if (!match[1]?.includes(":")) throw fail("brackets are for IPv6 addresses");
    return { host: match[1], ports: match[2] };
  }
  const colons = text.split(":").length - 1;
  // Behind a prefix a colon can only mean a port; without one, many colons are an IPv6 address.
  const afterPrefix = /^(.*\/\d+):([^:]*)$/.exec(text);
  if (afterPrefix !== null) return { host: afterPrefix[1] ?? "", ports: afterPrefix[2] };
  if (colons !== 1) return { host: text, ports: undefined };
  const at = text.indexOf(":");
  return { host: text.slice(0, at), ports: text.slice(at + 1) };
}

function parseHost(text: string, fail: (why: string) => ConfigError): HostMatch {
  if (text === "") throw fail("has no host");
  if (text === "*") return { kind: "any" };
  if (text.includes("/") || text.includes(":") || parseIp(text) !== undefined) {
    if (text.includes("%")) throw fail("has a zone, which cannot be matched");
    const cidr = parseCidr(text);
    if (typeof cidr === "string") throw fail(cidr);
    return { kind: "block", cidr };
  }
  const [kind, bare] = text.startsWith("*.")
    ? (["below", text.slice(2)] as const)
    : text.startsWith(".")
      ? (["domain", text.slice(1)] as const)
      : (["name", text] as const);
  if (bare.includes("*")) throw fail("a * stands for whole labels at the front: *.corp.example");
  const name = normalizeHostName(bare);
  if (name === undefined || !NAME.test(name)) throw fail(`"${bare}" is no host name`);
  if (NUMERIC_END.test(name)) {
    throw fail(`"${bare}" is an unusual spelling of an address; write it like 127.0.0.1`);
  }
  return { kind, name };
}

function formatHost(host: HostMatch): string {
  switch (host.kind) {
    case "any":
      return "*";
    case "block":
      return host.cidr.toString();
    case "name":
      return host.name;
    case "below":
      return `*.${host.name}`;
    case "domain":
      return `.${host.name}`;
  }
}

/** Underscores are no host name by the book, but stand in real zones. */
const NAME = /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/;

/** `2130706433`, `0177.0.0.1`, `0x7f.1`: resolvers read these as IPv4. */
const NUMERIC_END = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/;
