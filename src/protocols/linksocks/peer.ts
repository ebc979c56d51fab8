import { randomUUID } from "node:crypto";
import type { Timer } from "../../clock/clock.ts";
import type { TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { MuxDriver } from "../../tunnel/mux-driver.ts";
import type {
  ControlMessage,
  DirectCapabilities,
  DirectRendezvous,
  DirectStatus,
} from "./messages.ts";
import type { ProviderPool } from "./providers.ts";
import type { LinkSocksSession } from "./session.ts";
import type { ReverseToken, Token } from "./tokens.ts";

/** What a {@link Peer} is made of. */
export interface PeerOptions {
  readonly role: "forward" | "connector" | "provider";
  /** `undefined`: anonymous. */
  readonly token: Token | undefined;
  /** Of a provider: where it belongs. Of a connector: whom it reaches. */
  readonly group: ProviderGroup | undefined;
  readonly connection: Connection;
  readonly driver: MuxDriver<ControlMessage>;
  readonly session: LinkSocksSession;
  readonly logger: Logger;
}

/** One authenticated WebSocket of a server. A client of several threads is several peers. */
export class Peer {
  /** UUID text, for the HTTP API. */
  readonly id: string = randomUUID();
  readonly role: PeerOptions["role"];
  readonly driver: MuxDriver<ControlMessage>;
  readonly logger: Logger;
  /** A connector's token changes its owner when another instance takes it over. */
  token: Token | undefined;
  group: ProviderGroup | undefined;
  /** What it said about the direct mode. */
  readonly direct: DirectNotes = { isCapable: false };
  readonly #connection: Connection;
  readonly #session: LinkSocksSession;
  #isGone = false;

  constructor({ role, token, group, connection, driver, session, logger }: PeerOptions) {
    this.role = role;
    this.token = token;
    this.group = group;
    this.driver = driver;
    this.logger = logger;
    this.#connection = connection;
    this.#session = session;
  }

  /** `host:port`. */
  get address(): string {
    return this.#connection.info.peer;
  }

  /** Bytes that wait for it to listen. */
  get pendingBytes(): number {
    return this.#connection.pendingBytes;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  send(message: ControlMessage): void {
    this.driver.run(() => this.#session.send(message));
  }

  /** Its WebSocket has ended. */
  gone(): void {
    this.#isGone = true;
  }

  /** Ends its WebSocket and every channel on it now. */
  abort(error: TunnelError): void {
    this.driver.abort(error);
  }
}

/** What is known of a peer's direct mode. */
export interface DirectNotes {
  /** Whether it said that it can. */
  isCapable: boolean;
  capabilities?: DirectCapabilities;
  rendezvous?: DirectRendezvous;
  status?: DirectStatus;
  /** Wall time. */
  updatedAt?: Date;
}

/**
 * Providers that serve the same connectors: those of one reverse token, or, where providers are
 * autonomous, the WebSockets of one instance.
 */
export interface ProviderGroup {
  readonly reverse: ReverseToken;
  /** UUID text; absent: every provider of the token. */
  readonly instance: string | undefined;
  readonly pool: ProviderPool;
  readonly providers: Set<Peer>;
  readonly connectors: Set<Peer>;
  /** Runs while an instance is away whose connectors are kept for it. */
  farewell?: Timer | undefined;
}
