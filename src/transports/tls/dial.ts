import net from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import { formatHostPort } from "../../address/target.ts";
import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection, ConnectionInfo } from "../../tunnel/connection.ts";
import { DuplexConnection } from "../../tunnel/duplex-connection.ts";
import { toDuplex } from "../../tunnel/duplex.ts";
import { connectSocket, type TcpDialOptions } from "../tcp/dial.ts";
import { type TcpSocketOptions, tuneSocket } from "../tcp/tcp-connection.ts";
import { endQuietly, resetTls } from "./raw-socket.ts";
import { isTlsFailure, spkiPin, type TlsClientOptions, tlsError, toPem } from "./tls-options.ts";

/** Where and how to dial. */
export interface TlsDialOptions extends TcpDialOptions {
  readonly tls?: TlsClientOptions | undefined;
  /** @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Makes the channel TLS runs in, when it is not a plain connection: through a proxy. */
  readonly connect?: ((signal: AbortSignal | undefined) => Promise<Duplex>) | undefined;
}

/**
 * Connects over TLS 1.2 or newer and verifies the server.
 *
 * @throws NetworkError while connecting, TunnelError `ERR_TLS` in the handshake, each with what to
 *   try; `signal.reason` when aborted
 */
export async function dialTls(options: TlsDialOptions): Promise<Connection> {
  const socket = await connectTls(options);
  return tlsConnection(socket, options);
}

/** What a TLS socket runs in, where that is no socket. */
export interface TlsCarrier {
  /** Its ends, for logs. */
  readonly below?: Pick<ConnectionInfo, "local" | "peer"> | undefined;
}

/**
 * TLS inside a connection that is there already, a stream of a tunnel, which is its own from now on.
 *
 * @throws as {@link dialTls}; the connection is gone then
 */
export async function dialTlsInside(
  connection: Connection,
  options: Omit<TlsDialOptions, "connect">,
): Promise<Connection> {
  const carrier = toDuplex(connection);
  carrier.on("error", () => {}); // TLS hears of it too
  try {
    const socket = await connectTls({ ...options, connect: () => Promise.resolve(carrier) });
    // What runs below watches its own peer.
    return tlsConnection(socket, { ...options, keepaliveMs: 0, below: connection.info });
  } catch (thrown) {
    carrier.destroy();
    throw thrown;
  }
}

/** A {@link Connection} over a TLS socket whose handshake is done. */
export function tlsConnection(
  socket: tls.TLSSocket,
  options: TcpSocketOptions & TlsCarrier,
): Connection {
  const {
    local = formatHostPort(socket.localAddress ?? "-", socket.localPort ?? 0),
    peer = formatHostPort(socket.remoteAddress ?? "-", socket.remotePort ?? 0),
  } = options.below ?? {};
  const connection = new DuplexConnection(socket, {
    runtime: options.runtime,
    info: { transport: "tls", local, peer },
    destroy: () => resetTls(socket),
    // What a peer says in alerts comes after the handshake too: of our certificate, in TLS 1.3.
    explain: (cause) => (isTlsFailure(cause) ? tlsError(cause, peer) : undefined),
  });
  tuneSocket(socket, options, (error) => connection.reset(error));
  return connection;
}

/** The TLS socket itself, verified, for layers that wrap it: WebSocket, HTTP. */
export async function connectTls(options: TlsDialOptions): Promise<tls.TLSSocket> {
  const { to, runtime, signal, handshakeTimeoutMs = 10_000 } = options;
  const settings = options.tls ?? {};
  const raw = await (options.connect?.(signal) ?? connectSocket(options));
  const peer = "path" in to ? to.path : formatHostPort(to.host, to.port);
  const host = "path" in to ? "" : to.host;
  const name = settings.serverName ?? host;
  using deadline = timeoutAfter(runtime.clock, handshakeTimeoutMs, () => {
    const text = `${peer}: tls handshake not complete within ${handshakeTimeoutMs} ms`;
    return new NetworkError("ERR_HANDSHAKE_TIMEOUT", text, {
      hint: "check that this port speaks TLS",
    });
  });
  const aborted = AbortSignal.any([deadline.signal, ...(signal ? [signal] : [])]);
  return await new Promise((resolve, reject) => {
    const { pins, resumption } = settings;
    // With a pin the key itself is the identity; with `insecure` there is none.
    const verifies = settings.insecure !== true && pins === undefined;
    const socket = tls.connect({
      socket: raw,
      minVersion: "TLSv1.2",
      rejectUnauthorized: verifies,
      ...(net.isIP(name) === 0 && name !== "" ? { servername: name } : {}),
      ...(verifies
        ? { checkServerIdentity: (_, cert) => tls.checkServerIdentity(name, cert) }
        : {}),
      ...contextOf(settings),
      ...(settings.alpn ? { ALPNProtocols: [...settings.alpn] } : {}),
      ...(resumption?.ticket === undefined ? {} : { session: resumption.ticket }),
    });
    if (resumption !== undefined) {
      socket.on("session", (ticket) => {
        resumption.ticket = ticket;
      });
    }
    if (settings.endsQuietly === true) endQuietly(socket, raw);
    const settle = (act: () => void): void => {
      aborted.removeEventListener("abort", onAbort);
      socket.off("error", onError).off("secureConnect", onSecure);
      act();
    };
    const fail = (error: Error): void => {
      if (resumption !== undefined) resumption.ticket = undefined;
      settle(() => {
        socket.on("error", () => {}); // whatever still fails, nobody waits for it
        socket.destroy();
        reject(error);
      });
    };
    const onAbort = (): void => fail(toTunnelError(aborted.reason, "ERR_ABORTED", peer));
    const onError = (cause: Error): void => fail(tlsError(cause, peer));
    const onSecure = (): void => {
      const certificate = socket.getPeerX509Certificate();
      const shown = certificate === undefined ? undefined : spkiPin(certificate);
      if (resumption !== undefined && !socket.isSessionReused()) resumption.pin = shown;
      if (pins !== undefined) {
        const actual = (socket.isSessionReused() ? resumption?.pin : shown) ?? "";
        if (!pins.includes(actual)) {
          const hint = `if the change is expected, set pin=${encodeURIComponent(actual)}`;
          const text = `${peer}: tls handshake: the server's key is not the pinned one`;
          fail(new TunnelError("ERR_TLS", text, { hint }));
          return;
        }
      }
      settle(() => resolve(socket));
    };
    if (aborted.aborted) return onAbort();
    aborted.addEventListener("abort", onAbort, { once: true });
    socket.on("error", onError).on("secureConnect", onSecure);
  });
}

/** What a handshake shows and trusts: read anew, or once for all dials that share it. */
function contextOf({ ca, cert, key, resumption }: TlsClientOptions): tls.SecureContextOptions & {
  readonly secureContext?: tls.SecureContext;
} {
  const material: tls.SecureContextOptions = {
    minVersion: "TLSv1.2",
    ...(ca === undefined ? {} : { ca: toPem(ca) }),
    ...(cert === undefined ? {} : { cert: toPem(cert) }),
    ...(key === undefined ? {} : { key: toPem(key) }),
  };
  if (resumption === undefined) return material;
  resumption.context ??= tls.createSecureContext(material);
  return { secureContext: resumption.context };
}
