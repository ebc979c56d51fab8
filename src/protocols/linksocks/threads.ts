import { randomUUID } from "node:crypto";
import { TunnelError } from "../../errors.ts";
import type { Target } from "../../address/target.ts";
import type { BackoffLimits } from "../../tunnel/backoff.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { KeptLink } from "../../tunnel/kept-link.ts";
import type { Logger } from "../../tunnel/logger.ts";
import { MuxDriver } from "../../tunnel/mux-driver.ts";
import type { MuxPackets } from "../../tunnel/mux-packets.ts";
import type { MuxStream } from "../../tunnel/mux-stream.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { SlowReaderPolicy } from "../../tunnel/slow-readers.ts";
import { isRefusal, type LoginOptions, logIn } from "./client-login.ts";
import type { ControlMessage } from "./messages.ts";
import type { LinkSocksOptions, LinkSocksRole } from "./options.ts";
import { PeerNotes } from "./peer-notes.ts";
import { LinkSocksSession } from "./session.ts";

/** What dialling in needs, whatever for. */
export interface LinkSocksDialOptions {
  /** Its name in logs and routes. */
  readonly name: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** Opens one WebSocket of messages to the server. */
  readonly dial: (signal: AbortSignal) => Promise<Connection>;
  /** How long dialling and login may take together, ms. @default 15000 */
  readonly dialTimeoutMs?: number | undefined;
  readonly login: LoginOptions;
  /** WebSockets at one time, 1 to 64. @default 1 */
  readonly threads?: number | undefined;
  readonly session?: Partial<LinkSocksOptions> | undefined;
  readonly slowReaders?: Partial<SlowReaderPolicy> | undefined;
  readonly backoff?: BackoffLimits | undefined;
  /** Tries again also after a refusal. @default false */
  readonly retryAuth?: boolean | undefined;
  onStatus?(status: LinkSocksStatus): void;
  /** The server said no for good. */
  onRefused?(error: TunnelError): void;
}

/** How a tunnel is doing. */
export interface LinkSocksStatus {
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  readonly detail: string;
  /** How long the last dial and login took, ms. */
  readonly latencyMs: number | undefined;
  readonly links: number;
  readonly streams: number;
}

/** Several WebSockets of one instance, each kept up by itself. A stream stays on its own. */
export class Threads {
  readonly #options: LinkSocksDialOptions;
  readonly #work: ThreadWork;
  readonly #links: readonly KeptLink<MuxDriver<ControlMessage>>[];
  readonly #notes: PeerNotes;
  #refusal: TunnelError | undefined;
  #isClosed = false;

  constructor(options: LinkSocksDialOptions, work: ThreadWork) {
    this.#options = options;
    this.#work = work;
    const { name, logger, runtime, threads = 1 } = options;
    this.#notes = new PeerNotes({ name, logger, clock: runtime.clock });
    this.#links = Array.from({ length: threads }, (_, index) => this.#makeLink(index));
  }

  /** Why there is no use in waiting. */
  get refusal(): TunnelError | undefined {
    return this.#refusal;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get lastError(): TunnelError | undefined {
    return this.#links.find(({ lastError }) => lastError !== undefined)?.lastError;
  }

  start(): void {
    for (const link of this.#links) link.start();
  }

  /** The open WebSocket with the fewest streams. */
  freest(): MuxDriver<ControlMessage> | undefined {
    let best: MuxDriver<ControlMessage> | undefined;
    for (const { link } of this.#links) {
      if (link?.isOpen && (best === undefined || link.streamCount < best.streamCount)) best = link;
    }
    return best;
  }

  status(): LinkSocksStatus {
    const live = this.#links.flatMap(({ link }) => link ?? []);
    const streams = live.reduce((sum, { streamCount }) => sum + streamCount, 0);
    const latencyMs = this.#links.find(({ dialMs }) => dialMs !== undefined)?.dialMs;
    const base = { latencyMs, links: live.length, streams };
    const reason = this.lastError?.message;
    if (this.#refusal !== undefined) {
      return { state: "closed", detail: this.#refusal.message, ...base };
    }
    if (this.#isClosed) return { state: "closed", detail: "closed", ...base };
    if (live.length > 0) return { state: "up", detail: this.#notes.summary, ...base };
    if (reason !== undefined) return { state: "down", detail: reason, ...base };
    const isIdle = this.#links.every(({ state }) => state === "idle");
    return isIdle
      ? { state: "idle", detail: "dials when needed", ...base }
      : { state: "connecting", detail: "", ...base };
  }

  async close(graceMs: number): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { clock } = this.#options.runtime;
    const until = clock.now() + graceMs;
    const isBusy = (): boolean => this.#links.some(({ link }) => (link?.streamCount ?? 0) > 0);
    while (isBusy() && clock.now() < until) {
      await new Promise<void>((resolve) => void clock.schedule(DRAIN_POLL_MS, resolve));
    }
    for (const link of this.#links) link.close();
    this.#changed();
  }

  #makeLink(index: number): KeptLink<MuxDriver<ControlMessage>> {
    const { runtime, logger, name, login, dial, dialTimeoutMs, backoff, retryAuth } = this.#options;
    return new KeptLink({
      name,
      runtime,
      logger,
      connect: async (signal) => await logIn(await dial(signal), login, { runtime, signal }),
      run: (connection, onClose) => this.#run(index, connection, onClose),
      isFinal: (error) => retryAuth !== true && isRefusal(error),
      dialTimeoutMs,
      backoff,
      onChange: () => this.#changed(),
      onFinal: (error) => this.#refused(error),
    });
  }

  #run(
    index: number,
    connection: Connection,
    onClose: (error: TunnelError | undefined) => void,
  ): MuxDriver<ControlMessage> {
    const { runtime, slowReaders, session: options } = this.#options;
    const session = new LinkSocksSession(this.#work.role, {
      newId: randomUUID,
      memory: runtime.slabs,
      ...options,
    });
    const driver = new MuxDriver<ControlMessage>({
      connection,
      session,
      runtime,
      system: "linksocks",
      slowReaders,
      onRequest: (stream, target, signal) =>
        this.#work.onRequest?.(driver, { stream, target, signal }),
      onPacketRequest: (channel, signal) =>
        this.#work.onPacketRequest?.(driver, { channel, signal }),
      onMessage: (message) => {
        this.#notes.hear(message);
        this.#work.onMessage?.(message);
      },
      onStreamClosed: () => this.#work.onChange(),
      onClose,
    });
    driver.start(session.start(runtime.clock.now()));
    this.#work.onUp?.(index, (message) => driver.run(() => session.send(message)));
    return driver;
  }

  /** One refusal speaks for all: they use one token. */
  #refused(error: TunnelError): void {
    if (this.#refusal !== undefined) return;
    this.#refusal = error;
    for (const link of this.#links) link.close();
    this.#changed();
    this.#options.onRefused?.(error);
  }

  #changed(): void {
    this.#work.onChange();
    this.#options.onStatus?.(this.status());
  }
}

/** What the WebSockets are for. */
export interface ThreadWork {
  readonly role: LinkSocksRole;
  onChange(): void;
  onRequest?(driver: MuxDriver<ControlMessage>, request: StreamRequest): void;
  onPacketRequest?(driver: MuxDriver<ControlMessage>, request: ChannelRequest): void;
  onMessage?(message: ControlMessage): void;
  /** A WebSocket is up; `send` says something on it. */
  onUp?(index: number, send: (message: ControlMessage) => void): void;
}

/** A stream the peer asks for. */
export interface StreamRequest {
  readonly stream: MuxStream;
  readonly target: Target;
  readonly signal: AbortSignal;
}

/** An association the peer asks for. */
export interface ChannelRequest {
  readonly channel: MuxPackets;
  readonly signal: AbortSignal;
}

/** How often a closing client looks whether the streams are done. */
const DRAIN_POLL_MS = 50;
