import { randomUUID } from "node:crypto";
import { ConfigError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { LoginGuard } from "../../tunnel/logins.ts";
import { MuxDriver } from "../../tunnel/mux-driver.ts";
import { muxPacketRequest, muxRequest } from "../../tunnel/mux-request.ts";
import type { Metadata, OnRequest, OnPacketRequest } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { SlowReaderPolicy } from "../../tunnel/slow-readers.ts";
import { Api } from "./api.ts";
import { encodeMessage } from "./codec.ts";
import { ConnectorWishes } from "./connector-wishes.ts";
import { DirectSignalling } from "./direct-signalling.ts";
import {
  answerHttp,
  type HttpAnswer,
  type HttpQuestion,
  isBelow,
  SOCKET_PATH,
} from "./http-surface.ts";
import { Hub, type OutboundBook } from "./hub.ts";
import type { ControlMessage } from "./messages.ts";
import type { LinkSocksOptions } from "./options.ts";
import { Peer } from "./peer.ts";
import { PeerWords } from "./peer-words.ts";
import type { Balance } from "./providers.ts";
import { ServerApi, type ServerApiOptions } from "./server-api.ts";
import { type Login, type LoginBook, readLogin } from "./server-login.ts";
import { LinkSocksSession } from "./session.ts";
import { ANONYMOUS, type ReverseToken, TokenTable } from "./tokens.ts";
import { WrongTokens } from "./wrong-tokens.ts";

/** A token of the configuration. */
export interface NamedToken {
  readonly name: string;
  readonly token: string;
}

/** What a LinkSocks server needs. */
export interface LinkSocksServerOptions {
  /** The name of this inbound in logs and routes. */
  readonly name: string;
  /** Where WebSockets are taken, and below. @default "/socket" */
  readonly path?: string | undefined;
  /** Whose targets we dial. */
  readonly clients: readonly NamedToken[];
  /** Who dials targets; the name is also that of the way out. */
  readonly providers: readonly (NamedToken & { readonly autonomy: boolean })[];
  /** Whose targets a provider dials. */
  readonly connectors: readonly (NamedToken & { readonly provider: string })[];
  /** Lets clients in that have no token; as providers if one is named `anonymous`. */
  readonly anonymous: boolean;
  readonly onRequest: OnRequest;
  readonly onPacketRequest?: OnPacketRequest | undefined;
  readonly outbounds: OutboundBook;
  readonly runtime: Runtime;
  readonly wallTime: () => Date;
  readonly logger: Logger;
  /** The HTTP API; absent: there is none. */
  readonly api?:
    | {
        readonly key: string;
        readonly version: string;
        readonly openPort: ServerApiOptions["openPort"];
      }
    | undefined;
  readonly options?: Partial<LinkSocksOptions> | undefined;
  readonly slowReaders?: Partial<SlowReaderPolicy> | undefined;
  /** Whether the signalling of the direct mode is relayed. @default true */
  readonly direct?: boolean | undefined;
  /** How long a request waits for a provider, ms. @default 10000, for connectors 5000 */
  readonly waitMs?: number | undefined;
  /** @default "roundrobin" */
  readonly balance?: Balance | undefined;
  /** How long the connectors of an autonomous provider outlive it, ms. @default 600000 */
  readonly keepConnectorsMs?: number | undefined;
  /** How long a peer may take over its Auth message, ms. @default 10000 */
  readonly loginTimeoutMs?: number | undefined;
  /** Peers that may be at their login at one time; past it the newest is closed. @default 4096 */
  readonly maxLogins?: number | undefined;
  /** Peers at one time. @default 16384 */
  readonly maxPeers?: number | undefined;
  /** Judges an address before its login is read, and hears of failures. */
  readonly guard?: LoginGuard | undefined;
}

/** The server: forward clients, providers, and connectors, who find each other here. */
export class LinkSocksServer {
  readonly #options: LinkSocksServerOptions;
  readonly #book: LoginBook;
  readonly #hub: Hub;
  readonly #wishes: ConnectorWishes;
  readonly #signalling: DirectSignalling;
  readonly #serverApi: ServerApi | undefined;
  readonly #api: Api | undefined;
  readonly #loggingIn = new Set<Connection>();
  readonly #wrong = new WrongTokens();
  #isClosing = false;

  /** @throws ConfigError when tokens collide, or a connector names no provider */
  constructor(options: LinkSocksServerOptions) {
    this.#options = options;
    const { name, runtime, logger, outbounds, guard, balance, waitMs, api } = options;
    const tokens = new TokenTable();
    const isDirectEnabled = options.direct ?? true;
    this.#hub = new Hub({
      tokens,
      outbounds,
      runtime,
      logger,
      balance,
      waitMs: ({ inbound }) => waitMs ?? (inbound === name ? CONNECTOR_WAIT_MS : PROXY_WAIT_MS),
      keepConnectorsMs: options.keepConnectorsMs ?? KEEP_CONNECTORS_MS,
    });
    const providers = addTokens(tokens, options);
    for (const provider of providers.values()) this.#hub.open(provider);
    const anonymousProvider = providers.get(ANONYMOUS);
    this.#book = { tokens, anonymous: options.anonymous, anonymousProvider };
    this.#wishes = new ConnectorWishes({ tokens, hub: this.#hub, guard });
    const { clock } = runtime;
    const { wallTime } = options;
    this.#signalling = new DirectSignalling({ isEnabled: isDirectEnabled, clock, wallTime });
    if (api === undefined) return;
    const hub = this.#hub;
    this.#serverApi = new ServerApi({ ...api, name, tokens, hub, logger, isDirectEnabled });
    this.#api = new Api(this.#serverApi, api.key);
  }

  /** WebSockets of authenticated peers that live now. */
  get peerCount(): number {
    return this.#hub.peers.size;
  }

  /** Takes a WebSocket in message framing, paused and without a handler, and where it asked for. */
  accept(connection: Connection, path: string): void {
    const { logger, maxLogins = DEFAULT_MAX_LOGINS, maxPeers = DEFAULT_MAX_PEERS } = this.#options;
    const { peer } = connection.info;
    const refuse = (why: string): void => {
      logger.warn("connection refused", { peer, phase: "accept", reason: why });
      connection.reset(new TunnelError("ERR_LIMIT", why));
    };
    if (this.#isClosing) return refuse("shutting down");
    const blockedMs = this.#options.guard?.blockedForMs(peer) ?? 0;
    if (blockedMs > 0) return refuse("too many failures from this address");
    if (this.#loggingIn.size >= maxLogins) return refuse("too many peers at their login");
    if (this.peerCount >= maxPeers) return refuse(`${maxPeers} peers are here already`);
    this.#loggingIn.add(connection);
    void this.#admit(connection, path).finally(() => this.#loggingIn.delete(connection));
  }

  /** Answers what is no WebSocket. */
  async answer(question: HttpQuestion): Promise<HttpAnswer> {
    const { path: socketPath = SOCKET_PATH } = this.#options;
    return await answerHttp(question, { socketPath, api: this.#api });
  }

  /** Whether WebSockets are taken on this path. */
  isSocket(path: string): boolean {
    return isBelow(path, this.#options.path ?? SOCKET_PATH);
  }

  /** Takes no new channels, lets running ones finish for `graceMs`, then ends every WebSocket. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const error = new TunnelError("ERR_SHUTDOWN", "shutting down");
    for (const connection of this.#loggingIn) connection.reset(error);
    await this.#serverApi?.close();
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    const { peers } = this.#hub;
    const isBusy = (): boolean => [...peers].some(({ driver }) => driver.streamCount > 0);
    while (isBusy() && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    for (const { driver } of peers) driver.close();
    this.#hub.close();
  }

  async #admit(connection: Connection, path: string): Promise<void> {
    const { runtime, logger, guard, loginTimeoutMs = DEFAULT_LOGIN_TIMEOUT_MS } = this.#options;
    const { peer, transport } = connection.info;
    let isGuess = true;
    try {
      const login = await readLogin(connection, path, this.#book, {
        runtime,
        timeoutMs: loginTimeoutMs,
      });
      if (login.role === "nobody") {
        isGuess = this.#wrong.isNew(login.attempt);
        throw login.error;
      }
      const { token } = login;
      if (token !== undefined && this.#book.tokens.find(token.secret) !== token) {
        throw new TunnelError("ERR_AUTH", "invalid token"); // removed in this very moment
      }
      this.#startLink(connection, login);
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_PROTOCOL", "login");
      const isAnswered = error.code === "ERR_AUTH" || error.code === "ERR_PROTOCOL";
      if (isGuess && error.code !== "ERR_CONNECTION_RESET") guard?.recordFailure(peer);
      logger.warn("connection refused", {
        peer,
        transport,
        phase: "login",
        reason: error.message,
        hint: error.hint,
      });
      if (isAnswered) {
        connection.write([encodeMessage({ type: "authResponse", error: error.message })]);
      }
      connection.close();
    }
  }

  #startLink(connection: Connection, login: Login): void {
    const { runtime, logger, options, slowReaders } = this.#options;
    const { role, token } = login;
    const isProvider = role === "provider";
    const user = token?.name;
    const log = logger.child({ peer: connection.info.peer, ...(user && { user }), role });
    const words = new PeerWords(log, runtime.clock);
    const session = new LinkSocksSession(
      { takesStreams: !isProvider, opensStreams: isProvider },
      { newId: randomUUID, memory: runtime.slabs, ...options },
    );
    const driver = new MuxDriver<ControlMessage>({
      connection,
      session,
      runtime,
      system: "linksocks",
      slowReaders,
      onReady: (description) => log.debug("peer known", { peerKind: description }),
      onRequest: (stream, target, signal) => {
        if (this.#isClosing) return stream.reset(new TunnelError("ERR_SHUTDOWN", "shutting down"));
        const metadata = this.#metadataOf(peer);
        this.#options.onRequest(muxRequest(driver, stream, { target, metadata, signal }));
      },
      onPacketRequest: (channel, signal) => {
        const { onPacketRequest } = this.#options;
        if (this.#isClosing || onPacketRequest === undefined) {
          const why = this.#isClosing ? "shutting down" : "datagrams are not carried here";
          return channel.close(new TunnelError("ERR_COMMAND_UNSUPPORTED", why));
        }
        const metadata = this.#metadataOf(peer);
        onPacketRequest(muxPacketRequest(driver, channel, { metadata, signal }));
      },
      onMessage: (message) => {
        if (message.type === "connector") this.#wishes.hear(peer, message);
        else this.#signalling.hear(peer, message);
        if (message.type === "log") words.hear(message);
      },
      onClose: (error) => {
        this.#hub.leave(peer);
        if (error === undefined) log.info("peer left");
        else log.warn("peer lost", { reason: error.message, hint: error.hint });
      },
    });
    const group = this.#hub.groupOf(login);
    const peer: Peer = new Peer({ role, token, group, connection, driver, session, logger: log });
    log.info("peer connected", { transport: connection.info.transport });
    // The welcome is the very first message, whatever else there is to say.
    connection.write([encodeMessage({ type: "authResponse", error: undefined })]);
    this.#signalling.greet(peer);
    driver.start(session.start(runtime.clock.now()));
    this.#hub.join(peer);
  }

  /** A connector's way out is its provider, wherever routes lead. */
  #metadataOf({ address, token, role, group }: Peer): Metadata {
    const via = role === "connector" ? group?.pool.name : undefined;
    return { inbound: this.#options.name, source: address, user: token?.name, via };
  }
}

/** The tokens of the configuration. @returns its providers by name */
function addTokens(
  tokens: TokenTable,
  { clients, providers, connectors }: LinkSocksServerOptions,
): Map<string, ReverseToken> {
  const origin = "configuration";
  const named = <Result>(what: string, add: () => Result): Result => {
    try {
      return add();
    } catch (thrown) {
      const { message } = toTunnelError(thrown, "ERR_CONFIG", what);
      throw new ConfigError(`${what}: ${message}`, { cause: thrown });
    }
  };
  for (const { name, token: secret } of clients) {
    named(`client "${name}"`, () => tokens.add({ kind: "forward", name, origin, secret }));
  }
  const reverses = new Map<string, ReverseToken>();
  for (const { name, token: secret, autonomy } of providers) {
    const add = (): ReverseToken => tokens.add({ kind: "reverse", name, origin, secret, autonomy });
    reverses.set(name, named(`provider "${name}"`, add));
  }
  for (const { name, token: secret, provider } of connectors) {
    named(`connector "${name}"`, () => {
      const reverse = reverses.get(provider);
      if (reverse === undefined) throw new ConfigError(`there is no provider "${provider}"`);
      tokens.add({ kind: "connector", name, origin, secret, reverse });
    });
  }
  return reverses;
}

/** Spec: linksocks 3.1. */
const PROXY_WAIT_MS = 10_000;
const CONNECTOR_WAIT_MS = 5_000;

/** Long enough for a restart; its connectors would take a refusal for good. */
const KEEP_CONNECTORS_MS = 600_000;

/** The reference waits for ever. */
const DEFAULT_LOGIN_TIMEOUT_MS = 10_000;

const DEFAULT_MAX_LOGINS = 4_096;

const DEFAULT_MAX_PEERS = 16_384;

/** How often a closing server looks whether the channels are done. */
const DRAIN_POLL_MS = 50;
