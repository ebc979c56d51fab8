import type { Socket } from "node:dgram";
import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort } from "../../address/target.ts";
import { type ErrorCode, NetworkError, systemCode } from "../../errors.ts";

/**
 * Fixes whom a bound socket talks to: the system drops what others send, and reports what the
 * network says about the peer.
 *
 * @throws NetworkError when the system knows no way there; the socket is closed
 */
export async function connectSocket(socket: Socket, to: HostPort): Promise<void> {
  await new Promise<void>((done, reject) => {
    const fail = (cause: unknown): void => {
      socket.close();
      reject(peerError(cause, to));
    };
    socket.once("error", fail);
    try {
      socket.connect(to.port, to.host, () => {
        socket.off("error", fail);
        done();
      });
    } catch (cause) {
      fail(cause);
    }
  });
}

/** Puts what the network says about a peer into our words. */
export function peerError(cause: unknown, { host, port }: HostPort): NetworkError {
  const known = PEER_ERRORS[systemCode(cause) ?? ""];
  const text = known?.text ?? (cause instanceof Error ? cause.message : String(cause));
  const name = formatHostPort(host, port);
  return new NetworkError(known?.code ?? "ERR_DIAL_FAILED", `udp ${name}: ${text}`, {
    cause,
    hint: known?.hint,
  });
}

const PEER_ERRORS: Readonly<
  Record<string, { readonly code: ErrorCode; readonly text: string; readonly hint?: string }>
> = {
  ECONNREFUSED: {
    code: "ERR_DIAL_REFUSED",
    text: "nobody listens on that UDP port",
    hint: "check that the server runs and listens on UDP there",
  },
  EHOSTUNREACH: { code: "ERR_DIAL_HOST_UNREACHABLE", text: "host unreachable" },
  EHOSTDOWN: { code: "ERR_DIAL_HOST_UNREACHABLE", text: "host is down" },
  ENETUNREACH: { code: "ERR_DIAL_NETWORK_UNREACHABLE", text: "network unreachable" },
  ENETDOWN: { code: "ERR_DIAL_NETWORK_UNREACHABLE", text: "network is down" },
  EADDRNOTAVAIL: { code: "ERR_DIAL_HOST_UNREACHABLE", text: "address not available" },
  EACCES: { code: "ERR_DIAL_FAILED", text: "not permitted" },
  EPERM: { code: "ERR_DIAL_FAILED", text: "a local firewall forbids it" },
};
