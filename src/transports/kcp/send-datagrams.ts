import type { HostPort } from "../../address/socks-address.ts";
import type { DatagramSocket } from "../../tunnel/datagrams.ts";

/** Sends all of them, together where the socket can. */
export function sendDatagrams(
  socket: DatagramSocket,
  datagrams: readonly Uint8Array[],
  to: HostPort,
): void {
  if (socket.sendAll !== undefined) socket.sendAll(datagrams, to);
  else for (const datagram of datagrams) socket.send(datagram, to);
}
