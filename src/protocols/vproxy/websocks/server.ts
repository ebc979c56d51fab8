import type { HostPort } from "../../../address/socks-address.ts";
import { ProtocolError, TunnelError } from "../../../errors.ts";
import { clientRequest } from "../../../tunnel/client-request.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import { handshake } from "../../../tunnel/handshake.ts";
import { Handshakes, type ReadPhase } from "../../../tunnel/handshakes.ts";
import { HandshakeSlots } from "../../../tunnel/handshake-slots.ts";
import type { Logger } from "../../../tunnel/logger.ts";
import type { LoginGuard } from "../../../tunnel/logins.ts";
import type { OnRequest, Request } from "../../../tunnel/request.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import { Authorizations } from "./authorization.ts";
import { HeldConnection } from "./held-connection.ts";
import { fieldOf, type HttpHead } from "./http-head.ts";
import { readWaiting } from "./marker.ts";
import { closeWith, sendPage, textPage } from "./send-page.ts";
import { receiveConnect, receiveRequest } from "./server-handshake.ts";
import { encodeReply, replyOf } from "./socks.ts";
import { encodeAccepted, judgeRequest, offersSocks } from "./upgrade.ts";
import { WatchedConnection } from "./watched-connection.ts";
import { pageFor, unauthorizedPage, type WebOptions } from "./web.ts";

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
  readonly unixMs: () => number;
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
  readonly #authorizations: Authorizations;
  readonly #handshakes: Handshakes;
  readonly #waiting: HandshakeSlots;
  /** Those without a stream yet. */
  readonly #early = new Set<Connection>();
  readonly #streams = new Set<Connection>();
  #isClosing = false;

  constructor(options: VproxyServerOptions) {
    this.#options = options;
    const { name, runtime, logger, users, maxWaiting = DEFAULT_MAX_WAITING } = options;
    const { handshakeTimeoutMs, maxHandshakes } = options;
    this.#authorizations = new Authorizations(users);
    const limits = { handshakeTimeoutMs, maxHandshakes };
    this.#handshakes = new Handshakes("vproxy", { name, runtime, logger, ...limits });
    this.#waiting = new HandshakeSlots({ runtime, logger, limit: maxWaiting });
  }

  /** Connections that carry a stream now. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** Connections that are upgraded and wait to be used. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Takes a connection, paused and without a handler, from any carrier. */
  accept(connection: Connection): void {
    if (this.#isClosing) {
      connection.reset(new TunnelError("ERR_SHUTDOWN", "shutting down"));
      return;
    }
    this.#serve(connection, async (read) => {
      const user = await this.#greet(connection, read);
      if (user === undefined) return;
      void this.#wait(connection, user);
    });
  }

  /** Takes nothing new, lets running streams finish for `graceMs`, then ends them. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    for (const connection of this.#early) connection.close();
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    while (this.#streams.size > 0 && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    const error = new TunnelError("ERR_SHUTDOWN", "shutting down");
    for (const stream of this.#streams) stream.reset(error);
  }

  #serve(connection: Connection, talk: (read: ReadPhase) => Promise<void>): void {
    this.#early.add(connection);
    this.#handshakes.serve(connection, async (read) => {
      try {
        await talk(read);
      } catch (thrown) {
        this.#early.delete(connection);
        throw thrown;
      }
    });
  }

  // ---- the request ----

  /** @returns who was let in; `undefined` when the peer got a page instead */
  async #greet(connection: Connection, read: ReadPhase): Promise<string | undefined> {
    const { unixMs } = this.#options;
    const { head, hasMore } = await receiveRequest(connection, { read, unixMs });
    const judged = judgeRequest(head, hasMore);
    if (judged.kind === "page") {
      await this.#showPage(connection, head);
      this.#early.delete(connection);
      return undefined;
    }
    if (judged.kind === "refused") {
      closeWith(connection, textPage(judged.status, judged.reason), unixMs());
      throw new ProtocolError(judged.reason);
    }
    const user = this.#authorize(connection, head);
    if (!offersSocks(head)) {
      closeWith(connection, textPage(400, "no supported protocol"), unixMs());
      throw new ProtocolError("upgrade request does not offer socks5");
    }
    connection.write([encodeAccepted(judged.key, unixMs())]);
    return user;
  }

  /** @throws TunnelError `ERR_AUTH` or `ERR_LIMIT`, answered */
  #authorize(connection: Connection, head: HttpHead): string {
    const { guard, unixMs } = this.#options;
    const { peer: source } = connection.info;
    const waitMs = guard?.blockedForMs(source) ?? 0;
    if (waitMs > 0) {
      // Not 401: a client with the right password would take that for the last word.
      const seconds = Math.ceil(waitMs / 1_000);
      const page = textPage(429, "too many failed logins", [["Retry-After", String(seconds)]]);
      closeWith(connection, page, unixMs());
      throw new TunnelError("ERR_LIMIT", "too many failed logins from this address", {
        hint: `wait ${seconds} s, then try with the right password`,
      });
    }
    const found = this.#check(connection, head);
    if (!(found instanceof TunnelError)) return found.user;
    guard?.recordFailure(source);
    closeWith(connection, unauthorizedPage(), unixMs());
    throw found;
  }

  #check(connection: Connection, head: HttpHead): ReturnType<Authorizations["check"]> {
    const { unixMs } = this.#options;
    const { peer: source } = connection.info;
    const header = fieldOf(head, "authorization");
    return this.#authorizations.check(header, { source, unixMs: unixMs() });
  }

  async #showPage(connection: Connection, head: HttpHead): Promise<void> {
    const { runtime, logger, unixMs, guard, web = {} } = this.#options;
    const { peer } = connection.info;
    const isAuthorized = (): boolean => {
      if ((guard?.blockedForMs(peer) ?? 0) > 0) return false;
      const isRight = !(this.#check(connection, head) instanceof TunnelError);
      if (!isRight) guard?.recordFailure(peer);
      return isRight;
    };
    const page = await pageFor({ head, runtime, isAuthorized }, web);
    logger.debug("page shown", { peer, status: page.status });
    await sendPage(connection, page, { runtime, unixMs: unixMs() });
  }

  // ---- upgraded ----

  /** Waits until the connection is used: its PONGs keep it. */
  async #wait(connection: Connection, user: string): Promise<void> {
    const { runtime, logger, waitingTimeoutMs: timeoutMs = DEFAULT_WAITING_MS } = this.#options;
    this.#waiting.enter(connection);
    try {
      const bounds = { runtime, timeoutMs, phase: "vproxy connection that waits" };
      while ((await handshake(connection, readWaiting, bounds)) === "pong");
    } catch (thrown) {
      // Clients end what they do not need any more.
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      logger.debug("waiting connection ended", { peer: connection.info.peer, user, reason });
      this.#early.delete(connection);
      connection.close();
      return;
    } finally {
      this.#waiting.leave(connection);
    }
    this.#serve(connection, async (read) => {
      const place = await receiveConnect(connection, read);
      this.#early.delete(connection);
      this.#ask(connection, place, user);
    });
  }

  #ask(connection: Connection, { host, port }: HostPort, user: string): void {
    const { name, onRequest } = this.#options;
    const asked = clientRequest(connection, {
      target: { network: "tcp", host, port },
      metadata: { inbound: name, source: connection.info.peer, user },
      onAccept: () => void connection.write([encodeReply(0x00, port)]),
      onReject: (_, { code }) => {
        connection.write([encodeReply(replyOf(code), port)]);
        connection.close();
      },
      endMeans: "gone",
    });
    const request: Request = {
      target: asked.target,
      metadata: asked.metadata,
      signal: asked.signal,
      accept: () => this.#accepted(asked.accept()),
      reject: (error) => asked.reject(error),
    };
    onRequest(request);
  }

  #accepted(connection: Connection): Connection {
    const { runtime, holdMs = DEFAULT_HOLD_MS } = this.#options;
    const { clock } = runtime;
    const inner = holdMs === 0 ? connection : new HeldConnection(connection, { clock, holdMs });
    const stream: Connection = new WatchedConnection(inner, () => this.#streams.delete(stream));
    this.#streams.add(stream);
    return stream;
  }
}

const DEFAULT_HOLD_MS = 250;

const DEFAULT_MAX_WAITING = 16_384;

/** What the original gives every connection. */
const DEFAULT_WAITING_MS = 900_000;

/** How often a closing server looks whether the streams are done. */
const DRAIN_POLL_MS = 50;
