import type { Connection } from "../../../tunnel/connection.ts";
import type { Logger } from "../../../tunnel/logger.ts";
import type { LoginGuard } from "../../../tunnel/logins.ts";
import type { OnRequest } from "../../../tunnel/request.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import type { WebOptions } from "./web.ts";

/** What a WebSocks server needs. */
export interface VproxyServerOptions {
  /** The name of this inbound in logs and routes. */
  readonly name: string;
  /** Name to password; neither may hold a colon. */
  readonly users: ReadonlyMap<string, string>;
  /** Takes every stream's wish. */
  readonly onRequest: OnRequest;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** The wall clock: the Authorization depends on the minute. */
  unixMs(): number;
  /** Hears of wrong logins, and keeps addresses that fail too often from trying on. */
  readonly guard?: LoginGuard | undefined;
  /** What requests without an upgrade get. @default 400 for everything */
  readonly web?: WebOptions | undefined;
  /**
   * How long what the target says first is held back after the SOCKS reply, unless the client
   * speaks, ms; 0: not at all. Clients of the original break on a reply with data behind it.
   *
   * @default 250
   */
  readonly holdMs?: number | undefined;
  /** For the request, and once more from the marker to the whole SOCKS request, ms. @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Peers in a handshake at one time; past it the oldest is ended. @default 4096 */
  readonly maxHandshakes?: number | undefined;
  /** Upgraded connections that wait for their use; past it the oldest is ended. @default 16384 */
  readonly maxWaiting?: number | undefined;
  /** An upgraded connection that waits is ended after this much silence, ms. @default 900000 */
  readonly waitingTimeoutMs?: number | undefined;
}

/** Takes connections of WebSocks clients and turns each into a request. */
export class VproxyServer {
  readonly #options: VproxyServerOptions;

  constructor(options: VproxyServerOptions) {
    this.#options = options;
  }

  /** Takes a connection, paused and without a handler, from any carrier. */
  accept(connection: Connection): void {
    this.#options.logger.debug("not written yet");
    connection.close();
  }

  /** Takes nothing new, lets running streams finish for `graceMs`, then ends them. */
  async close(_graceMs: number): Promise<void> {}
}
