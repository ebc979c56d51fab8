import type { Target } from "../../../address/target.ts";
import { MisuseError, type TunnelError } from "../../../errors.ts";
import type { BackoffLimits } from "../../../tunnel/backoff.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import type { Logger } from "../../../tunnel/logger.ts";
import type { Metadata, StreamOpener } from "../../../tunnel/request.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";

/** How a client keeps connections ready. */
export interface VproxyPoolOptions {
  /** Connections kept upgraded; 0 upgrades one for each stream. @default 4 */
  readonly size: number;
  /** How long `open` waits for a connection, ms. @default 5000 */
  readonly waitMs: number;
  /** How long the carrier and the upgrade may take together, ms. @default 10000 */
  readonly dialTimeoutMs: number;
  /** Upgrades at one time while streams wait. @default 64 */
  readonly maxDialling: number;
  /** Silence after which a waiting connection sends a PONG, ms. @default 15000 */
  readonly keepaliveMs: number;
  /** An older waiting connection is replaced, ms. @default 3600000 */
  readonly maxAgeMs: number;
  readonly backoff: BackoffLimits;
}

/** What a WebSocks client needs. */
export interface VproxyClientOptions {
  /** Its name in logs and routes. */
  readonly name: string;
  /** Where it goes, for status and errors: `vproxy+tls://host:443`, without credentials. */
  readonly description: string;
  /** Of the server as configured, for the Host header. */
  readonly host: string;
  readonly port: number;
  /** Makes a fresh byte channel to the server: TCP, TLS, or a stream of a KCP tunnel. */
  openCarrier(signal: AbortSignal): Promise<Connection>;
  readonly user: string;
  readonly password: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** The wall clock: the Authorization depends on the minute. */
  unixMs(): number;
  readonly pool?: Partial<VproxyPoolOptions> | undefined;
  /** Waits for each answer before it says more, instead of one write. @default false */
  readonly isStrict?: boolean | undefined;
  /** How long the server may take to reach a target, ms. @default 30000 */
  readonly connectTimeoutMs?: number | undefined;
  /** Called whenever {@link VproxyClient.status} changed. */
  readonly onStatus?: ((status: VproxyClientStatus) => void) | undefined;
  /** The server said no for good: wrong user or password, and the clocks agree. */
  readonly onRefused?: ((error: TunnelError) => void) | undefined;
}

/** How a tunnel is doing. */
export interface VproxyClientStatus {
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  /** What it is, why it is down, what comes next. */
  readonly detail: string;
  /** How long the last carrier and upgrade took. */
  readonly latencyMs: number | undefined;
  /** Connections that wait or carry a stream. */
  readonly links: number;
  readonly streams: number;
}

/** The agent's side: opens one upgraded connection for each stream, most of them in advance. */
export class VproxyClient implements StreamOpener {
  readonly #options: VproxyClientOptions;

  constructor(options: VproxyClientOptions) {
    this.#options = options;
  }

  /** Fills the pool; without it the first `open` does. */
  start(): void {}

  /**
   * Opens a stream to the target through the server.
   *
   * @throws NetworkError `ERR_TUNNEL_DOWN` when no connection came up in time,
   *   `ERR_REFUSED_FOR_GOOD` when the server turned us down; StreamReset with the server's reason;
   *   `signal.reason` when aborted
   */
  open(
    _target: Target,
    _options: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection> {
    return Promise.reject(new MisuseError("not written yet"));
  }

  /** How it is doing now. */
  status(): VproxyClientStatus {
    const { description: detail } = this.#options;
    return { state: "idle", detail, latencyMs: undefined, links: 0, streams: 0 };
  }

  /** Opens nothing more, lets running streams finish for `graceMs`, then ends every connection. */
  async close(_graceMs: number): Promise<void> {}
}
