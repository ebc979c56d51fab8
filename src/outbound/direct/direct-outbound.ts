import { isIP, isIPv6, type LookupFunction } from "node:net";
import { normalizeHostName } from "../../address/host-name.ts";
import { formatTarget, type Target } from "../../address/target.ts";
import { type ErrorCode, NetworkError, type PolicyError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { BindUdp } from "../../tunnel/datagrams.ts";
import { type Logger, silentLogger } from "../../tunnel/logger.ts";
import type { PacketChannel } from "../../tunnel/packets.ts";
import type { Metadata, Outbound } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { DialPolicy } from "./dial-policy.ts";
import { openDirectPackets } from "./direct-packets.ts";
import { openDirectSession } from "./direct-session.ts";
import { dialFirst } from "./happy-eyeballs.ts";
import { type Lookup, Resolver } from "./resolver.ts";

/** How a TCP connection is made: `dialTcp` of `transports/tcp`. */
export type DialTcp = (options: {
  readonly runtime: Runtime;
  readonly to: { readonly host: string; readonly port: number };
  readonly signal: AbortSignal;
  readonly connectTimeoutMs: number;
  readonly lookup?: LookupFunction;
}) => Promise<Connection>;

/** Options of the way out through this machine's own network. */
export interface DirectOutboundOptions {
  /** @default "direct" */
  readonly name?: string | undefined;
  readonly runtime: Runtime;
  readonly dialTcp: DialTcp;
  /** Without it the way out carries no datagrams. */
  readonly bindUdp?: BindUdp | undefined;
  /** Hears of targets whose datagrams are dropped. @default silent */
  readonly logger?: Logger | undefined;
  /** @default everything may be dialled */
  readonly policy?: DialPolicy | undefined;
  /** @default the system's resolver */
  readonly lookup?: Lookup | undefined;
  /** For each address. @default 10000 */
  readonly connectTimeoutMs?: number | undefined;
  /** Dials addresses of this family only. @default both */
  readonly ipVersion?: 4 | 6 | undefined;
  /** Ends an association without datagrams for this long, ms; 0: never. @default 300000 */
  readonly udpIdleTimeoutMs?: number | undefined;
}

/**
 * A way out that dials targets itself.
 *
 * A name is resolved once; the policy sees every address, and those it lets pass are dialled, not
 * the name, so a second answer of the name server changes nothing. Only strict IP literals skip
 * the resolver; `127.1`, `0x7f000001` and their kind become addresses there and are judged as such.
 */
export function createDirectOutbound(options: DirectOutboundOptions): Outbound {
  const { name = "direct", runtime, dialTcp, policy, ipVersion, bindUdp } = options;
  const { connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS } = options;
  const { clock } = runtime;
  const resolver = new Resolver({ clock, lookup: options.lookup });
  /** Refuses what cannot be dialled or is denied whatever its address is. */
  const checkAsked = (target: Target, metadata: Metadata): void => {
    checkTarget(target);
    const denied = policy?.checkName(target, metadata);
    if (denied !== undefined) throw denied;
  };
  /** Those of a target's addresses that may be dialled, at least one. */
  const judge = (found: readonly string[], target: Target, metadata: Metadata): string[] => {
    const usable = found.filter((address) => isOfVersion(address, ipVersion));
    if (usable.length === 0) throw wrongVersion(target, ipVersion);
    const denials: PolicyError[] = [];
    const addresses = usable.filter((address) => {
      const refusal = policy?.checkAddress(address, target, metadata);
      if (refusal !== undefined) denials.push(refusal);
      return refusal === undefined;
    });
    if (addresses.length === 0 && denials[0] !== undefined) throw denials[0];
    return addresses;
  };
  const outbound: Outbound = {
    name,
    dial: async (target, { signal, metadata }) => {
      const { host, port } = target;
      if (target.network !== "tcp") {
        const text = `target ${formatTarget(target)}: only TCP is dialled here`;
        throw new NetworkError("ERR_COMMAND_UNSUPPORTED", text);
      }
      checkAsked(target, metadata);
      const found = isIP(host) === 0 ? await resolver.resolve(host, signal) : [host];
      const addresses = judge(found, target, metadata);
      return await dialFirst(
        addresses,
        (address, attempt) =>
          dialTcp({
            runtime,
            to: { host, port },
            signal: attempt,
            connectTimeoutMs,
            // With a name in `to`, errors name what was asked for; the address is the judged one.
            ...(isIP(host) === 0 && { lookup: answering(address) }),
          }),
        { clock, signal },
      );
    },
  };
  if (bindUdp === undefined) return outbound;
  const { logger = silentLogger, udpIdleTimeoutMs = DEFAULT_UDP_IDLE_TIMEOUT_MS } = options;
  const shared = { name, runtime, logger, bindUdp, resolver, policy, ipVersion, udpIdleTimeoutMs };
  const openOne: Opener = async (target, signal, metadata) => {
    checkAsked(target, metadata);
    const { host } = target;
    const found = isIP(host) === 0 ? await resolver.resolve(host, signal) : [host];
    const [address = ""] = judge(found, target, metadata);
    return await openDirectSession({ ...shared, target, address });
  };
  return {
    ...outbound,
    associate: async ({ signal, metadata, target }) => {
      const packets =
        target === undefined
          ? await openDirectPackets({ ...shared, metadata })
          : await openOne(target, signal, metadata);
      if (signal.aborted) packets.close();
      signal.throwIfAborted();
      return packets;
    },
  };
}

type Opener = (target: Target, signal: AbortSignal, metadata: Metadata) => Promise<PacketChannel>;

function checkTarget(target: Target): void {
  const fail = (code: ErrorCode, what: string): NetworkError =>
    new NetworkError(code, `target ${formatTarget(target)}: ${what}`);
  if (target.port === 0) throw fail("ERR_ADDRESS_UNSUPPORTED", "port 0 cannot be dialled");
  if (isIP(target.host) === 0 && normalizeHostName(target.host) === undefined) {
    throw fail("ERR_ADDRESS_UNSUPPORTED", "is no host name");
  }
}

function isOfVersion(address: string, version: 4 | 6 | undefined): boolean {
  return version === undefined || isIPv6(address) === (version === 6);
}

function wrongVersion(target: Target, version: 4 | 6 | undefined): NetworkError {
  const text = `target ${formatTarget(target)} has no IPv${version} address, and only those are dialled`;
  return new NetworkError("ERR_ADDRESS_UNSUPPORTED", text);
}

/** A `net` lookup that knows one answer. */
function answering(address: string): LookupFunction {
  const family = isIPv6(address) ? 6 : 4;
  return (_hostname, { all }, callback) => {
    if (all) callback(null, [{ address, family }]);
    else callback(null, address, family);
  };
}

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/** Longer than games and calls pause, shorter than forgotten sockets matter. */
const DEFAULT_UDP_IDLE_TIMEOUT_MS = 300_000;
