import { isIP } from "node:net";
import { embeddedIpv4 } from "../address/cidr.ts";
import { type HostPattern, parseHostPattern } from "../address/host-pattern.ts";
import { formatIp, parseIp, unmapIpv4 } from "../address/ip.ts";
import { formatHostPort, formatTarget, type Target } from "../address/target.ts";
import { PolicyError } from "../errors.ts";
import type { Metadata } from "../tunnel/request.ts";
import { isMetadataName, type SpecialKind, specialKindOf } from "./special-addresses.ts";

/** The rules of one exit, strongest first. */
export interface ExitRules {
  /** Never dialled, whatever the others say. */
  readonly deny?: readonly HostPattern[] | undefined;
  /** When given, nothing else is dialled: the allow list of one client. It opens nothing. */
  readonly only?: readonly HostPattern[] | undefined;
  /**
   * Opens what is denied by default. Metadata services open to an entry that names exactly their
   * address or name, so that `*.internal` or `100.64.0.0/10` does not open them by accident.
   */
  readonly allow?: readonly HostPattern[] | undefined;
}

/** What an outbound asks before it dials; see `outbound/direct`. */
export interface Policy {
  /** Judges a target before its name is resolved. */
  checkName(target: Target, metadata: Metadata): PolicyError | undefined;
  /** Judges one address that `target` stands for, before it is dialled. */
  checkAddress(address: string, target: Target, metadata: Metadata): PolicyError | undefined;
  /** Judges a target that somebody else will resolve: a proxy, or the far end of a tunnel. */
  checkUnresolved(target: Target, metadata: Metadata): PolicyError | undefined;
}

/**
 * Says what an exit may dial for others: public and private addresses, but not loopback,
 * link-local, cloud metadata, multicast, broadcast and unspecified ones, unless `allow` names them.
 *
 * A rule that names a host speaks for every address the name resolved to. Deny rules and defaults
 * also see the IPv4 address inside an IPv6 one; allow rules see what is really dialled.
 */
export class ExitPolicy implements Policy {
  readonly #deny: readonly HostPattern[];
  readonly #only: readonly HostPattern[] | undefined;
  readonly #allow: readonly HostPattern[];

  constructor({ deny = [], only, allow = [] }: ExitRules = {}) {
    this.#deny = deny;
    this.#only = only;
    this.#allow = allow;
  }

  /** The same exit for a client with a list of its own. */
  restrictedTo(only: readonly HostPattern[]): ExitPolicy {
    return new ExitPolicy({ deny: this.#deny, allow: this.#allow, only });
  }

  checkName(target: Target): PolicyError | undefined {
    const { host, port } = target;
    if (isIP(host) !== 0) return undefined; // checkAddress sees it whole
    const denied = this.#deny.find((pattern) => pattern.matchesName(host, port));
    if (denied !== undefined) return deniedBy(denied, target);
    // Addresses on the list may still match once the name is resolved.
    const isHopeless = this.#only?.every(
      (pattern) => !pattern.matchesName(host, port) && !pattern.isForAddressesAt(port),
    );
    if (isHopeless) return notListed(target);
    const isOpened = this.#allow.some(
      (pattern) => pattern.isExact && pattern.matchesName(host, port),
    );
    if (isMetadataName(host) && !isOpened) return special(target, "cloud metadata", undefined);
    return undefined;
  }

  checkAddress(address: string, target: Target): PolicyError | undefined {
    // A zone (`fe80::1%eth0`) says through which door, not to whom.
    const bytes = parseIp(address.replace(/%.*$/, ""));
    if (bytes === undefined) {
      return denial(`target ${formatTarget(target)} resolves to ${address}, which is no address`);
    }
    const plain = unmapIpv4(bytes);
    const embedded = embeddedIpv4(plain);
    const matches = (pattern: HostPattern, dialled: Uint8Array): boolean =>
      pattern.matchesAddress(dialled, target.port) || pattern.matchesTarget(target);
    const denied = this.#deny.find(
      (pattern) => matches(pattern, plain) || (embedded && matches(pattern, embedded)),
    );
    if (denied !== undefined) return deniedBy(denied, target);
    if (this.#only?.every((pattern) => !matches(pattern, plain))) return notListed(target);
    const kind = specialKindOf(plain);
    if (kind === undefined) return undefined;
    const isOpened = this.#allow.some(
      (pattern) => (kind !== "cloud metadata" || pattern.isExact) && matches(pattern, plain),
    );
    return isOpened ? undefined : special(target, kind, plain);
  }

  checkUnresolved(target: Target): PolicyError | undefined {
    if (parseIp(target.host) !== undefined) return this.checkAddress(target.host, target);
    const { host, port } = target;
    if (this.#only?.every((pattern) => !pattern.matchesName(host, port))) return notListed(target);
    return this.checkName(target);
  }
}

/** A policy that is another one for each request: by inbound, by client. */
export function policyByRequest(choose: (metadata: Metadata) => Policy): Policy {
  return {
    checkName: (target, metadata) => choose(metadata).checkName(target, metadata),
    checkAddress: (address, target, metadata) =>
      choose(metadata).checkAddress(address, target, metadata),
    checkUnresolved: (target, metadata) => choose(metadata).checkUnresolved(target, metadata),
  };
}

function deniedBy(pattern: HostPattern, target: Target): PolicyError {
  return denial(`target ${formatTarget(target)} is denied by --deny ${pattern.toString()}`);
}

function notListed(target: Target): PolicyError {
  return denial(`target ${formatTarget(target)} is not on the list of what this client may reach`);
}

function special(target: Target, kind: SpecialKind, address: Uint8Array | undefined): PolicyError {
  const literal = address === undefined ? undefined : formatIp(address);
  const isNamed = parseIp(target.host) === undefined;
  const what = isNamed && literal !== undefined ? `${kind} (${literal})` : kind;
  const entry = allowEntry(target, literal);
  return denial(
    `target ${formatTarget(target)} is ${what}, which this exit denies; --allow ${entry} would permit it`,
  );
}

/** The narrowest entry that opens the target: by its name, where a pattern can spell that. */
function allowEntry({ host, port }: Target, literal: string | undefined): string {
  const entry = formatHostPort(host, port);
  if (literal === undefined) return entry;
  if (parseIp(host) !== undefined) return formatHostPort(literal, port);
  try {
    return parseHostPattern(entry).matchesName(host, port) ? entry : formatHostPort(literal, port);
  } catch {
    return formatHostPort(literal, port); // `127.1` and the like: no name a pattern accepts
  }
}

function denial(message: string): PolicyError {
  return new PolicyError("ERR_POLICY_DENIED", message);
}
