import net from "node:net";
import tls from "node:tls";
import type { Duplex } from "node:stream";
import { afterShutdown, resetSocket } from "../tcp/reset-socket.ts";

/**
 * The socket below a TLS socket. Node has no documented way to it; `undefined` when its internals
 * look different, or when TLS runs inside something that is no socket.
 */
export function rawSocketOf(socket: tls.TLSSocket): net.Socket | undefined {
  const raw: unknown = Reflect.get(socket, "_parent");
  return raw instanceof net.Socket ? raw : undefined;
}

/**
 * What is wrong with the certificate a client showed to a socket without a server: those Node
 * judges itself. `undefined` when nothing is, or none was asked for.
 */
export function verifyErrorOf(
  socket: tls.TLSSocket,
): { readonly cause: Error; readonly verdict: string } | undefined {
  if (Reflect.get(socket, "_requestCert") !== true) return undefined;
  const handle: unknown = Reflect.get(socket, "_handle");
  const cause: unknown =
    typeof handle === "object" && handle !== null && "verifyError" in handle
      ? Reflect.apply(Object(handle.verifyError), handle, [])
      : new Error("not verified"); // never in favour of the client
  if (!(cause instanceof Error)) return undefined;
  return { cause, verdict: "code" in cause ? String(cause.code) : cause.message };
}

/**
 * From now on the end of our side is that of the channel `below`, without an alert of TLS.
 * Everything written has left TLS when its turn comes.
 */
export function endQuietly(socket: tls.TLSSocket, below: Duplex): void {
  Object.assign(socket, { _final: (done: () => void) => void below.end(() => done()) });
}

/**
 * Ends a TLS connection such that the other end sees a hard end: TLS alone has no such thing.
 *
 * `raw.resetAndDestroy()` would take the handle away under TLS, which crashes Node. So TLS is
 * destroyed, which destroys what is below it, and that is told to reset when its turn comes.
 */
export function resetTls(socket: tls.TLSSocket): void {
  afterShutdown(socket, () => {
    const raw = rawSocketOf(socket);
    // A Unix socket has no reset.
    if (raw?.remoteAddress !== undefined && !raw.destroyed) {
      Object.assign(raw, { resetAndClosing: true });
    }
    socket.destroy();
  });
}

/** The same for whatever a layer above TLS and TCP runs on. */
export function resetDuplex(duplex: Duplex): void {
  if (duplex instanceof tls.TLSSocket) resetTls(duplex);
  else if (duplex instanceof net.Socket) resetSocket(duplex);
  else duplex.destroy();
}
