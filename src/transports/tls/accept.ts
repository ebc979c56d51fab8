import type { Duplex } from "node:stream";
import tls from "node:tls";
import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, type TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { toDuplex } from "../../tunnel/duplex.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { tlsConnection } from "./dial.ts";
import { readServerOptions, type TlsServerOptions } from "./listen.ts";
import { endQuietly, verifyErrorOf } from "./raw-socket.ts";
import { clientRefused, tlsError } from "./tls-options.ts";

/** The listening end of TLS inside connections that are there already: streams of a tunnel. */
export interface TlsAcceptor {
  /**
   * Waits for the client's handshake inside a connection, which is its own from now on.
   *
   * @returns the secured connection, paused
   * @throws TunnelError `ERR_TLS`, or NetworkError when it takes too long; the connection is
   *   closed then
   */
  accept(connection: Connection): Promise<Connection>;
}

/** What an acceptor needs. */
export interface TlsAcceptorOptions {
  readonly runtime: Runtime;
  readonly tls: TlsServerOptions;
  /** How long a peer may take over its handshake, ms. @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
}

/**
 * Makes an acceptor of TLS 1.2 or newer.
 *
 * @throws ConfigError when certificate and key do not fit
 */
export function tlsAcceptor({
  runtime,
  tls: settings,
  handshakeTimeoutMs = 10_000,
}: TlsAcceptorOptions): TlsAcceptor {
  const options = readServerOptions(settings, (read) => ({
    ...read,
    isServer: true,
    secureContext: tls.createSecureContext({ ...read, sessionIdContext: SESSIONS }),
  }));
  return {
    async accept(connection) {
      const { local, peer } = connection.info;
      using deadline = timeoutAfter(runtime.clock, handshakeTimeoutMs, () => {
        const text = `${peer}: tls handshake not complete within ${handshakeTimeoutMs} ms`;
        return new NetworkError("ERR_HANDSHAKE_TIMEOUT", text);
      });
      const carrier = toDuplex(connection);
      const socket = new tls.TLSSocket(carrier, options);
      try {
        await secured(socket, { carrier, peer, signal: deadline.signal });
      } catch (thrown) {
        socket.on("error", () => {}); // whatever still fails, nobody waits for it
        carrier.on("error", () => {}).destroySoon(); // behind the alert
        throw thrown;
      }
      // Node's own servers do this for their sockets.
      socket.on("_tlsError", (error: Error) => void socket.destroy(error));
      if (settings.endsQuietly === true) endQuietly(socket, carrier);
      // What runs below watches its own peer.
      return tlsConnection(socket, { runtime, keepaliveMs: 0, below: { local, peer } });
    },
  };
}

/** Waits for the end of one handshake. */
function secured(
  socket: tls.TLSSocket,
  options: { readonly carrier: Duplex; readonly peer: string; readonly signal: AbortSignal },
): Promise<void> {
  const { carrier, peer, signal } = options;
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      carrier.off("close", onClose).off("end", onClose);
      socket.off("error", onError).off("_tlsError", onError).off("secure", onSecure);
      act();
    };
    const fail = (error: TunnelError): void => settle(() => reject(error));
    const onAbort = (): void => fail(toTunnelError(signal.reason, "ERR_ABORTED", peer));
    const onError = (cause: Error): void => fail(tlsError(cause, peer));
    // What TLS has to say of it comes a little later.
    const onClose = (): void => void setImmediate(() => onError(LEFT));
    const onSecure = (): void => {
      const wrong = verifyErrorOf(socket);
      if (wrong === undefined) settle(resolve);
      else if (socket.getPeerX509Certificate() === undefined) onError(MISSING);
      else fail(clientRefused(wrong.cause, wrong.verdict, peer));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    carrier.once("close", onClose).once("end", onClose);
    socket.on("error", onError).on("_tlsError", onError).on("secure", onSecure);
  });
}

/** A client that closed before its handshake was done. */
const LEFT: Error = Object.assign(new Error("closed"), { code: "ECONNRESET" });

/** What OpenSSL says where Node leaves the judgement to it. */
const MISSING: Error = Object.assign(new Error("no certificate"), {
  code: "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
});

/** Lets clients that show a certificate resume. */
const SESSIONS = "sluice";
