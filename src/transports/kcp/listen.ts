import type { Timer } from "../../clock/clock.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort } from "../../address/target.ts";
import { NetworkError } from "../../errors.ts";
import type { Listener, OnConnection } from "../../tunnel/connection.ts";
import type { BindUdp, DatagramSocket } from "../../tunnel/datagrams.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { Admission } from "./admission.ts";
import { KcpConnection } from "./kcp-connection.ts";
import { type KcpOptions, segmentPayloadBytes } from "./kcp-options.ts";
import { KcpSession } from "./kcp-session.ts";
import { sendDatagrams } from "./send-datagrams.ts";
import { Refusals } from "./refusals.ts";
import { opensSession } from "./segment.ts";
import { type SessionEntry, SessionTable } from "./session-table.ts";

/** Bounds of a listener: a datagram costs its sender nothing, and anybody can make up addresses. */
export interface KcpListenLimits {
  /** Sessions at one time. @default 4096 */
  readonly maxSessions: number;
  /** Of those from one address (IPv6: one /64). @default 256 */
  readonly maxSessionsPerSource: number;
  /** Of those whose peers acknowledged nothing yet. @default 1024 */
  readonly maxUnproven: number;
  /** Silence after which one of those is over. @default 10000 */
  readonly unprovenMs: number;
  /** New sessions per second in the long run. @default 200 */
  readonly newPerSecond: number;
  /** New sessions at once. @default 512 */
  readonly newBurst: number;
  /** Silence after which a session is over; 0: never. @default 180000 */
  readonly idleTimeoutMs: number;
}

/** Where and how to listen. */
export interface KcpListenOptions {
  readonly host: string;
  readonly port: number;
  readonly runtime: Runtime;
  readonly options: KcpOptions;
  readonly bindUdp: BindUdp;
  readonly logger: Logger;
  readonly limits?: Partial<KcpListenLimits> | undefined;
  /** What the system should hold of datagrams, each way, for all sessions. @default 4 MiB */
  readonly bufferBytes?: number | undefined;
  /** Takes each session when its first bytes are there, paused. */
  readonly onConnection: OnConnection;
}

/**
 * Listens for KCP sessions on a UDP port; the address and port of a peer are its session. The port
 * is free after `close` and the end of the last session.
 *
 * @throws ConfigError (`ERR_LISTEN`) when the address is taken, not ours, or not permitted
 */
export async function listenKcp(options: KcpListenOptions): Promise<Listener> {
  const { host, port, bindUdp, logger, bufferBytes = DEFAULT_BUFFER_BYTES } = options;
  const hears: { listener?: KcpListener } = {};
  const socket = await bindUdp({
    at: { host, port },
    bufferBytes,
    segmentBytes: options.options.mtuBytes,
    onDatagram: (data, from) => hears.listener?.receive(data, from),
  });
  if (socket.bufferWarning !== undefined) logger.warn(socket.bufferWarning);
  hears.listener = new KcpListener(socket, options);
  return hears.listener;
}

class KcpListener implements Listener {
  readonly address: string;
  readonly #socket: DatagramSocket;
  readonly #runtime: Runtime;
  readonly #options: KcpOptions;
  readonly #limits: KcpListenLimits;
  readonly #onConnection: OnConnection;
  readonly #sessions = new SessionTable();
  readonly #admission: Admission;
  readonly #refusals: Refusals;
  /** Peers whose sessions ended: what they still send opens no new one. Oldest first. */
  readonly #ended = new Map<string, number>();
  #sweep: Timer | undefined;
  #isClosed = false;

  constructor(
    socket: DatagramSocket,
    { runtime, options, limits, logger, onConnection }: KcpListenOptions,
  ) {
    this.address = formatHostPort(socket.local.host, socket.local.port);
    this.#socket = socket;
    this.#runtime = runtime;
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#onConnection = onConnection;
    const { newPerSecond, newBurst } = this.#limits;
    this.#admission = new Admission(runtime.clock, runtime.random, {
      perSecond: newPerSecond,
      burst: newBurst,
    });
    this.#refusals = new Refusals(runtime.clock, logger);
  }

  receive(data: Uint8Array, from: HostPort): void {
    const entry = this.#sessions.find(from.host, from.port);
    if (entry !== undefined) {
      entry.connection.receive(data);
      return;
    }
    if (this.#isClosed) return;
    const refusal = this.#refusal(data, from);
    if (refusal === undefined) this.#open(data, from);
    else this.#refusals.count(refusal);
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#closeSocketIfUnused();
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Why this datagram opens no session, cheapest reasons first; `undefined` when it does. */
  #refusal(data: Uint8Array, { host, port }: HostPort): string | undefined {
    const { conv, receiveWindow } = this.#options;
    if (!opensSession(data, { conv, window: receiveWindow })) return "notAnOpening";
    const name = `${host} ${port}`;
    if (this.#endedLately(name)) return "endedBefore";
    const { maxSessions, maxSessionsPerSource, maxUnproven } = this.#limits;
    if (this.#sessions.size >= maxSessions) return "tooManySessions";
    if (this.#sessions.unproven >= maxUnproven) return "tooManyUnproven";
    if (this.#sessions.countFrom(host) >= maxSessionsPerSource) return "tooManyOfOneSource";
    return this.#admission.admits(name) ? undefined : "tooManyAtOnce";
  }

  #open(first: Uint8Array, from: HostPort): void {
    const { clock } = this.#runtime;
    const connection = new KcpConnection({
      session: new KcpSession(this.#options, clock.now()),
      info: {
        transport: "kcp",
        local: this.address,
        peer: formatHostPort(from.host, from.port),
      },
      runtime: this.#runtime,
      windowBytes: this.#options.sendWindow * segmentPayloadBytes(this.#options),
      send: (datagrams) => sendDatagrams(this.#socket, datagrams, from),
      onOver: () => this.#remove(entry),
      onAcknowledged: () => this.#sessions.prove(entry),
      onFirstData: () => this.#onConnection(connection),
    });
    const entry: SessionEntry = { connection, from, bornAt: clock.now(), isProven: false };
    this.#sessions.add(entry);
    connection.receive(first);
    this.#sweep ??= clock.schedule(SWEEP_MS, this.#onSweep);
  }

  #remove(entry: SessionEntry): void {
    this.#sessions.remove(entry);
    const { host, port } = entry.from;
    const name = `${host} ${port}`;
    this.#ended.delete(name);
    this.#ended.set(name, this.#runtime.clock.now() + ENDED_MS);
    if (this.#ended.size > MAX_ENDED) {
      const [oldest] = this.#ended.keys();
      if (oldest !== undefined) this.#ended.delete(oldest);
    }
    this.#closeSocketIfUnused();
  }

  #endedLately(name: string): boolean {
    const until = this.#ended.get(name);
    return until !== undefined && until > this.#runtime.clock.now();
  }

  /** One look at all sessions now and then: a timer for each would cost more. */
  readonly #onSweep = (): void => {
    const now = this.#runtime.clock.now();
    const { unprovenMs, idleTimeoutMs } = this.#limits;
    for (const { connection, bornAt, isProven } of this.#sessions.entries()) {
      const quietMs = now - (connection.heardAt ?? bornAt);
      const limitMs = isProven ? idleTimeoutMs : unprovenMs;
      if (limitMs > 0 && quietMs >= limitMs) connection.reset(silence(connection, quietMs));
    }
    for (const [name, until] of this.#ended) if (until <= now) this.#ended.delete(name);
    const isQuiet = this.#sessions.size === 0 && this.#ended.size === 0;
    this.#sweep = isQuiet ? undefined : this.#runtime.clock.schedule(SWEEP_MS, this.#onSweep);
  };

  #closeSocketIfUnused(): void {
    if (!this.#isClosed || this.#sessions.size > 0) return;
    this.#sweep?.cancel();
    this.#sweep = undefined;
    this.#ended.clear();
    this.#socket.close();
  }
}

function silence({ info }: KcpConnection, ms: number): NetworkError {
  const text = `${info.transport} ${info.peer}: said nothing for ${Math.round(ms)} ms`;
  return new NetworkError("ERR_PEER_SILENT", text);
}

const DEFAULT_LIMITS: KcpListenLimits = {
  maxSessions: 4096,
  maxSessionsPerSource: 256,
  maxUnproven: 1024,
  unprovenMs: 10_000,
  newPerSecond: 200,
  newBurst: 512,
  idleTimeoutMs: 180_000,
};

const DEFAULT_BUFFER_BYTES = 4 * 1024 * 1024;

const SWEEP_MS = 1_000;

/** Longer than the retransmission of a first segment, shorter than a restart of its sender. */
const ENDED_MS = 3_000;
const MAX_ENDED = 4_096;
