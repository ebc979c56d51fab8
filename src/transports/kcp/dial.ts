import { lookup as systemLookup } from "node:dns/promises";
import { isIP } from "node:net";
import { timeoutAfter } from "../../clock/clock.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort } from "../../address/target.ts";
import { NetworkError, systemCode } from "../../errors.ts";
import type { Connection, Dialer } from "../../tunnel/connection.ts";
import type { BindUdp } from "../../tunnel/datagrams.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { KcpConnection } from "./kcp-connection.ts";
import { KcpSession } from "./kcp-session.ts";
import { sendDatagrams } from "./send-datagrams.ts";
import { type KcpOptions, segmentPayloadBytes } from "./kcp-options.ts";

/** Where and how to dial. */
export interface KcpDialOptions {
  readonly host: string;
  readonly port: number;
  readonly runtime: Runtime;
  readonly options: KcpOptions;
  readonly bindUdp: BindUdp;
  readonly logger: Logger;
  /** Finds the address of a name; rejects with a system error. @default the system's resolver */
  readonly lookup?: ((host: string) => Promise<string>) | undefined;
  /** How long to wait for the name server. @default 10000 */
  readonly dnsTimeoutMs?: number | undefined;
  /** What the system should hold of datagrams, each way. @default 4 MiB */
  readonly bufferBytes?: number | undefined;
}

/**
 * Dials KCP, each time with a socket and a session of its own. KCP has no handshake: a dial succeeds
 * before the peer was heard. When nobody listens there, the network says so soon after the first
 * write, and the connection ends with that error; otherwise the protocol above finds out.
 */
export function kcpDialer(options: KcpDialOptions): Dialer {
  const { host, port, logger } = options;
  let hasWarned = false;
  return {
    description: `kcp://${formatHostPort(host, port)}`,
    dial: async ({ signal }) => {
      signal.throwIfAborted();
      const address = isIP(host) === 0 ? await resolve(options, signal) : host;
      const { connection, bufferWarning } = await open(options, { host: address, port });
      if (signal.aborted) {
        connection.reset(new NetworkError("ERR_ABORTED", `kcp ${host}: nobody waits any more`));
        signal.throwIfAborted();
      }
      if (bufferWarning !== undefined && !hasWarned) logger.warn(bufferWarning);
      hasWarned ||= bufferWarning !== undefined;
      return connection;
    },
  };
}

async function open(
  { runtime, options, bindUdp, bufferBytes = DEFAULT_BUFFER_BYTES }: KcpDialOptions,
  to: HostPort,
): Promise<{ readonly connection: Connection; readonly bufferWarning: string | undefined }> {
  const hears: { connection?: KcpConnection } = {};
  const socket = await bindUdp({
    connectTo: to,
    bufferBytes,
    segmentBytes: options.mtuBytes,
    // The socket hears its peer alone, but for what came while it was not connected yet.
    onDatagram: (data, from) => {
      if (from.port === to.port) hears.connection?.receive(data);
    },
    onError: (error) => hears.connection?.networkFailed(error),
  });
  const connection = new KcpConnection({
    session: new KcpSession(options, runtime.clock.now()),
    info: {
      transport: "kcp",
      local: formatHostPort(socket.local.host, socket.local.port),
      peer: formatHostPort(to.host, to.port),
    },
    runtime,
    windowBytes: options.sendWindow * segmentPayloadBytes(options),
    send: (datagrams) => sendDatagrams(socket, datagrams, to),
    onOver: () => socket.close(),
  });
  hears.connection = connection;
  return { connection, bufferWarning: socket.bufferWarning };
}

/** @throws NetworkError `ERR_DNS`, `signal.reason` when aborted */
async function resolve(
  { host, runtime, lookup = systemAddress, dnsTimeoutMs = DEFAULT_DNS_TIMEOUT_MS }: KcpDialOptions,
  signal: AbortSignal,
): Promise<string> {
  using timeout = timeoutAfter(runtime.clock, dnsTimeoutMs, () => {
    const text = `${host}: name server gave no answer within ${dnsTimeoutMs} ms`;
    return new NetworkError("ERR_DNS", text);
  });
  const either = AbortSignal.any([signal, timeout.signal]);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(either.reason);
  either.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([answer(lookup, host), aborted.promise]);
  } finally {
    either.removeEventListener("abort", onAbort);
  }
}

async function answer(lookup: (host: string) => Promise<string>, host: string): Promise<string> {
  try {
    return await lookup(host);
  } catch (cause) {
    const isUnknown = systemCode(cause) === "ENOTFOUND";
    const text = `${host}: ${isUnknown ? "name does not resolve" : "name server gave no answer"}`;
    const hint = isUnknown ? "check the spelling" : undefined;
    throw new NetworkError("ERR_DNS", text, { cause, hint });
  }
}

async function systemAddress(host: string): Promise<string> {
  return (await systemLookup(host)).address;
}

const DEFAULT_DNS_TIMEOUT_MS = 10_000;

/** Twice the largest window: what both directions of a session can have on the way. */
const DEFAULT_BUFFER_BYTES = 4 * 1024 * 1024;
