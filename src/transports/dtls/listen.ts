import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort } from "../../address/target.ts";
import { NetworkError, PolicyError, toTunnelError, type TunnelError } from "../../errors.ts";
import type { Listener } from "../../tunnel/connection.ts";
import type { DatagramConnection } from "../../tunnel/datagram-connection.ts";
import type { BindUdp, DatagramSocket } from "../../tunnel/datagrams.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { AlertDescription, encodeFatal } from "./alerts.ts";
import { CertificateVerifier } from "./certificates.ts";
import { helloVerifyRequest, peekClientHello, type PeekedHello } from "./client-hello-peek.ts";
import { readClientHello, type ReceivedClientHello } from "./client-hello.ts";
import { Cookies } from "./cookies.ts";
import { DtlsConnection } from "./dtls-connection.ts";
import type { DtlsServerOptions } from "./dtls-options.ts";
import { HandshakeType } from "./handshake-messages.ts";
import { readOwnCertificate } from "./own-certificate.ts";
import { ContentType, encodeRecord, RECORD_HEADER_BYTES } from "./records.ts";
import { DtlsServerSession } from "./server-session.ts";
import { nameOf, type SessionEntry, SessionTable, sourceOf } from "./session-table.ts";
import { type Limit, TurnedAway } from "./turned-away.ts";

/** Bounds of a listener. Nothing is kept for an address before it showed a cookie. */
export interface DtlsListenLimits {
  /** Handshakes that are not done. @default 1024 */
  readonly maxHalfOpen: number;
  /** Of those from one address (IPv6: one /64). @default 64 */
  readonly maxHalfOpenPerSource: number;
  /** Sessions whose handshake is done. @default 4096 */
  readonly maxSessions: number;
  /** Of those with one client's key; without certificates, from one address. @default 1024 */
  readonly maxSessionsPerClient: number;
}

/** Where and how to listen. */
export interface DtlsListenOptions {
  readonly at: HostPort;
  readonly runtime: Runtime;
  /** Read anew for every handshake. */
  readonly dtls: DtlsServerOptions;
  readonly bindUdp: BindUdp;
  readonly limits?: Partial<DtlsListenLimits> | undefined;
  /** Hears why a handshake came to nothing, and now and then how many were turned away. */
  readonly onHandshakeError?: ((error: TunnelError) => void) | undefined;
  /** Takes each session when its handshake is done. */
  readonly onConnection: (connection: DatagramConnection) => void;
}

/**
 * Listens for DTLS on a UDP port; the address and port of a peer are its session. The port is free
 * after `close` and the end of the last session.
 *
 * @throws ConfigError when the address is taken, not ours, or not permitted (`ERR_LISTEN`), or when
 *   certificate, key or CA cannot work
 */
export async function listenDtls(options: DtlsListenOptions): Promise<Listener> {
  checkCredentials(options.dtls);
  const hears: { listener?: DtlsListener } = {};
  const socket = await options.bindUdp({
    at: options.at,
    onDatagram: (data, from) => hears.listener?.receive(data, from),
  });
  hears.listener = new DtlsListener(socket, options);
  return hears.listener;
}

class DtlsListener implements Listener {
  readonly address: string;
  readonly #socket: DatagramSocket;
  readonly #options: DtlsListenOptions;
  readonly #limits: DtlsListenLimits;
  readonly #cookies: Cookies;
  readonly #sessions = new SessionTable();
  readonly #turnedAway: TurnedAway;
  #isClosed = false;

  constructor(socket: DatagramSocket, options: DtlsListenOptions) {
    const { clock } = options.runtime;
    this.address = formatHostPort(socket.local.host, socket.local.port);
    this.#socket = socket;
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#cookies = new Cookies(clock, options.dtls.random);
    this.#turnedAway = new TurnedAway(clock, this.address, (error) => this.#tell(error));
  }

  receive(data: Uint8Array, from: HostPort): void {
    const name = nameOf(from);
    const hello = peekClientHello(data);
    if (hello === undefined) this.#deliver(data, from, name);
    else this.#greet({ hello, data, from, name });
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const { connection } of this.#sessions.entries()) {
      if (!connection.isEstablished) connection.close();
    }
    this.#closeSocketIfUnused();
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #deliver(data: Uint8Array, from: HostPort, name: string): void {
    const current = this.#sessions.current(name);
    const successor = this.#sessions.successor(name);
    if (successor === undefined) {
      if (current !== undefined) current.connection.receive(data);
      else if (isLastFlight(data)) this.#socket.send(ORPHANED, from);
      return;
    }
    successor.connection.receive(data);
    // The peer began anew: no flight of the old session is repeated any more.
    if (!isPlain(data)) current?.connection.receive(data);
  }

  /** A ClientHello: a repeated one is for its session, one with our cookie opens one. */
  #greet(greeting: Greeting): void {
    const { hello, data, from, name } = greeting;
    for (const entry of [this.#sessions.successor(name), this.#sessions.current(name)]) {
      if (entry === undefined || Buffer.compare(entry.helloStart, hello.start) !== 0) continue;
      // Without its cookie it was on its way for long: its session is past that.
      if (hello.cookie.byteLength > 0) entry.connection.receive(data);
      return;
    }
    if (this.#isClosed) return;
    if (!this.#cookies.accepts(hello, from)) {
      const cookie = this.#cookies.make(hello, from);
      this.#socket.send(helloVerifyRequest(hello, cookie), from);
      return;
    }
    this.#giveUpUnfinished(name);
    const limit = this.#limitReached(from);
    if (limit === undefined) this.#open(greeting);
    else this.#turnedAway.count(limit);
  }

  /** A handshake that its peer began anew. */
  #giveUpUnfinished(name: string): void {
    for (const entry of [this.#sessions.successor(name), this.#sessions.current(name)]) {
      if (entry === undefined || entry.connection.isEstablished) continue;
      const text = `${entry.connection.info.peer}: dtls handshake: the peer began another one`;
      entry.connection.abandon(new NetworkError("ERR_CONNECTION_RESET", text));
    }
  }

  #limitReached({ host }: HostPort): Limit | undefined {
    const { maxHalfOpen, maxHalfOpenPerSource, maxSessions } = this.#limits;
    if (this.#sessions.established >= maxSessions) return "sessions";
    if (this.#sessions.halfOpen >= maxHalfOpen) return "halfOpen";
    const isCrowded = this.#sessions.halfOpenFrom(sourceOf(host)) >= maxHalfOpenPerSource;
    return isCrowded ? "halfOpenOfOneSource" : undefined;
  }

  #open({ hello, data, from, name }: Greeting): void {
    const whole = readClientHello(data);
    if (whole === undefined) return;
    const { runtime } = this.#options;
    const peer = formatHostPort(from.host, from.port);
    const session = this.#session(whole, peer);
    if (session === undefined) return;
    const connection = new DtlsConnection({
      session,
      info: { transport: "dtls", local: this.address, peer },
      runtime,
      send: (datagrams) => {
        for (const datagram of datagrams) this.#socket.send(datagram, from);
      },
      onEstablished: () => this.#onEstablished(entry),
      onOver: (error) => this.#onOver(entry, error),
    });
    const entry: SessionEntry = {
      connection,
      name,
      source: sourceOf(from.host),
      helloStart: Uint8Array.from(hello.start),
    };
    this.#sessions.add(entry);
    connection.start();
  }

  /** `undefined` when certificate or key were replaced by ones that cannot work. */
  #session(hello: ReceivedClientHello, peer: string): DtlsServerSession | undefined {
    const { runtime, dtls } = this.#options;
    try {
      return new DtlsServerSession(dtls, hello, runtime.clock.now());
    } catch (thrown) {
      this.#tell(toTunnelError(thrown, "ERR_TLS", `${peer}: dtls handshake`));
      return undefined;
    }
  }

  #onEstablished(entry: SessionEntry): void {
    const { connection, source } = entry;
    const { maxSessions, maxSessionsPerClient } = this.#limits;
    const { identity, info } = connection;
    const client = identity?.pin ?? source;
    const former = this.#sessions.establish(entry, client);
    if (former !== undefined) {
      const text = `${info.peer}: dtls: the peer began another session from the same address`;
      former.connection.abandon(new NetworkError("ERR_CONNECTION_RESET", text));
    }
    const isFull = this.#sessions.established > maxSessions;
    if (isFull || this.#sessions.establishedOf(client) > maxSessionsPerClient) {
      const most = isFull ? `${maxSessions} sessions` : `${maxSessionsPerClient} of this client`;
      const who = identity === undefined ? "" : ` (${identity.name})`;
      const text = `${info.peer}${who}: dtls: refused: ${most} at one time`;
      const error = new PolicyError("ERR_LIMIT", text);
      this.#tell(error);
      connection.close(error);
      return;
    }
    this.#options.onConnection(connection);
  }

  #onOver(entry: SessionEntry, error: TunnelError | undefined): void {
    const wasHalfOpen = entry.client === undefined;
    this.#sessions.remove(entry);
    if (wasHalfOpen && error !== undefined) this.#tell(error);
    this.#closeSocketIfUnused();
  }

  #tell(error: TunnelError): void {
    this.#options.onHandshakeError?.(error);
  }

  #closeSocketIfUnused(): void {
    if (this.#isClosed && this.#sessions.size === 0) this.#socket.close();
  }
}

/** @throws ConfigError when a handshake could not even begin */
function checkCredentials({ cert, key, ca, pins }: DtlsServerOptions): void {
  readOwnCertificate(cert, key);
  const asks = ca !== undefined || pins !== undefined;
  void (asks && new CertificateVerifier({ role: "client", ca, pins }));
}

/** A ClientHello that arrived. */
interface Greeting {
  readonly hello: PeekedHello;
  readonly data: Uint8Array;
  readonly from: HostPort;
  /** {@link nameOf} where it came from. */
  readonly name: string;
}

/** Whether a datagram begins like a client's last flight. */
function isLastFlight(data: Uint8Array): boolean {
  if (!isPlain(data) || data[0] !== ContentType.handshake) return false;
  const type = data[RECORD_HEADER_BYTES];
  return type === HandshakeType.certificate || type === HandshakeType.clientKeyExchange;
}

/** Whether a datagram begins with a record of epoch 0. */
function isPlain(data: Uint8Array): boolean {
  return data[3] === 0 && data[4] === 0;
}

/**
 * For a handshake that is not known, or not any more: the reference's client repeats its last flight
 * for ever, and keeps its whole UDP route waiting meanwhile. Shorter than what it answers. The number
 * is one that no handshake comes to: numbers that were seen are dropped.
 */
const ORPHANED = encodeRecord(
  ContentType.alert,
  0,
  2 ** 32,
  encodeFatal(AlertDescription.unexpectedMessage),
);

const DEFAULT_LIMITS: DtlsListenLimits = {
  maxHalfOpen: 1_024,
  maxHalfOpenPerSource: 64,
  maxSessions: 4_096,
  maxSessionsPerClient: 1_024,
};
