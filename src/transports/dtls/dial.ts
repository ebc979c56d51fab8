import { lookup as systemLookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort } from "../../address/target.ts";
import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, systemCode, toTunnelError, type TunnelError } from "../../errors.ts";
import type { DatagramConnection } from "../../tunnel/datagram-connection.ts";
import type { BindUdp } from "../../tunnel/datagrams.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { DtlsClientSession } from "./client-session.ts";
import { DtlsConnection } from "./dtls-connection.ts";
import type { DtlsClientOptions } from "./dtls-options.ts";

/** Where and how to dial. */
export interface DtlsDialOptions {
  readonly to: HostPort;
  readonly runtime: Runtime;
  readonly bindUdp: BindUdp;
  readonly dtls: DtlsClientOptions;
  readonly signal?: AbortSignal | undefined;
  /** Name and handshake together. @default that of `dtls`, 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Finds the address of a name; rejects with a system error. @default the system's resolver */
  readonly lookup?: ((host: string) => Promise<string>) | undefined;
}

/**
 * Dials DTLS 1.2 with a socket of its own, and verifies the server.
 *
 * @throws NetworkError (`ERR_DNS`, `ERR_DIAL_REFUSED`, `ERR_HANDSHAKE_TIMEOUT`), TunnelError `ERR_TLS`
 *   for what the ends do not agree on, each naming the peer and what to try; `signal.reason` when
 *   aborted; ConfigError when certificate, key or CA cannot work
 */
export async function dialDtls(options: DtlsDialOptions): Promise<DatagramConnection> {
  const { to, runtime, dtls, signal } = options;
  const timeoutMs = options.handshakeTimeoutMs ?? dtls.handshakeTimeoutMs ?? DEFAULT_TIMEOUT_MS;
  const name = formatHostPort(to.host, to.port);
  let phase = "dns";
  using deadline = timeoutAfter(runtime.clock, timeoutMs, () => timeout(name, phase, timeoutMs));
  const aborted = AbortSignal.any([deadline.signal, ...(signal === undefined ? [] : [signal])]);
  aborted.throwIfAborted();
  const host = isIP(to.host) === 0 ? await resolve(options, aborted) : to.host;
  phase = "dtls handshake";
  // The session spreads its tries over the time there is; the deadline of the whole dial comes first.
  const timed = { ...options, dtls: { ...dtls, handshakeTimeoutMs: timeoutMs } };
  return await shakeHands({ host, port: to.port }, timed, aborted);
}

async function shakeHands(
  to: HostPort,
  { runtime, bindUdp, dtls }: DtlsDialOptions,
  aborted: AbortSignal,
): Promise<DatagramConnection> {
  const session = new DtlsClientSession(dtls, runtime.clock.now());
  const outcome = Promise.withResolvers<DatagramConnection>();
  const hears: { connection?: DtlsConnection; hasHeard: boolean } = { hasHeard: false };
  const socket = await bindUdp({
    connectTo: to,
    // The socket hears its peer alone, but for what came while it was not connected yet.
    onDatagram: (data, from) => {
      if (from.port !== to.port) return;
      hears.hasHeard = true;
      hears.connection?.receive(data);
    },
    onError: (error) => {
      // Anybody on the path can say so: it ends only what has not begun.
      if (!hears.hasHeard) hears.connection?.abandon(error);
    },
  });
  const connection = new DtlsConnection({
    session,
    info: {
      transport: "dtls",
      local: formatHostPort(socket.local.host, socket.local.port),
      peer: formatHostPort(to.host, to.port),
    },
    runtime,
    send: (datagrams) => {
      for (const datagram of datagrams) socket.send(datagram, to);
    },
    onEstablished: () => outcome.resolve(connection),
    onOver: (error) => {
      socket.close();
      outcome.reject(error ?? ended(connection));
    },
  });
  hears.connection = connection;
  const onAbort = (): void => {
    connection.abandon(toTunnelError(aborted.reason, "ERR_ABORTED", connection.info.peer));
  };
  aborted.addEventListener("abort", onAbort, { once: true });
  try {
    if (aborted.aborted) onAbort();
    else connection.start();
    return await outcome.promise;
  } finally {
    aborted.removeEventListener("abort", onAbort);
  }
}

/** The peer said goodbye in the middle of the handshake. */
function ended({ info }: DtlsConnection): TunnelError {
  const text = `${info.peer}: dtls handshake: the peer ended it`;
  return new NetworkError("ERR_CONNECTION_RESET", text);
}

function timeout(name: string, phase: string, timeoutMs: number): NetworkError {
  if (phase === "dns") {
    const text = `${name}: dns: name server gave no answer within ${timeoutMs} ms`;
    return new NetworkError("ERR_DNS", text);
  }
  const text = `${name}: ${phase} not complete within ${timeoutMs} ms`;
  return new NetworkError("ERR_HANDSHAKE_TIMEOUT", text, {
    hint: "check that this UDP port speaks DTLS, and that no firewall is in the way",
  });
}

/** @throws NetworkError `ERR_DNS`, the signal's reason */
async function resolve(
  { to: { host }, lookup = systemAddress }: DtlsDialOptions,
  aborted: AbortSignal,
): Promise<string> {
  const stopped = Promise.withResolvers<never>();
  const onAbort = (): void => stopped.reject(aborted.reason);
  aborted.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([answer(lookup, host), stopped.promise]);
  } finally {
    aborted.removeEventListener("abort", onAbort);
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

const DEFAULT_TIMEOUT_MS = 10_000;
