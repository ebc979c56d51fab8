import type { Duplex } from "node:stream";
import tls from "node:tls";
import { parseIp } from "../../../address/ip.ts";
import { formatHostPort, type Target } from "../../../address/target.ts";
import { timeoutAfter } from "../../../clock/clock.ts";
import { NetworkError, PolicyError, toTunnelError, TunnelError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import { type ConnectionDuplex, toDuplex } from "../../../tunnel/duplex.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import type { OriginTls } from "./proxy-config.ts";

/** The way to origins, and who decides which ones may be reached. */
export interface OriginDialer {
  readonly runtime: Runtime;
  /** Asked before every use of a connection; `dial` may judge by itself, too. @default everything */
  readonly isAllowed?: ((target: Target) => Promise<boolean> | boolean) | undefined;
  /** @throws TunnelError whose code says what went wrong; `signal.reason` when aborted */
  readonly dial: (target: Target, signal: AbortSignal) => Promise<Connection>;
}

/** One origin, and how long opening a connection to it may take. */
export interface OriginOptions {
  readonly host: string;
  readonly port: number;
  /** `undefined`: no TLS. */
  readonly tls?: OriginTls | undefined;
  readonly signal: AbortSignal;
  readonly timeoutMs?: number | undefined;
}

/** @throws PolicyError when the rules of this agent forbid the target */
export async function demandAllowed(
  { isAllowed }: Pick<OriginDialer, "isAllowed">,
  target: Target,
): Promise<void> {
  if (isAllowed === undefined || (await isAllowed(target))) return;
  const what = formatHostPort(target.host, target.port);
  throw new PolicyError("ERR_POLICY_DENIED", `${what} is not allowed here`);
}

/**
 * Opens a connection to an origin, in TLS if it asks for that.
 *
 * @throws TunnelError saying what went wrong
 */
export async function openOrigin(
  dialer: OriginDialer,
  { host, port, tls: secure, signal, timeoutMs = OPEN_TIMEOUT_MS }: OriginOptions,
): Promise<Duplex> {
  const peer = formatHostPort(host, port);
  using deadline = timeoutAfter(dialer.runtime.clock, timeoutMs, () => {
    return new NetworkError("ERR_DIAL_TIMEOUT", `${peer}: not connected within ${timeoutMs} ms`);
  });
  const either = AbortSignal.any([signal, deadline.signal]);
  const dialled = dialer.dial({ network: "tcp", host, port }, either);
  const connection = await unlessAborted(dialled, either, peer);
  const duplex = toDuplex(connection);
  duplex.on("error", () => {}); // whoever uses it hears of it; idle, nobody needs to
  return secure === undefined
    ? duplex
    : await secured(duplex, { host, peer, secure, signal: either });
}

/** What comes too late is closed. */
async function unlessAborted(
  dialled: Promise<Connection>,
  signal: AbortSignal,
  peer: string,
): Promise<Connection> {
  const aborted = (): TunnelError => toTunnelError(signal.reason, "ERR_ABORTED", peer);
  return await new Promise((resolve, reject) => {
    const onAbort = (): void => reject(aborted());
    signal.addEventListener("abort", onAbort, { once: true });
    dialled
      .then((connection) => {
        if (signal.aborted) connection.reset(aborted());
        else resolve(connection);
      })
      .catch((thrown: unknown) => reject(toTunnelError(thrown, "ERR_DIAL_FAILED", peer)))
      .finally(() => signal.removeEventListener("abort", onAbort));
    if (signal.aborted) onAbort();
  });
}

async function secured(
  carrier: ConnectionDuplex,
  options: {
    readonly host: string;
    readonly peer: string;
    readonly secure: OriginTls;
    readonly signal: AbortSignal;
  },
): Promise<Duplex> {
  const { host, peer, secure, signal } = options;
  const name = secure.serverName ?? host;
  return await new Promise((resolve, reject) => {
    const socket = tls.connect({
      socket: carrier,
      minVersion: secure.minVersion,
      maxVersion: secure.maxVersion,
      rejectUnauthorized: !secure.insecure,
      // Without a name it would verify the one of no host at all.
      checkServerIdentity: (_, certificate) => tls.checkServerIdentity(name, certificate),
      ...(secure.hasSni && parseIp(name) === undefined ? { servername: name } : {}),
    });
    const settle = (act: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError).off("secureConnect", onSecure);
      socket.on("error", () => {}); // as above
      act();
    };
    const fail = (error: TunnelError): void =>
      settle(() => {
        socket.destroy();
        carrier.destroy();
        reject(error);
      });
    const onAbort = (): void => fail(toTunnelError(signal.reason, "ERR_ABORTED", peer));
    const onError = (cause: Error): void => {
      fail(new TunnelError("ERR_TLS", `${peer}: tls handshake: ${cause.message}`, { cause }));
    };
    const onSecure = (): void => settle(() => resolve(socket));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("error", onError).on("secureConnect", onSecure);
    if (signal.aborted) onAbort();
  });
}

const OPEN_TIMEOUT_MS = 10_000;
