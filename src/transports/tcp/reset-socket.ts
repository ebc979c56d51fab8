import type net from "node:net";

/** Ends a socket such that the other end sees a hard end, where its kind has such a thing. */
export function resetSocket(socket: net.Socket): void {
  // A Unix socket has no reset.
  if (socket.remoteAddress === undefined) socket.destroy();
  else afterShutdown(socket, () => void socket.resetAndDestroy());
}

/**
 * Resets at once, or right after a shutdown that is under way: the system refuses a reset until it
 * is done, and the socket would then never close. One that does not get done ends without a reset.
 */
export function afterShutdown(socket: net.Socket, reset: () => void): void {
  if (!isShuttingDown(socket)) reset();
  else setImmediate(() => (isShuttingDown(socket) ? void socket.destroy() : reset()));
}

function isShuttingDown(socket: net.Socket): boolean {
  return socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
}
