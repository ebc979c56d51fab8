import type { HostPort } from "../address/socks-address.ts";
import type { NetworkError } from "../errors.ts";

/** One bound UDP socket. Addresses are IP text; IPv4 inside IPv6 is written as IPv4. */
export interface DatagramSocket {
  /** Where it is bound, with the port the system chose. */
  readonly local: HostPort;
  /** Datagrams that did not leave: no room, too long, or no way to the address. */
  readonly dropped: number;
  /**
   * What to tell the operator when the system granted smaller buffers than were asked for: losses
   * in bursts, and the command that raises the limit. `undefined` when all is well.
   */
  readonly bufferWarning?: string | undefined;
  /**
   * Sends one datagram to an IP address. What cannot be sent is dropped and counted: no address
   * may end what goes on with the others. The bytes are given. A connected socket sends to its
   * peer whatever `to` says.
   */
  send(data: Uint8Array, to: HostPort): void;
  /**
   * Sends several to one address, like {@link send}, as cheaply as the system can: with
   * `segmentBytes`, neighbours of that size leave in one write. Absent: send them one by one.
   */
  sendAll?(datagrams: readonly Uint8Array[], to: HostPort): void;
  /** Frees the port. Idempotent; nothing is received afterwards. */
  close(): void;
}

/** How a UDP socket is bound: `bindUdp` of `transports/udp`. */
export type BindUdp = (options: {
  /**
   * Where; port 0: the system chooses. Without it every address of both families, or of IPv4 alone
   * where there is no IPv6.
   */
  readonly at?: HostPort | undefined;
  /** Takes what arrives; the bytes are given. */
  readonly onDatagram: (data: Uint8Array, from: HostPort) => void;
  /** The only address to exchange datagrams with, an IP address; `at` may be left out then. */
  readonly connectTo?: HostPort | undefined;
  /**
   * Hears what the network says about `connectTo`: that nobody listens there, or that there is no
   * way to it. Anyone on the path can forge that; the socket goes on.
   */
  readonly onError?: ((error: NetworkError) => void) | undefined;
  /** How much the system should hold each way. @default 1 MiB of received datagrams */
  readonly bufferBytes?: number | undefined;
  /**
   * The size of most that is sent, and of the longest. Only for formats that need no borders between datagrams: where
   * the system can, several that arrived from one sender are handed over as one.
   */
  readonly segmentBytes?: number | undefined;
}) => Promise<DatagramSocket>;
