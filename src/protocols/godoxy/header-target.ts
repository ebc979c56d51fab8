import type { Target } from "../../address/target.ts";
import { ProtocolError } from "../../errors.ts";
import type { StreamHeader } from "./header.ts";

/**
 * What a header asks for.
 *
 * QUIRK(godoxy): an empty host is the agent's own machine; a port may have zeros or a plus in front,
 * or be the name of a service.
 *
 * @throws ProtocolError when no address can be meant
 */
export function targetOf({ host, port }: StreamHeader, network: Target["network"]): Target {
  return { network, host: readHost(host), port: readPort(port) };
}

function readHost(host: string): string {
  if (host === "") return "localhost";
  // oxlint-disable-next-line no-control-regex -- control bytes in a name are what we look for
  if (/[\u0000-\u0020\u007f\ufffd]/.test(host)) {
    throw new ProtocolError("header host holds a control character, a space, or no text");
  }
  if (/[[\]]/.test(host)) {
    throw new ProtocolError("header host has brackets", {
      hint: "an IPv6 address stands in the header without brackets",
    });
  }
  return host;
}

function readPort(text: string): number {
  if (text === "") throw new ProtocolError("header names no port");
  const port = /^\+?\d+$/.test(text) ? Number(text) : SERVICES.get(text.toLowerCase());
  if (port === undefined) throw new ProtocolError("header port is neither a number nor a service");
  if (port < 1 || port > 65_535) throw new ProtocolError(`header port ${port} is not 1..65535`);
  return port;
}

/** Names of services that fit into five letters; the reference asks its system for them. */
const SERVICES: ReadonlyMap<string, number> = new Map([
  ["ftp", 21],
  ["ssh", 22],
  ["smtp", 25],
  ["http", 80],
  ["www", 80],
  ["pop3", 110],
  ["ntp", 123],
  ["imap", 143],
  ["imap2", 143],
  ["snmp", 161],
  ["ldap", 389],
  ["https", 443],
  ["ldaps", 636],
  ["imaps", 993],
  ["pop3s", 995],
  ["mysql", 3306],
]);
