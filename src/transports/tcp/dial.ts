import net, { type LookupFunction } from "node:net";
import { formatHostPort } from "../../address/target.ts";
import { NetworkError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { bulkReading, dialError, tcpConnection, type TcpSocketOptions } from "./tcp-connection.ts";

/** Where and how to dial. */
export interface TcpDialOptions extends TcpSocketOptions {
  /** A host and port, or the path of a Unix socket. */
  readonly to: { readonly host: string; readonly port: number } | { readonly path: string };
  readonly signal?: AbortSignal | undefined;
  /** @default 10000 */
  readonly connectTimeoutMs?: number | undefined;
  /** Resolves the name; may refuse addresses by failing. @default the system's resolver */
  readonly lookup?: LookupFunction | undefined;
}

/**
 * Connects over TCP (happy eyeballs) or to a Unix socket.
 *
 * @throws NetworkError naming the target and what went wrong; `signal.reason` when aborted
 */
export async function dialTcp(options: TcpDialOptions): Promise<Connection> {
  const { reader, options: reading } = bulkReading(options.runtime);
  const socket = await connectSocket(options, reading);
  return tcpConnection(socket, reader, options);
}

/** The connected socket itself, for layers that wrap it: TLS, HTTP. */
export function connectSocket(
  options: TcpDialOptions,
  socketOptions: { readonly onread?: net.OnReadOpts; readonly allowHalfOpen: true } = {
    allowHalfOpen: true,
  },
): Promise<net.Socket> {
  const { to, runtime, connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS } = options;
  const name = "path" in to ? to.path : formatHostPort(to.host, to.port);
  const { signal } = options;
  return new Promise<net.Socket>((resolve, reject) => {
    if (signal?.aborted) {
      reject(abortReason(signal));
      return;
    }
    const lookup = options.lookup === undefined ? {} : { lookup: options.lookup };
    const socket = net.connect({ ...to, ...lookup, ...socketOptions });
    const settle = (act: () => void): void => {
      socket.off("connect", onConnect).off("error", onError);
      signal?.removeEventListener("abort", onAbort);
      timer.cancel();
      act();
    };
    const giveUp = (error: Error): void => {
      socket.on("error", () => {}); // a late failure of a dial nobody waits for
      socket.destroy();
      settle(() => reject(error));
    };
    const onConnect = (): void => settle(() => resolve(socket));
    const onError = (cause: Error): void => {
      settle(() => reject(cause instanceof TunnelError ? cause : dialError(cause, name)));
    };
    const onAbort = (): void => giveUp(abortReason(signal));
    const timer = runtime.clock.schedule(connectTimeoutMs, () => {
      const text = `${name}: no answer to connect within ${connectTimeoutMs} ms`;
      const hint = "check the address, and that no firewall drops the packets";
      giveUp(new NetworkError("ERR_DIAL_TIMEOUT", text, { hint }));
    });
    socket.on("connect", onConnect).on("error", onError);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

function abortReason(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new Error(String(reason));
}

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
