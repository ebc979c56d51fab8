import { normalizeHostName } from "../../address/host-name.ts";
import { formatIp, parseIp, unmapIpv4 } from "../../address/ip.ts";
import type { Target } from "../../address/target.ts";
import { TunnelError } from "../../errors.ts";
import { MAX_TEXT_BYTES } from "./codec.ts";
import type { ConnectTcp, ConnectUdp, ConnectUnknown } from "./messages.ts";

/** Why a Connect cannot ask for the target; `undefined` when it can. */
export function problemOf({ network, host, port }: Target): TunnelError | undefined {
  if (network !== "tcp") {
    const text = "LinkSocks carries datagrams in associations, not in streams";
    return new TunnelError("ERR_COMMAND_UNSUPPORTED", text);
  }
  const length = Buffer.byteLength(host);
  if (length < 1 || length > MAX_TEXT_BYTES) {
    const text = `host of ${length} bytes is not 1..${MAX_TEXT_BYTES}`;
    return new TunnelError("ERR_ADDRESS_UNSUPPORTED", text);
  }
  // The reference's exit never answers this. Spec: linksocks 1.6.
  return port === 0 ? portZero() : undefined;
}

/** The host as a Connect spells it: an IPv4 address inside an IPv6 one is sent alone. Spec: linksocks 1.6. */
export function spelledHost(host: string): string {
  const bytes = host.startsWith("::ffff:") ? parseIp(host) : undefined;
  return bytes === undefined ? host : formatIp(unmapIpv4(bytes));
}

/**
 * What a Connect asks for: a target, or an association (`undefined`), or why nobody can give it.
 *
 * DEVIATION(linksocks): it answers neither port 0 nor unknown protocols. Spec: linksocks 1.6.
 */
export function targetOf(
  connect: ConnectTcp | ConnectUdp | ConnectUnknown,
): Target | TunnelError | undefined {
  if (connect.protocol === "udp") return undefined;
  if (connect.protocol === "unknown") {
    const text = `protocol ${connect.protocolByte} is not 1 or 2`;
    return new TunnelError("ERR_COMMAND_UNSUPPORTED", text);
  }
  const { host, port } = connect;
  if (parseIp(host) === undefined && normalizeHostName(host) === undefined) {
    return new TunnelError("ERR_ADDRESS_UNSUPPORTED", "host is neither a name nor an address");
  }
  return port === 0 ? portZero() : { network: "tcp", host, port };
}

function portZero(): TunnelError {
  return new TunnelError("ERR_ADDRESS_UNSUPPORTED", "port 0 cannot be reached");
}
