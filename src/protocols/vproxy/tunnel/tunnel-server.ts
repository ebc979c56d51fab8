import type { Target } from "../../../address/target.ts";
import { toTunnelError, TunnelError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import { HandshakeSlots } from "../../../tunnel/handshake-slots.ts";
import type { Logger } from "../../../tunnel/logger.ts";
import { MuxDriver } from "../../../tunnel/mux-driver.ts";
import type { MuxStream } from "../../../tunnel/mux-stream.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import type { SlowReaderPolicy } from "../../../tunnel/slow-readers.ts";
import { acceptTunnel } from "./handshake.ts";
import type { TunnelTuning } from "./options.ts";
import { VproxyTunnelSession } from "./tunnel-session.ts";

/** A stream that a client opened, and the tunnel it came through. */
export interface TunnelStream {
  readonly stream: MuxStream;
  readonly link: MuxDriver;
  /** `host:port` of the client. */
  readonly source: string;
  /** Aborts when the client gave the stream up before it was answered. */
  readonly signal: AbortSignal;
}

/** What a server of tunnels needs. */
export interface TunnelServerOptions {
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** The system's name for `info.transport` of its streams. */
  readonly system: string;
  /** The wire carries no targets: what every stream is for, in logs. */
  readonly target: Target;
  /** Takes every stream, paused and without a handler; answers with `link.accept` or `stream.reset`. */
  readonly onStream: (stream: TunnelStream) => void;
  readonly tunnel?: TunnelTuning | undefined;
  readonly slowReaders?: Partial<SlowReaderPolicy> | undefined;
  /** Tunnels at one time; past it the newest is turned away. @default 4096 */
  readonly maxTunnels?: number | undefined;
  /** Peers that may be at their handshake at one time; past it the oldest is ended. @default 4096 */
  readonly maxHandshakes?: number | undefined;
  /** @default 5000 */
  readonly handshakeTimeoutMs?: number | undefined;
}

/** Takes connections of tunnel clients and hands on their streams. */
export class TunnelServer {
  readonly #options: TunnelServerOptions;
  readonly #links = new Set<MuxDriver>();
  readonly #slots: HandshakeSlots;
  readonly #handshaking = new Set<Connection>();
  #isClosing = false;
  #windowFrom = Number.NEGATIVE_INFINITY;
  #lines = 0;

  constructor(options: TunnelServerOptions) {
    this.#options = options;
    const { runtime, logger, maxHandshakes } = options;
    this.#slots = new HandshakeSlots({ runtime, logger, limit: maxHandshakes });
  }

  /** Tunnels that live now. */
  get tunnelCount(): number {
    return this.#links.size;
  }

  /** Streams on all of them. */
  get streamCount(): number {
    let count = 0;
    for (const { streamCount } of this.#links) count += streamCount;
    return count;
  }

  /** Takes a connection, paused and without a handler, from any transport. */
  accept(connection: Connection): void {
    const { maxTunnels = DEFAULT_MAX_TUNNELS } = this.#options;
    if (this.#isClosing) return this.#turnAway(connection, "ERR_SHUTDOWN", "shutting down");
    if (this.#links.size >= maxTunnels) {
      return this.#turnAway(connection, "ERR_LIMIT", `more than ${maxTunnels} tunnels`);
    }
    void this.#admit(connection);
  }

  /** Takes no new streams, lets running ones finish for `graceMs`, then ends every tunnel. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    for (const connection of this.#handshaking) {
      connection.reset(new TunnelError("ERR_SHUTDOWN", "shutting down"));
    }
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    while (this.streamCount > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    for (const link of this.#links) link.close();
  }

  #turnAway(connection: Connection, code: "ERR_SHUTDOWN" | "ERR_LIMIT", why: string): void {
    this.#warn("connection refused", { peer: connection.info.peer, phase: "accept", reason: why });
    connection.reset(new TunnelError(code, why));
  }

  async #admit(connection: Connection): Promise<void> {
    const { runtime, handshakeTimeoutMs: timeoutMs } = this.#options;
    const { peer, transport } = connection.info;
    this.#slots.enter(connection);
    this.#handshaking.add(connection);
    try {
      await acceptTunnel(connection, { runtime, timeoutMs });
      this.#startLink(connection);
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_PROTOCOL", "vproxy tunnel handshake");
      const { message: reason, hint } = error;
      this.#warn("connection refused", { peer, transport, phase: "handshake", reason, hint });
    } finally {
      this.#slots.leave(connection);
      this.#handshaking.delete(connection);
    }
  }

  #startLink(connection: Connection): void {
    const { runtime, logger, system, target, tunnel, slowReaders, onStream } = this.#options;
    const { peer: source, transport } = connection.info;
    const log = logger.child({ peer: source });
    const unsentBytes = (): number => connection.pendingBytes;
    const session = new VproxyTunnelSession("server", { ...tunnel, target, unsentBytes });
    const link: MuxDriver = new MuxDriver({
      connection,
      session,
      runtime,
      system,
      slowReaders,
      onRequest: (stream, _target, signal) => {
        if (this.#isClosing) stream.reset(new TunnelError("ERR_SHUTDOWN", "shutting down"));
        else onStream({ stream, link, source, signal });
      },
      onClose: (error) => {
        this.#links.delete(link);
        if (error === undefined) log.info("client left");
        else log.warn("client lost", { reason: error.message, hint: error.hint });
      },
    });
    this.#links.add(link);
    log.info("client connected", { transport });
    link.start(session.start(runtime.clock.now()));
  }

  /** Over UDP anybody can be a new peer: a flood of them must not become a flood of lines. */
  #warn(message: string, fields: Readonly<Record<string, unknown>>): void {
    const now = this.#options.runtime.clock.now();
    if (now - this.#windowFrom >= WINDOW_MS) {
      this.#windowFrom = now;
      this.#lines = 0;
    }
    this.#lines++;
    if (this.#lines <= MAX_LINES) this.#options.logger.warn(message, fields);
  }
}

const DEFAULT_MAX_TUNNELS = 4096;

/** How often a closing server looks whether the streams are done. */
const DRAIN_POLL_MS = 50;

const WINDOW_MS = 1000;
const MAX_LINES = 20;
