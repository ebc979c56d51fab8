import { isIP } from "node:net";
import { formatHostPort, parseHostPort } from "../address/target.ts";
import { ConfigError } from "../errors.ts";

/** Where we listen: a host and port (0: the system chooses) or a Unix socket. */
export type ListenAddress =
  | { readonly host: string; readonly port: number }
  | { readonly path: string };

/** A listen address, or `stdio`: one connection made of standard input and output. */
export type ForwardAddress = ListenAddress | "stdio";

/**
 * Reads `port` (on 127.0.0.1), `host:port`, `[ipv6]:port`, `*:port` (every address), `:port`
 * (the same), or a path with a slash in it.
 *
 * @throws ConfigError saying what is wrong
 */
export function parseListenAddress(text: string): ListenAddress {
  if (isPath(text)) return parsePath(text);
  if (/^\d+$/.test(text)) return { host: "127.0.0.1", port: parsePort(text) };
  if (isIP(text) === 6) {
    throw new ConfigError(`"${text}" has no port: write [${text}]:1080`);
  }
  const everywhere = /^\*?:(\d+)$/.exec(text)?.[1];
  if (everywhere !== undefined) return { host: "0.0.0.0", port: parsePort(everywhere) };
  const at = text.lastIndexOf(":");
  const port = text.slice(at + 1);
  if (at < 0) throw new ConfigError(`"${text}" is no port, host:port or /path`);
  parsePort(port);
  const address = parseHostPort(text);
  if (address === undefined) throw new ConfigError(`"${text}" is no host:port`);
  return address;
}

/** Like {@link parseListenAddress}; `-` means standard input and output. */
export function parseForwardAddress(text: string): ForwardAddress {
  return text === "-" ? "stdio" : parseListenAddress(text);
}

/** The form that reads back as the same address. */
export function formatListenAddress(address: ForwardAddress): string {
  if (address === "stdio") return "-";
  if ("host" in address) return formatHostPort(address.host, address.port);
  return isPath(address.path) ? address.path : `unix:${address.path}`;
}

/**
 * Reads the digits of a port, 0..65535.
 *
 * @throws ConfigError when they are none
 */
export function parsePort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) {
    throw new ConfigError(`port "${text}" is not 0..65535`);
  }
  return Number(text);
}

/** Whether both cannot be listened on at the same time. */
export function isSameListener(one: ListenAddress, other: ListenAddress): boolean {
  if ("path" in one || "path" in other) {
    return "path" in one && "path" in other && one.path === other.path;
  }
  if (one.port !== other.port || one.port === 0) return false;
  const hosts = [one.host, other.host].map((host) => (host === "localhost" ? "127.0.0.1" : host));
  return hosts[0] === hosts[1] || hosts.some((host) => host === "0.0.0.0" || host === "::");
}

/** Whether only programs on this machine can reach it. */
export function isLoopback(address: ListenAddress): boolean {
  if ("path" in address) return true;
  return /^(127\.|::1$|localhost$)/.test(address.host);
}

function isPath(text: string): boolean {
  return text.startsWith("unix:") || text.includes("/");
}

function parsePath(text: string): ListenAddress {
  const path = text.startsWith("unix:") ? text.slice("unix:".length) : text;
  if (path === "") throw new ConfigError("path of the Unix socket is empty");
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new ConfigError(
      `path of the Unix socket has ${Buffer.byteLength(path)} bytes, more than ${MAX_SOCKET_PATH_BYTES}`,
    );
  }
  return { path };
}

/** `sun_path` less its final zero, on the strictest system we run on. */
const MAX_SOCKET_PATH_BYTES = 103;
