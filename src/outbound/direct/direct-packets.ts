import { formatHostPort, formatTarget, type Target } from "../../address/target.ts";
import { IdleTimer } from "../../clock/idle-timer.ts";
import { PolicyError, type TunnelError } from "../../errors.ts";
import type { ConnectionInfo } from "../../tunnel/connection.ts";
import type { BindUdp, DatagramSocket } from "../../tunnel/datagrams.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { Packet, PacketChannel, PacketHandler } from "../../tunnel/packets.ts";
import type { Metadata } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { SaidOnce } from "../../tunnel/said-once.ts";
import type { DialPolicy } from "./dial-policy.ts";
import { Destinations } from "./destinations.ts";
import type { Resolver } from "./resolver.ts";

/** What an association of this machine's own network needs. */
export interface DirectPacketsOptions {
  /** The outbound's name. */
  readonly name: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly bindUdp: BindUdp;
  readonly resolver: Resolver;
  readonly policy: DialPolicy | undefined;
  readonly ipVersion: 4 | 6 | undefined;
  /** Ends an association on which no datagram came or went for this long; 0: never. */
  readonly udpIdleTimeoutMs: number;
  readonly metadata: Metadata;
}

/**
 * Opens an association of this machine's own network: one socket, from which every target sees the
 * same address, and to which everybody may answer ("full cone").
 *
 * @throws ConfigError when no socket can be had
 */
export async function openDirectPackets(options: DirectPacketsOptions): Promise<PacketChannel> {
  const packets = new DirectPackets(options);
  await packets.bind();
  return packets;
}

class DirectPackets implements PacketChannel {
  readonly #options: DirectPacketsOptions;
  readonly #destinations: Destinations;
  readonly #abort = new AbortController();
  readonly #said = new SaidOnce();
  readonly #idle: IdleTimer;
  #socket: DatagramSocket | undefined;
  #handler: PacketHandler | undefined;
  #isClosed = false;
  #error: TunnelError | undefined;

  constructor(options: DirectPacketsOptions) {
    this.#options = options;
    const { runtime, udpIdleTimeoutMs: timeoutMs } = options;
    this.#destinations = new Destinations({
      ...options,
      clock: runtime.clock,
      signal: this.#abort.signal,
      onRefused: (target, error) => this.#logRefusal(target, error),
    });
    this.#idle = new IdleTimer(runtime.clock, timeoutMs, () => {
      const text = `no datagram came or went for ${timeoutMs} ms`;
      this.close(new PolicyError("ERR_IDLE_TIMEOUT", text));
    });
  }

  async bind(): Promise<void> {
    try {
      this.#socket = await this.#options.bindUdp({
        onDatagram: (data, { host, port }) => {
          this.#idle.touch();
          // A zone means something on this machine alone.
          this.#handler?.onPacket({ host: host.replace(/%.*$/, ""), port, data });
        },
      });
    } catch (thrown) {
      this.#idle.cancel();
      throw thrown;
    }
  }

  get info(): ConnectionInfo {
    const { host, port } = this.#socket?.local ?? { host: "::", port: 0 };
    return { transport: "udp", local: formatHostPort(host, port), peer: "datagrams" };
  }

  attach(handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#isClosed) queueMicrotask(() => this.#report());
  }

  send({ host, port, data }: Packet): void {
    if (this.#isClosed) return;
    this.#idle.touch();
    this.#destinations.find(host, port, (address) => {
      if (!this.#isClosed) this.#socket?.send(data, { host: address, port });
    });
  }

  close(error?: TunnelError): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#error = error;
    this.#idle.cancel();
    this.#socket?.close();
    this.#abort.abort();
    this.#report();
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#error);
  }

  #logRefusal(target: Target, error: TunnelError): void {
    const to = formatTarget(target);
    if (!this.#said.isFirst(to)) return;
    const { logger, name, metadata } = this.#options;
    logger.info("datagrams dropped", {
      user: metadata.user,
      source: metadata.source,
      from: metadata.inbound,
      to,
      via: name,
      reason: error.message,
      code: error.code,
      hint: error.hint,
    });
  }
}
