import { isIP } from "node:net";
import { normalizeHostName } from "../../address/host-name.ts";
import { formatHostPort, formatTarget, type Target } from "../../address/target.ts";
import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, type TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { handshake } from "../../tunnel/handshake.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { connectAnswer, connectRefusal, encodeConnect } from "./http-connect.ts";
import { formatProxy, type Proxy } from "./proxy.ts";
import { socksConnect } from "./socks-connect.ts";

/** Connects to the proxy itself: `dialTcp`, or `dialTls` when `isTls`. */
export type DialProxy = (
  proxy: { readonly host: string; readonly port: number; readonly isTls: boolean },
  options: { readonly signal: AbortSignal },
) => Promise<Connection>;

/** How to go through a proxy. */
export interface ThroughProxyOptions {
  readonly runtime: Runtime;
  readonly dial: DialProxy;
  readonly signal: AbortSignal;
  /** Connecting to the proxy, the handshake and its own dial, all together. @default 15000 */
  readonly timeoutMs?: number | undefined;
}

/**
 * Opens a connection to the target through a SOCKS or HTTP proxy; it comes paused and without a
 * handler. Names go to the proxy unresolved.
 *
 * For ways out, and for transports that reach their peer through a proxy.
 *
 * @throws NetworkError naming the proxy; `signal.reason` when aborted
 */
export async function dialThroughProxy(
  proxy: Proxy,
  target: Target,
  { runtime, dial, signal, timeoutMs = DEFAULT_TIMEOUT_MS }: ThroughProxyOptions,
): Promise<Connection> {
  const destination = destinationOf(target, proxy);
  using deadline = timeoutAfter(runtime.clock, timeoutMs, () => {
    const text = `proxy ${formatProxy(proxy)}: no answer within ${timeoutMs} ms`;
    return new NetworkError("ERR_DIAL_TIMEOUT", text);
  });
  const bounded = AbortSignal.any([signal, deadline.signal]);
  const connection = await connectToProxy(proxy, dial, bounded);
  try {
    if (proxy.scheme === "http" || proxy.scheme === "https") {
      const authority = formatHostPort(destination.host, destination.port);
      connection.write([encodeConnect(authority, proxy.credential)]);
      const phase = `HTTP CONNECT ${authority}`;
      const options = { runtime, timeoutMs, phase, signal: bounded };
      const status = await handshake(connection, connectAnswer, options);
      if (status < 200 || status > 299) {
        throw connectRefusal(status, `proxy ${formatProxy(proxy)} for ${authority}`);
      }
    } else {
      await socksConnect(connection, proxy, destination, { timeoutMs, signal: bounded });
    }
  } catch (thrown) {
    const error = toTunnelError(thrown, "ERR_DIAL_FAILED", "handshake");
    connection.reset(error);
    if (bounded.aborted) throw thrown;
    throw naming(proxy, error);
  }
  return connection;
}

async function connectToProxy(
  proxy: Proxy,
  dial: DialProxy,
  signal: AbortSignal,
): Promise<Connection> {
  const { host, port, scheme } = proxy;
  try {
    return await dial({ host, port, isTls: scheme === "https" }, { signal });
  } catch (thrown) {
    if (signal.aborted) throw thrown;
    // To the client it is not the target that refused.
    const cause = toTunnelError(thrown, "ERR_DIAL_FAILED", "dial");
    const text = `proxy ${formatProxy(proxy)} cannot be reached: ${cause.message}`;
    throw new NetworkError("ERR_TUNNEL_DOWN", text, { cause });
  }
}

/** What went wrong in a handshake does not always say with whom. */
function naming(proxy: Proxy, error: TunnelError): TunnelError {
  if (error.message.startsWith("proxy ")) return error;
  const text = `proxy ${formatProxy(proxy)}: ${error.message}`;
  return new NetworkError(error.code, text, { cause: error });
}

/** The target in a form that cannot break out of its field in any of the protocols. */
function destinationOf(target: Target, { scheme }: Proxy): { host: string; port: number } {
  const { host, port, network } = target;
  const refuse = (why: string): TunnelError =>
    new NetworkError("ERR_ADDRESS_UNSUPPORTED", `target ${formatTarget(target)}: ${why}`);
  if (network !== "tcp") {
    const text = `target ${formatTarget(target)}: only TCP goes through a proxy`;
    throw new NetworkError("ERR_COMMAND_UNSUPPORTED", text);
  }
  if (port === 0) throw refuse("port 0 cannot be dialled");
  const family = isIP(host);
  if (host.includes("%")) throw refuse("a zone means nothing to a proxy");
  if (family === 6 && scheme === "socks4a") throw refuse("SOCKS4a carries no IPv6");
  if (family !== 0) return { host, port };
  const name = normalizeHostName(host);
  if (name === undefined || /[^a-z0-9._-]/.test(name)) throw refuse("is no host name");
  return { host: name, port };
}

/** The proxy's own connect may take its 10 s. */
const DEFAULT_TIMEOUT_MS = 15_000;
