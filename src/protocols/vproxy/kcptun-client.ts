import { formatTarget, type Target } from "../../address/target.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { BackoffLimits } from "../../tunnel/backoff.ts";
import type { Connection, Dialer } from "../../tunnel/connection.ts";
import { KeptLink } from "../../tunnel/kept-link.ts";
import type { Logger } from "../../tunnel/logger.ts";
import { MuxDriver } from "../../tunnel/mux-driver.ts";
import type { Metadata, StreamOpener } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { SlowReaderPolicy } from "../../tunnel/slow-readers.ts";
import { openTunnel } from "./tunnel/handshake.ts";
import type { TunnelTuning } from "./tunnel/options.ts";
import { VproxyTunnelSession } from "./tunnel/tunnel-session.ts";

/** What the client end of a tunnel needs. */
export interface KcptunClientOptions {
  /** Its name in logs and routes. */
  readonly name: string;
  readonly dialer: Dialer;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** The system's name for `info.transport` of its streams. @default "kcptun" */
  readonly system?: string | undefined;
  readonly tunnel?: TunnelTuning | undefined;
  readonly slowReaders?: Partial<SlowReaderPolicy> | undefined;
  /** How long `open` waits for the tunnel, ms. @default 5000 */
  readonly waitMs?: number | undefined;
  /** How long dialling and the handshake may take together, ms. @default 10000 */
  readonly dialTimeoutMs?: number | undefined;
  /** For the handshake alone, ms. @default 5000 */
  readonly handshakeTimeoutMs?: number | undefined;
  readonly backoff?: BackoffLimits | undefined;
  /** Called whenever {@link KcptunClient.status} changed. */
  readonly onStatus?: ((status: KcptunStatus) => void) | undefined;
}

/** How a tunnel is doing. */
export interface KcptunStatus {
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  /** What it is, or why it is down. */
  readonly detail: string;
  /** The latest round trip of a keep-alive; before the first one, the time of the last dial. */
  readonly latencyMs: number | undefined;
  readonly links: number;
  readonly streams: number;
}

/**
 * The client end of KcpTun: keeps one tunnel up and opens streams on it. Where they lead, the
 * server alone decides.
 *
 * Spec: vproxy 3.9. Reference: vproxy `KcpTun.java`, `StreamedArqUDPClientFDs.java`.
 */
export class KcptunClient implements StreamOpener {
  readonly #options: KcptunClientOptions;
  readonly #link: KeptLink<MuxDriver>;
  readonly #waiting = new Set<Waiter>();
  #session: VproxyTunnelSession | undefined;
  #isClosed = false;

  constructor(options: KcptunClientOptions) {
    this.#options = options;
    const { name, runtime, logger, dialer, backoff, handshakeTimeoutMs: timeoutMs } = options;
    this.#link = new KeptLink({
      name,
      runtime,
      logger,
      connect: async (signal) => {
        const connection = await dialer.dial({ signal });
        return await openTunnel(connection, { runtime, signal, timeoutMs });
      },
      run: (connection, onClose) => this.#run(connection, onClose),
      dialTimeoutMs: options.dialTimeoutMs ?? DEFAULT_DIAL_TIMEOUT_MS,
      backoff,
      onChange: () => this.#changed(),
    });
  }

  /** Dials; without it the first `open` does. */
  start(): void {
    this.#link.start();
  }

  /**
   * Opens a stream. The target is a name for logs: it does not travel.
   *
   * @throws NetworkError `ERR_TUNNEL_DOWN` when the tunnel did not come up in time; StreamReset
   *   when the server refused the stream; `signal.reason` when aborted
   */
  async open(
    target: Target,
    { signal }: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection> {
    signal.throwIfAborted();
    if (this.#isClosed) throw new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    const driver = this.#usable();
    if (driver !== undefined) return await driver.open(target, signal);
    return await this.#openWhenUp(target, signal);
  }

  status(): KcptunStatus {
    const { link, state, lastError, dialMs } = this.#link;
    const latencyMs = this.#session?.rttMs ?? dialMs;
    const links = link === undefined ? 0 : 1;
    const base = { latencyMs, links, streams: link?.streamCount ?? 0 };
    const { description } = this.#options.dialer;
    if (this.#isClosed) return { state: "closed", detail: "closed", ...base };
    if (link?.isOpen) return { state: "up", detail: description, ...base };
    if (lastError !== undefined) return { state: "down", detail: lastError.message, ...base };
    return state === "idle"
      ? { state: "idle", detail: "dials when needed", ...base }
      : { state: "connecting", detail: description, ...base };
  }

  /** Opens nothing more, lets running streams finish for `graceMs`, then ends the tunnel. */
  async close(graceMs: number): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const error = new TunnelError("ERR_SHUTDOWN", "tunnel is closing");
    for (const waiter of this.#waiting) waiter.fail(error);
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    while ((this.#link.link?.streamCount ?? 0) > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    this.#link.close();
    this.#changed();
  }

  #run(connection: Connection, onClose: (error: TunnelError | undefined) => void): MuxDriver {
    const { runtime, slowReaders, tunnel, system = "kcptun" } = this.#options;
    const session = new VproxyTunnelSession("client", {
      ...tunnel,
      target: NOWHERE,
      unsentBytes: () => connection.pendingBytes,
    });
    this.#session = session;
    const driver: MuxDriver = new MuxDriver({
      connection,
      session,
      runtime,
      system,
      slowReaders,
      onStreamClosed: () => {
        // All ids are used up: the next tunnel begins with new ones.
        if (session.isExhausted && session.streamCount === 0) driver.close();
        this.#changed();
      },
      onClose,
    });
    driver.start(session.start(runtime.clock.now()));
    return driver;
  }

  /** The tunnel, while it takes new streams. */
  #usable(): MuxDriver | undefined {
    const { link } = this.#link;
    return link?.isOpen ? link : undefined;
  }

  #openWhenUp(target: Target, signal: AbortSignal): Promise<Connection> {
    const { name, runtime, waitMs = DEFAULT_WAIT_MS } = this.#options;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#waiting.delete(waiter);
        timer.cancel();
        signal.removeEventListener("abort", onAbort);
        act();
      };
      const waiter: Waiter = {
        take: (driver) => settle(() => resolve(driver.open(target, signal))),
        fail: (error) => settle(() => reject(error)),
      };
      const onAbort = (): void => waiter.fail(toTunnelError(signal.reason, "ERR_ABORTED", "open"));
      const timer = runtime.clock.schedule(waitMs, () => {
        const cause = this.#link.lastError;
        const why = cause?.message ?? "it is being dialled";
        const text = `${name}: no tunnel for ${formatTarget(target)} within ${waitMs} ms: ${why}`;
        waiter.fail(new NetworkError("ERR_TUNNEL_DOWN", text, { cause, hint: cause?.hint }));
      });
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(waiter);
      this.#link.start();
    });
  }

  #changed(): void {
    const driver = this.#usable();
    if (driver !== undefined) for (const waiter of this.#waiting) waiter.take(driver);
    this.#options.onStatus?.(this.status());
  }
}

interface Waiter {
  take(driver: MuxDriver): void;
  fail(error: TunnelError): void;
}

/** A client is never asked for a stream. */
const NOWHERE: Target = { network: "tcp", host: "0.0.0.0", port: 0 };

const DEFAULT_WAIT_MS = 5000;

/** A dial over UDP costs nothing: the handshake has its own five seconds. */
const DEFAULT_DIAL_TIMEOUT_MS = 10_000;

/** How often a closing client looks whether the streams are done. */
const DRAIN_POLL_MS = 50;
