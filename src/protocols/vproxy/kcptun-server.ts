import type { Target } from "../../address/target.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { muxRequest } from "../../tunnel/mux-request.ts";
import type { OnRequest } from "../../tunnel/request.ts";
import { TunnelServer, type TunnelServerOptions } from "./tunnel/tunnel-server.ts";

/** What the server end of KcpTun needs. */
export interface KcptunServerOptions extends Omit<TunnelServerOptions, "system" | "onStream"> {
  /** The name of this inbound in logs and routes. */
  readonly name: string;
  /** Where every stream goes: the clients have no say in it. */
  readonly target: Target;
  /** Takes every stream's wish. */
  readonly onRequest: OnRequest;
}

/**
 * The server end of KcpTun: every stream of a tunnel is a connection to one fixed target.
 *
 * Spec: vproxy 3.9. Reference: vproxy `KcpTun.java`.
 */
export class KcptunServer {
  readonly #server: TunnelServer;

  constructor(options: KcptunServerOptions) {
    const { name: inbound, target, onRequest } = options;
    this.#server = new TunnelServer({
      ...options,
      system: "kcptun",
      onStream: ({ stream, link, source, signal }) => {
        const metadata = { inbound, source };
        onRequest(muxRequest(link, stream, { target, metadata, signal }));
      },
    });
  }

  /** Tunnels that live now. */
  get tunnelCount(): number {
    return this.#server.tunnelCount;
  }

  /** Takes a connection, paused and without a handler, from any transport. */
  accept(connection: Connection): void {
    this.#server.accept(connection);
  }

  /** Takes no new streams, lets running ones finish for `graceMs`, then ends every tunnel. */
  async close(graceMs: number): Promise<void> {
    await this.#server.close(graceMs);
  }
}
