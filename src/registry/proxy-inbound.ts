import type { ProxyInboundConfig } from "../config/config.ts";
import { createHttpInbound } from "../inbound/http/inbound.ts";
import { PAC_PATHS, type PacOptions } from "../inbound/http/pac.ts";
import { createMixedInbound } from "../inbound/mixed/inbound.ts";
import { createSniInbound } from "../inbound/sni/inbound.ts";
import { createSocks4Inbound } from "../inbound/socks4/inbound.ts";
import { createSocks5Inbound } from "../inbound/socks5/inbound.ts";
import type { OnConnection } from "../tunnel/connection.ts";
import type { InboundOptions } from "../tunnel/inbound.ts";
import { Logins } from "../tunnel/logins.ts";
import type { OnRequest, OnPacketRequest } from "../tunnel/request.ts";
import { createLoginGuard } from "./login-guard.ts";
import type { Secrets } from "./secrets.ts";

/**
 * The proxy behind one local port: SOCKS5, SOCKS4a and HTTP told apart, HTTP alone, or none that
 * its clients know of.
 *
 * @throws ConfigError when a password cannot be had
 */
export async function createProxyInbound(
  { kind, users, via, pac = false }: ProxyInboundConfig,
  options: InboundOptions,
  secrets: Secrets,
): Promise<OnConnection> {
  const passwords = new Map<string, string>();
  for (const [user, password] of Object.entries(users)) {
    passwords.set(user, await secrets.line(password, `password of user "${user}"`));
  }
  const logins =
    passwords.size === 0
      ? undefined
      : new Logins({ users: passwords, guard: createLoginGuard(options.runtime.clock) });
  const common = {
    ...options,
    onRequest: withVia(options.onRequest, via),
    onPacketRequest: options.onPacketRequest && packetsWithVia(options.onPacketRequest, via),
    logins,
  };
  if (kind === "sni") return createSniInbound(common);
  const paths = pac === true ? PAC_PATHS : pac === false ? [] : [pac];
  const pacOptions: PacOptions = { paths, hasSocks: kind === "socks" };
  const http = createHttpInbound({ ...common, pac: pac === false ? undefined : pacOptions });
  if (kind === "http") return http;
  const handlers = {
    socks5: createSocks5Inbound(common),
    socks4: createSocks4Inbound(common),
    http,
  };
  return createMixedInbound(handlers, common);
}

/** Fixes the way out of every request. */
function withVia(onRequest: OnRequest, via: string | undefined): OnRequest {
  if (via === undefined) return onRequest;
  return (request) => {
    onRequest({
      target: request.target,
      metadata: { ...request.metadata, via },
      signal: request.signal,
      accept: () => request.accept(),
      reject: (error) => request.reject(error),
    });
  };
}

/** The same for associations. */
function packetsWithVia(onRequest: OnPacketRequest, via: string | undefined): OnPacketRequest {
  if (via === undefined) return onRequest;
  return (request) => {
    onRequest({
      metadata: { ...request.metadata, via },
      signal: request.signal,
      accept: () => request.accept(),
      reject: (error) => request.reject(error),
    });
  };
}
