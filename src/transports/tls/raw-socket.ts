import net from "node:net";
import type tls from "node:tls";

/**
 * The socket below a TLS socket. Node has no documented way to it; `undefined` when its internals
 * look different, or when TLS runs inside something that is no socket.
 */
export function rawSocketOf(socket: tls.TLSSocket): net.Socket | undefined {
  const raw: unknown = Reflect.get(socket, "_parent");
  return raw instanceof net.Socket ? raw : undefined;
}

/**
 * Ends a TLS connection such that the other end sees a hard end: TLS alone has no such thing.
 *
 * `raw.resetAndDestroy()` would take the handle away under TLS, which crashes Node. So TLS is
 * destroyed, which destroys what is below it, and that is told to reset when its turn comes.
 */
export function resetTls(socket: tls.TLSSocket): void {
  const raw = rawSocketOf(socket);
  // The system refuses a reset while a shutdown is under way, and a Unix socket has none.
  const isShuttingDown = socket.writableEnded && !socket.writableFinished;
  if (raw?.remoteAddress !== undefined && !raw.destroyed && !isShuttingDown) {
    Object.assign(raw, { resetAndClosing: true });
  }
  socket.destroy();
}
