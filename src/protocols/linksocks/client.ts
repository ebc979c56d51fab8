import { formatTarget, type Target } from "../../address/target.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { MuxDriver } from "../../tunnel/mux-driver.ts";
import type { PacketChannel } from "../../tunnel/packets.ts";
import type { Metadata, StreamOpener } from "../../tunnel/request.ts";
import type { ControlMessage } from "./messages.ts";
import { type LinkSocksDialOptions, type LinkSocksStatus, Threads } from "./threads.ts";

/** What a forward client or connector needs. */
export interface LinkSocksClientOptions extends LinkSocksDialOptions {
  /** How long `open` waits for a WebSocket, ms. @default 5000 */
  readonly waitMs?: number | undefined;
}

/** The forward client, and the connector: the same program, told apart by its token alone. */
export class LinkSocksClient implements StreamOpener {
  readonly #options: LinkSocksClientOptions;
  readonly #links: Threads;
  readonly #waiting = new Set<Waiter>();

  constructor(options: LinkSocksClientOptions) {
    this.#options = options;
    this.#links = new Threads(options, {
      role: { takesStreams: false, opensStreams: true },
      onChange: () => this.#changed(),
    });
  }

  start(): void {
    this.#links.start();
  }

  /**
   * Opens a stream to the target through the server.
   *
   * @throws NetworkError `ERR_TUNNEL_DOWN` when no WebSocket came up in time,
   *   `ERR_REFUSED_FOR_GOOD` when the server refused us; TunnelError with the exit's reason
   */
  async open(
    target: Target,
    { signal }: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection> {
    signal.throwIfAborted();
    const driver = this.#links.freest() ?? (await this.#up(formatTarget(target), signal));
    return await driver.open(target, signal);
  }

  /** Opens an association. @throws the same */
  async associate({ signal }: { readonly signal: AbortSignal }): Promise<PacketChannel> {
    signal.throwIfAborted();
    const driver = this.#links.freest() ?? (await this.#up("datagrams", signal));
    return await driver.associate(signal);
  }

  status(): LinkSocksStatus {
    return this.#links.status();
  }

  /** Lets running streams finish for `graceMs`, then ends every WebSocket. */
  async close(graceMs: number): Promise<void> {
    const error = new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    for (const waiter of this.#waiting) waiter.fail(error);
    await this.#links.close(graceMs);
  }

  #up(what: string, signal: AbortSignal): Promise<MuxDriver<ControlMessage>> {
    const { name, runtime, waitMs = DEFAULT_WAIT_MS } = this.#options;
    this.#links.start();
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#waiting.delete(waiter);
        timer.cancel();
        signal.removeEventListener("abort", onAbort);
        act();
      };
      const waiter: Waiter = {
        take: (driver) => settle(() => resolve(driver)),
        fail: (error) => settle(() => reject(error)),
      };
      const onAbort = (): void => waiter.fail(toTunnelError(signal.reason, "ERR_ABORTED", "open"));
      const timer = runtime.clock.schedule(waitMs, () =>
        waiter.fail(this.#downError(what, waitMs)),
      );
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(waiter);
      const { refusal } = this.#links;
      if (refusal !== undefined) waiter.fail(refusal);
      else if (this.#links.isClosed)
        waiter.fail(new TunnelError("ERR_SHUTDOWN", `${name} is closed`));
    });
  }

  #downError(what: string, waitMs: number): TunnelError {
    const cause = this.#links.lastError;
    const why = cause?.message ?? "it is being dialled";
    const text = `${this.#options.name}: no connection for ${what} within ${waitMs} ms: ${why}`;
    return new NetworkError("ERR_TUNNEL_DOWN", text, { cause, hint: cause?.hint });
  }

  #changed(): void {
    const { refusal } = this.#links;
    for (const waiter of this.#waiting) {
      const driver = this.#links.freest();
      if (driver !== undefined) waiter.take(driver);
      else if (refusal !== undefined) waiter.fail(refusal);
    }
  }
}

interface Waiter {
  take(driver: MuxDriver<ControlMessage>): void;
  fail(error: TunnelError): void;
}

const DEFAULT_WAIT_MS = 5000;
