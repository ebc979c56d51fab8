import { plainIp } from "../../address/ip.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort, parseHostPort } from "../../address/target.ts";
import { IdleTimer } from "../../clock/idle-timer.ts";
import { MisuseError, PolicyError, TunnelError } from "../../errors.ts";
import type { Connection, ConnectionInfo } from "../../tunnel/connection.ts";
import type { BindUdp, DatagramSocket } from "../../tunnel/datagrams.ts";
import type { InboundOptions } from "../../tunnel/inbound.ts";
import type { Packet, PacketChannel, PacketHandler } from "../../tunnel/packets.ts";
import type { Metadata, OnPacketRequest, PacketRequest } from "../../tunnel/request.ts";
import { encodeReply, Reply } from "./codec.ts";
import { REPLY_OF } from "./reply-of.ts";
import { decodeDatagram, encodeDatagram } from "./udp-codec.ts";

/** What UDP ASSOCIATE needs of its inbound. */
export interface UdpAssociationOptions extends InboundOptions {
  readonly onPacketRequest: OnPacketRequest;
  readonly bindUdp: BindUdp;
  /** Ends an association on which no datagram came or went for this long; 0: never. */
  readonly udpIdleTimeoutMs: number;
}

/** One client's command. */
export interface UdpAssociateCommand {
  /** The port the client says it will send from; 0: it does not say. */
  readonly port: number;
  readonly user: string | undefined;
}

/**
 * Carries out UDP ASSOCIATE: binds a relay port where the control connection arrived, and asks.
 *
 * @throws TunnelError when the control connection has no IP address, or no port can be bound
 */
export async function associate(
  connection: Connection,
  command: UdpAssociateCommand,
  options: UdpAssociationOptions,
): Promise<void> {
  const association = new UdpAssociation(connection, command, options);
  await association.bind();
  options.onPacketRequest(association);
}

/**
 * One association: a relay port that listens to the client of one control connection, and lives as
 * long as that. Spec: RFC 1928 sections 4, 6 and 7.
 */
class UdpAssociation implements PacketRequest, PacketChannel {
  readonly metadata: Metadata;
  readonly #connection: Connection;
  readonly #options: UdpAssociationOptions;
  readonly #abort = new AbortController();
  readonly #clientHost: string;
  /** Where the client sends from: what it announced, or its first valid datagram showed. */
  #clientPort: number;
  #hasSent = false;
  #state: "waiting" | "open" | "closed" = "waiting";
  #socket: DatagramSocket | undefined;
  #idle: IdleTimer | undefined;
  #handler: PacketHandler | undefined;
  #error: TunnelError | undefined;
  readonly #dropped = { malformed: 0, fragment: 0, foreign: 0, undeliverable: 0 };

  constructor(
    connection: Connection,
    { port, user }: UdpAssociateCommand,
    options: UdpAssociationOptions,
  ) {
    const { peer } = connection.info;
    this.metadata = { inbound: options.name, source: peer, user };
    this.#connection = connection;
    this.#options = options;
    this.#clientHost = hostOf(peer);
    this.#clientPort = port;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get info(): ConnectionInfo {
    const { host, port } = this.#local;
    return { transport: "socks5", local: formatHostPort(host, port), peer: this.metadata.source };
  }

  async bind(): Promise<void> {
    const at = { host: hostOf(this.#connection.info.local), port: 0 };
    this.#socket = await this.#options.bindUdp({
      at,
      onDatagram: (data, from) => this.#received(data, from),
    });
    this.#connection.attach({
      // Clients have nothing to say here any more, and mistakes end nothing.
      onData: () => {},
      onEnd: () => this.#gone(undefined),
      onDrain: () => {},
      onClose: (error) => this.#gone(error),
    });
    this.#connection.resume();
  }

  accept(): PacketChannel {
    if (this.#state === "open") throw new MisuseError("a request is answered once");
    if (this.#state === "waiting") {
      this.#state = "open";
      this.#connection.write([encodeReply(Reply.succeeded, this.#local)]);
      const { udpIdleTimeoutMs: timeoutMs, runtime } = this.#options;
      this.#idle = new IdleTimer(runtime.clock, timeoutMs, () => {
        const text = `no datagram came or went for ${timeoutMs} ms`;
        this.#end(new PolicyError("ERR_IDLE_TIMEOUT", text));
      });
    }
    return this;
  }

  reject(error: TunnelError): void {
    if (this.#state === "open") throw new MisuseError("a request is answered once");
    if (this.#state === "waiting") this.#connection.write([encodeReply(REPLY_OF[error.code])]);
    this.#end(error);
  }

  attach(handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#state === "closed") queueMicrotask(() => this.#report());
  }

  send(packet: Packet): void {
    if (this.#state !== "open") return;
    this.#idle?.touch();
    const datagram = this.#hasSent ? encodeDatagram(packet) : undefined;
    if (datagram === undefined) this.#dropped.undeliverable++;
    else this.#socket?.send(datagram, { host: this.#clientHost, port: this.#clientPort });
  }

  close(error?: TunnelError): void {
    this.#end(error);
  }

  get #local(): HostPort {
    const { host, port } = this.#socket?.local ?? { host: "0.0.0.0", port: 0 };
    return { host: host.replace(/%.*$/, ""), port };
  }

  #received(datagram: Uint8Array, from: HostPort): void {
    if (this.#state !== "open") return;
    const isClient =
      from.host === this.#clientHost && (this.#clientPort === 0 || from.port === this.#clientPort);
    if (!isClient) {
      this.#dropped.foreign++;
      return;
    }
    const packet = decodeDatagram(datagram);
    if (typeof packet === "string") {
      this.#dropped[packet]++;
      return;
    }
    this.#clientPort = from.port;
    this.#hasSent = true;
    this.#idle?.touch();
    this.#handler?.onPacket(packet);
  }

  /** The control connection is over, and the association with it. */
  #gone(cause: TunnelError | undefined): void {
    const isWaiting = this.#state === "waiting";
    this.#end(cause);
    if (!isWaiting) return;
    const text = `client ${this.metadata.source} went away before its association was open`;
    this.#abort.abort(new TunnelError("ERR_ABORTED", text, { cause }));
  }

  #end(error: TunnelError | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#error = error;
    this.#idle?.cancel();
    this.#socket?.close();
    this.#connection.close();
    this.#logDrops();
    this.#report();
  }

  #logDrops(): void {
    const dropped = { ...this.#dropped, unsent: this.#socket?.dropped ?? 0 };
    if (Object.values(dropped).every((count) => count === 0)) return;
    const { logger, name } = this.#options;
    logger.debug("socks5 datagrams dropped", {
      inbound: name,
      peer: this.metadata.source,
      ...dropped,
    });
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#error);
  }
}

/** The IP address of one end of a control connection. */
function hostOf(place: string): string {
  const host = parseHostPort(place)?.host;
  if (host !== undefined) return plainIp(host);
  const text = `UDP ASSOCIATE over ${place}, which has no IP address`;
  throw new TunnelError("ERR_COMMAND_UNSUPPORTED", text, { hint: "connect over TCP" });
}
