import { formatHostPort, type Target } from "../../address/target.ts";
import { IdleTimer } from "../../clock/idle-timer.ts";
import { PolicyError, type TunnelError } from "../../errors.ts";
import type { ConnectionInfo } from "../../tunnel/connection.ts";
import type { BindUdp, DatagramSocket } from "../../tunnel/datagrams.ts";
import type { Packet, PacketChannel, PacketHandler } from "../../tunnel/packets.ts";
import type { Runtime } from "../../tunnel/runtime.ts";

/** What an association with one target needs. */
export interface DirectSessionOptions {
  readonly runtime: Runtime;
  readonly bindUdp: BindUdp;
  /** As the client named it; answers come from there. */
  readonly target: Target;
  /** Where that is; judged. */
  readonly address: string;
  /** Ends an association on which no datagram came or went for this long; 0: never. */
  readonly udpIdleTimeoutMs: number;
}

/**
 * Opens an association whose datagrams go to one target alone: only it may answer, and when the
 * network says that nobody listens there, the association ends with that.
 *
 * @throws TunnelError when no socket can be had, or no way leads there
 */
export async function openDirectSession(options: DirectSessionOptions): Promise<PacketChannel> {
  const session = new DirectSession(options);
  await session.bind();
  return session;
}

class DirectSession implements PacketChannel {
  readonly #options: DirectSessionOptions;
  readonly #idle: IdleTimer;
  #socket: DatagramSocket | undefined;
  #handler: PacketHandler | undefined;
  #end: { readonly error: TunnelError | undefined } | undefined;

  constructor(options: DirectSessionOptions) {
    this.#options = options;
    const { runtime, udpIdleTimeoutMs: timeoutMs } = options;
    this.#idle = new IdleTimer(runtime.clock, timeoutMs, () => {
      const text = `no datagram came or went for ${timeoutMs} ms`;
      this.close(new PolicyError("ERR_IDLE_TIMEOUT", text));
    });
  }

  async bind(): Promise<void> {
    const { bindUdp, target, address } = this.#options;
    const { host, port } = target;
    try {
      this.#socket = await bindUdp({
        connectTo: { host: address, port },
        onDatagram: (data) => {
          this.#idle.touch();
          this.#handler?.onPacket({ host, port, data });
        },
        onError: (error) => this.close(error),
      });
    } catch (thrown) {
      this.#idle.cancel();
      throw thrown;
    }
  }

  get info(): ConnectionInfo {
    const { address, target } = this.#options;
    const { host, port } = this.#socket?.local ?? { host: "::", port: 0 };
    const peer = formatHostPort(address, target.port);
    return { transport: "udp", local: formatHostPort(host, port), peer };
  }

  attach(handler: PacketHandler): void {
    this.#handler = handler;
    if (this.#end !== undefined) queueMicrotask(() => this.#report());
  }

  send({ data }: Packet): void {
    if (this.#end !== undefined) return;
    this.#idle.touch();
    const { address, target } = this.#options;
    this.#socket?.send(data, { host: address, port: target.port });
  }

  close(error?: TunnelError): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#idle.cancel();
    this.#socket?.close();
    this.#report();
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#end?.error);
  }
}
