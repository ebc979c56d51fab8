import { formatIp, parseIp, unmapIpv4 } from "../../address/ip.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort, type Target } from "../../address/target.ts";
import { TunnelError } from "../../errors.ts";
import type { Listener } from "../../tunnel/connection.ts";
import type { BindUdp, DatagramSocket } from "../../tunnel/datagrams.ts";
import type { InboundOptions } from "../../tunnel/inbound.ts";
import type { OnPacketRequest } from "../../tunnel/request.ts";
import type { Packet } from "../../tunnel/packets.ts";
import { UdpClient } from "./udp-client.ts";

/** Options of a static forward of datagrams. */
export interface UdpForwardOptions extends Omit<InboundOptions, "onRequest"> {
  readonly at: HostPort;
  /** Where everything goes. */
  readonly target: Target;
  /** Fixes the way out by name. */
  readonly via?: string | undefined;
  readonly bindUdp: BindUdp;
  readonly onPacketRequest: OnPacketRequest;
  /** Forgets a client without datagrams for this long, ms; 0: never. @default 60000 */
  readonly udpIdleTimeoutMs?: number | undefined;
  /** Clients at one time; for one more the longest silent one is forgotten. @default 1024 */
  readonly maxUdpClients?: number | undefined;
}

/**
 * Binds a port whose datagrams go to one target. Each client address has an association of its own;
 * only what the target answers is passed back.
 *
 * @throws ConfigError (`ERR_LISTEN`) when the port cannot be bound
 */
export async function listenUdpForward(options: UdpForwardOptions): Promise<Listener> {
  const forward = new UdpForward(options);
  await forward.bind();
  const close = (): Promise<void> => {
    forward.close();
    return Promise.resolve();
  };
  return { address: forward.address, close, [Symbol.asyncDispose]: close };
}

class UdpForward {
  readonly #options: UdpForwardOptions;
  /** The target's address as text; `undefined` where it is a name. */
  readonly #targetIp: string | undefined;
  /** By `host:port`; the one that has been silent longest stands first. */
  readonly #clients = new Map<string, UdpClient>();
  #socket: DatagramSocket | undefined;
  #isClosing = false;

  constructor(options: UdpForwardOptions) {
    this.#options = options;
    this.#targetIp = canonicalIp(options.target.host);
  }

  async bind(): Promise<void> {
    const { bindUdp, at } = this.#options;
    this.#socket = await bindUdp({ at, onDatagram: (data, from) => this.#received(data, from) });
  }

  get address(): string {
    const { host, port } = this.#socket?.local ?? this.#options.at;
    return formatHostPort(host, port);
  }

  /** Takes no new clients. The port is free when those there are have gone. */
  close(): void {
    this.#isClosing = true;
    this.#closeIfUnused();
  }

  #received(data: Uint8Array, from: HostPort): void {
    const source = formatHostPort(from.host, from.port);
    let client = this.#clients.get(source);
    if (client === undefined) {
      if (this.#isClosing) return;
      client = this.#add(source, from);
    } else {
      this.#clients.delete(source);
      this.#clients.set(source, client);
    }
    const { host, port } = this.#options.target;
    client.received({ host, port, data });
  }

  #add(source: string, from: HostPort): UdpClient {
    const { name, via, runtime, onPacketRequest } = this.#options;
    const { udpIdleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS, maxUdpClients = DEFAULT_MAX_CLIENTS } =
      this.#options;
    const [longestSilent] = this.#clients.values();
    if (this.#clients.size >= maxUdpClients) {
      longestSilent?.forget(new TunnelError("ERR_LIMIT", "made room for another client"));
    }
    const client = new UdpClient({
      metadata: { inbound: name, source, via },
      info: { transport: "udp", local: this.address, peer: source },
      clock: runtime.clock,
      idleTimeoutMs: udpIdleTimeoutMs,
      send: (packet) => {
        if (this.#isFromTarget(packet)) this.#socket?.send(packet.data, from);
      },
      onGone: () => {
        this.#clients.delete(source);
        this.#closeIfUnused();
      },
    });
    this.#clients.set(source, client);
    onPacketRequest(client);
    return client;
  }

  /**
   * The client spoke to one target, and whatever comes out of this port looks like that target. A
   * name says nothing about the address that answers, so its port must do.
   */
  #isFromTarget({ host, port }: Packet): boolean {
    const { target } = this.#options;
    if (port !== target.port) return false;
    const ip = this.#targetIp;
    return ip === undefined || host === ip || canonicalIp(host) === ip;
  }

  #closeIfUnused(): void {
    if (this.#isClosing && this.#clients.size === 0) this.#socket?.close();
  }
}

function canonicalIp(host: string): string | undefined {
  const bytes = parseIp(host);
  return bytes && formatIp(unmapIpv4(bytes));
}

/** Questions and answers come closer together; who asks once (DNS) is soon forgotten. */
const DEFAULT_IDLE_TIMEOUT_MS = 60_000;

/** Each may cost a socket at the exit. */
const DEFAULT_MAX_CLIENTS = 1_024;
