import type { HostPort } from "../../address/socks-address.ts";
import type { Target } from "../../address/target.ts";
import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection, Dialer } from "../../tunnel/connection.ts";
import type { Logger } from "../../tunnel/logger.ts";
import { MuxDriver } from "../../tunnel/mux-driver.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { SlowReaderPolicy } from "../../tunnel/slow-readers.ts";
import { openTunnel } from "./tunnel/handshake.ts";
import type { TunnelTuning } from "./tunnel/options.ts";
import { VproxyTunnelSession } from "./tunnel/tunnel-session.ts";

/** What a carrier needs. */
export interface KcpCarrierOptions {
  /** The tunnel's name, for logs. */
  readonly name: string;
  /** Of the server, for logs. */
  readonly server: HostPort;
  /** Dials KCP, each time anew. */
  readonly dialer: Dialer;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly tunnel?: TunnelTuning | undefined;
  readonly slowReaders?: Partial<SlowReaderPolicy> | undefined;
  /** How long dialling and the tunnel's handshake may take together, ms. @default 10000 */
  readonly dialTimeoutMs?: number | undefined;
}

/**
 * Fresh byte channels to a server, all of them streams of one tunnel over KCP. It is dialled when a
 * stream is wanted and there is none; whoever wants streams decides how often that is tried.
 *
 * Spec: vproxy 3.9.
 */
export class KcpCarrier {
  readonly #options: KcpCarrierOptions;
  readonly #closing = new AbortController();
  readonly #drivers = new Set<MuxDriver>();
  #current: MuxDriver | undefined;
  /** Shared by all who wait for it. */
  #dialling: Promise<MuxDriver> | undefined;

  constructor(options: KcpCarrierOptions) {
    this.#options = options;
  }

  /**
   * Opens a stream, on a new tunnel if there is none.
   *
   * @throws NetworkError when the tunnel cannot be had; StreamReset when the server refuses the
   *   stream; `signal.reason` when aborted
   */
  async open(signal: AbortSignal): Promise<Connection> {
    signal.throwIfAborted();
    this.#closing.signal.throwIfAborted();
    const { server } = this.#options;
    const driver = this.#current?.isOpen ? this.#current : await this.#next(signal);
    const target: Target = { network: "tcp", ...server };
    return await driver.open(target, signal);
  }

  /** Ends every tunnel with all its streams. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new TunnelError("ERR_SHUTDOWN", "tunnel is closing"));
    for (const driver of this.#drivers) driver.close();
  }

  /** The tunnel that is being dialled, for as long as the caller cares. */
  async #next(signal: AbortSignal): Promise<MuxDriver> {
    const dialling = (this.#dialling ??= this.#dial().finally(() => (this.#dialling = undefined)));
    const aborted = Promise.withResolvers<never>();
    const onAbort = (): void => {
      aborted.reject(toTunnelError(signal.reason, "ERR_ABORTED", "open"));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([dialling, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async #dial(): Promise<MuxDriver> {
    const { runtime, dialer, dialTimeoutMs = DEFAULT_DIAL_TIMEOUT_MS } = this.#options;
    using deadline = timeoutAfter(runtime.clock, dialTimeoutMs, () => {
      const text = `${dialer.description}: not up within ${dialTimeoutMs} ms`;
      return new NetworkError("ERR_DIAL_TIMEOUT", text);
    });
    const signal = AbortSignal.any([deadline.signal, this.#closing.signal]);
    const connection = await dialer.dial({ signal });
    return this.#run(await openTunnel(connection, { runtime, signal }));
  }

  #run(connection: Connection): MuxDriver {
    const { name, runtime, logger, tunnel, slowReaders } = this.#options;
    const session = new VproxyTunnelSession("client", {
      ...tunnel,
      target: NOWHERE,
      unsentBytes: () => connection.pendingBytes,
    });
    const { peer } = connection.info;
    const driver: MuxDriver = new MuxDriver({
      connection,
      session,
      runtime,
      system: "kcp",
      slowReaders,
      onStreamClosed: () => {
        // All ids are used up: the next tunnel begins with new ones.
        if (session.isExhausted && session.streamCount === 0) driver.close();
      },
      onClose: (error) => {
        this.#drivers.delete(driver);
        if (this.#current === driver) this.#current = undefined;
        logger.debug("kcp tunnel ended", { tunnel: name, peer, reason: error?.message });
      },
    });
    this.#drivers.add(driver);
    this.#current = driver;
    logger.debug("kcp tunnel up", { tunnel: name, peer });
    driver.start(session.start(runtime.clock.now()));
    return driver;
  }
}

/** A client is never asked for a stream. */
const NOWHERE: Target = { network: "tcp", host: "0.0.0.0", port: 0 };

const DEFAULT_DIAL_TIMEOUT_MS = 10_000;
