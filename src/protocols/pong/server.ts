import { timingSafeEqual } from "node:crypto";
import { ProtocolError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { handshake } from "../../tunnel/handshake.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { LoginGuard } from "../../tunnel/logins.ts";
import { MuxDriver } from "../../tunnel/mux-driver.ts";
import { muxRequest } from "../../tunnel/mux-request.ts";
import type { OnRequest } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { SlowReaderPolicy } from "../../tunnel/slow-readers.ts";
import { parseHeader } from "./codec.ts";
import type { PongOptions } from "./options.ts";
import { PongSession } from "./session.ts";

/** One client a remote knows. */
export interface PongServerClient {
  /** Its name in logs, routes and permissions. */
  readonly name: string;
  /** The 16 raw bytes of its UUID. */
  readonly id: Uint8Array;
}

/** What a pong remote needs. */
export interface PongServerOptions {
  /** The name of this inbound in logs and routes. */
  readonly name: string;
  /** Who may connect; `undefined` lets everybody in (`--anonymous`). */
  readonly clients: readonly PongServerClient[] | undefined;
  /** Takes every stream's wish. */
  readonly onRequest: OnRequest;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly options?: Partial<PongOptions> | undefined;
  readonly slowReaders?: Partial<SlowReaderPolicy> | undefined;
  /** How long a peer may take over its header, ms. @default 10000 */
  readonly headerTimeoutMs?: number | undefined;
  /** Peers that may be at their header at one time; past it the newest is closed. @default 4096 */
  readonly maxHandshakes?: number | undefined;
  /** Judges an address before its header is read, and hears of failures. */
  readonly guard?: LoginGuard | undefined;
}

/** The remote: takes connections of pong locals and turns their streams into requests. */
export class PongServer {
  readonly #options: PongServerOptions;
  readonly #links = new Set<MuxDriver>();
  readonly #handshaking = new Set<Connection>();
  #isClosing = false;

  constructor(options: PongServerOptions) {
    this.#options = options;
  }

  /** Links of authenticated clients that live now. */
  get linkCount(): number {
    return this.#links.size;
  }

  /** Takes a connection, paused and without a handler, from any transport. */
  accept(connection: Connection): void {
    const { logger, maxHandshakes = DEFAULT_MAX_HANDSHAKES, guard } = this.#options;
    const { peer } = connection.info;
    const refuse = (why: string): void => {
      logger.warn("connection refused", { peer, phase: "accept", reason: why });
      connection.reset(new TunnelError("ERR_LIMIT", why));
    };
    if (this.#isClosing) return refuse("shutting down");
    if ((guard?.blockedForMs(peer) ?? 0) > 0) return refuse("too many failures from this address");
    if (this.#handshaking.size >= maxHandshakes) return refuse("too many peers at their header");
    this.#handshaking.add(connection);
    void this.#admit(connection).finally(() => this.#handshaking.delete(connection));
  }

  /** Takes no new streams, lets running ones finish for `graceMs`, then ends every link. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    for (const connection of this.#handshaking) {
      connection.reset(new TunnelError("ERR_SHUTDOWN", "shutting down"));
    }
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    const isBusy = (): boolean => [...this.#links].some((link) => link.streamCount > 0);
    while (isBusy() && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    for (const link of this.#links) link.close();
  }

  async #admit(connection: Connection): Promise<void> {
    const { runtime, logger, guard, headerTimeoutMs = DEFAULT_HEADER_TIMEOUT_MS } = this.#options;
    const { peer, transport } = connection.info;
    try {
      const header = await handshake(connection, parseHeader, {
        runtime,
        timeoutMs: headerTimeoutMs,
        phase: "pong header",
      });
      // DEVIATION(pong-go): it never looks at the version; every known local sends 0.
      if (header.version !== 0) throw new ProtocolError(`pong version ${header.version} is not 0`);
      const client = this.#identify(header.clientId);
      this.#startLink(connection, client);
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_PROTOCOL", "pong header");
      const isAuth = error.code === "ERR_AUTH";
      if (error.code !== "ERR_CONNECTION_RESET") guard?.recordFailure(peer);
      logger.warn("connection refused", {
        peer,
        transport,
        phase: isAuth ? "auth" : "header",
        reason: error.message,
        hint: error.hint,
      });
      connection.close();
    }
  }

  /** Compares with every client, so that time tells nothing about any of them. */
  #identify(id: Uint8Array): string | undefined {
    const { clients } = this.#options;
    if (clients === undefined) return undefined;
    let found: string | undefined;
    for (const client of clients) if (timingSafeEqual(client.id, id)) found = client.name;
    if (found === undefined) {
      throw new TunnelError("ERR_AUTH", "unknown client id", {
        hint: "give the client's id with --client name=id, and the same id in the client's URL",
      });
    }
    return found;
  }

  #startLink(connection: Connection, user: string | undefined): void {
    const { runtime, logger, name, options, slowReaders } = this.#options;
    const log = logger.child({ peer: connection.info.peer, ...(user ? { user } : {}) });
    const session = new PongSession({ side: "remote" }, options);
    const link: MuxDriver = new MuxDriver({
      connection,
      session,
      runtime,
      system: "pong",
      slowReaders,
      onReady: (description) => log.debug("peer known", { peerKind: description }),
      onRequest: (stream, target, signal) => {
        if (this.#isClosing) return stream.reset(new TunnelError("ERR_SHUTDOWN", "shutting down"));
        const { peer: source } = connection.info;
        const metadata = { inbound: name, source, user };
        this.#options.onRequest(muxRequest(link, stream, { target, metadata, signal }));
      },
      onClose: (error) => {
        this.#links.delete(link);
        if (error === undefined) log.info("client left");
        else log.warn("client lost", { reason: error.message, hint: error.hint });
      },
    });
    this.#links.add(link);
    log.info("client connected", { transport: connection.info.transport });
    link.start(session.start(runtime.clock.now()));
  }
}

/** As pong-go intends, and unlike it, enforced. */
const DEFAULT_HEADER_TIMEOUT_MS = 10_000;

const DEFAULT_MAX_HANDSHAKES = 4096;

/** How often a closing server looks whether the streams are done. */
const DRAIN_POLL_MS = 50;
