import type { Target } from "../address/target.ts";
import { formatTarget } from "../address/target.ts";
import type { Timer } from "../clock/clock.ts";
import { MisuseError, NetworkError, PolicyError, TunnelError } from "../errors.ts";
import type { Connection, ConnectionInfo } from "./connection.ts";
import { MuxPackets, type PacketLink } from "./mux-packets.ts";
import { MuxStream, type StreamLink } from "./mux-stream.ts";
import { PendingOpens } from "./pending-opens.ts";
import type { Runtime } from "./runtime.ts";
import type { MuxEvent, MuxSession, Step } from "./session.ts";
import { SlowReaders, type SlowReaderPolicy } from "./slow-readers.ts";

/** What the driver tells the client or server that owns the link. */
export interface MuxDriverOptions<Message = never> {
  readonly connection: Connection;
  readonly session: MuxSession<Message>;
  readonly runtime: Runtime;
  /** The system's name for `info.transport` of its streams. */
  readonly system: string;
  readonly slowReaders?: Partial<SlowReaderPolicy> | undefined;
  /**
   * The peer asks for a target; answer with the driver's `accept` or the stream's `reset`. The
   * signal aborts when the peer gave up before.
   */
  readonly onRequest?:
    | ((stream: MuxStream, target: Target, signal: AbortSignal) => void)
    | undefined;
  /** The same for datagrams; answer with `accept` or the channel's `close`. */
  readonly onPacketRequest?: ((channel: MuxPackets, signal: AbortSignal) => void) | undefined;
  /** What only this system's sessions tell. */
  readonly onMessage?: ((message: Message) => void) | undefined;
  readonly onReady?: ((description: string) => void) | undefined;
  /** Ids are free again: `streamCount` went down. A stream may have ended some time before. */
  readonly onStreamClosed?: (() => void) | undefined;
  /** The link is gone, and every stream with it. Once. */
  readonly onClose?: ((error: TunnelError | undefined) => void) | undefined;
}

/** The only code that feeds a multiplexed session: bytes, time and commands in; streams out. */
export class MuxDriver<Message = never> {
  readonly #options: MuxDriverOptions<Message>;
  readonly #connection: Connection;
  readonly #session: MuxSession<Message>;
  readonly #runtime: Runtime;
  readonly #streams = new Map<number, MuxStream>();
  readonly #packets = new Map<number, MuxPackets>();
  readonly #opening = new PendingOpens();
  readonly #requested = new Map<number, AbortController>();
  /** Streams that were told to wait for the link, in the order they were told. */
  readonly #waiting = new Set<MuxStream>();
  readonly #slow: SlowReaders;
  readonly #link: StreamLink;
  #timer: { readonly at: number; readonly timer: Timer } | undefined;
  #isFull = false;
  /** Bytes that are no data, said since the link became full. */
  #answerBytes = 0;
  /** As the owner last knew it. */
  #streamCount = 0;
  #isClosed = false;

  constructor(options: MuxDriverOptions<Message>) {
    this.#options = options;
    this.#connection = options.connection;
    this.#session = options.session;
    this.#runtime = options.runtime;
    this.#slow = new SlowReaders(options.runtime.clock, options.slowReaders, {
      pause: () => this.#connection.pause(),
      resume: () => {
        if (!this.#isClosed) this.#connection.resume();
      },
    });
    this.#link = {
      runtime: options.runtime,
      writable: (id) => this.#session.writable(id),
      write: (id, data) => this.#writeStream(id, data),
      finish: (id) => this.#apply(this.#session.finish(id, this.#now())),
      close: (id) => this.#apply(this.#session.close(id, this.#now())),
      reset: (id, cause) => this.#apply(this.#session.reset(id, cause, this.#now())),
      taken: (stream, byteLength) => this.#taken(stream, byteLength),
    };
  }

  readonly #packetLink: PacketLink = {
    send: (id, packet) => {
      // A full link drops datagrams, as a full network does.
      if (this.#isFull || this.#session.sendPacket === undefined) return;
      this.#apply(this.#session.sendPacket(id, packet, this.#now()), "data");
    },
    close: (id) => this.#apply(this.#session.close(id, this.#now())),
    reset: (id, cause) => this.#apply(this.#session.reset(id, cause, this.#now())),
  };

  /** Sends the session's first words and starts reading. */
  start(first: Step<MuxEvent<Message>>): void {
    this.#connection.attach({
      onData: (chunk) => this.#receive(chunk),
      onEnd: () => this.#apply(this.#session.receiveEnd(this.#now())),
      onDrain: () => this.#drained(),
      onClose: (error) => this.#connectionClosed(error),
    });
    this.#apply(first);
    this.#connection.resume();
  }

  get info(): ConnectionInfo {
    return this.#connection.info;
  }

  get streamCount(): number {
    return this.#session.streamCount;
  }

  /** Whether new streams may be opened here. */
  get isOpen(): boolean {
    return !this.#isClosed && this.#session.isOpen;
  }

  /**
   * Opens a stream and waits until the peer says it reached the target, or as much as it ever says.
   *
   * @throws StreamReset when the peer refused; NetworkError when the link went down;
   *   `signal.reason` when aborted
   */
  open(target: Target, signal: AbortSignal): Promise<MuxStream> {
    if (!this.isOpen) throw new MisuseError("link takes no new streams");
    const { streamId, step } = this.#session.open(target, this.#now());
    const stream = this.#addStream(streamId, formatTarget(target));
    const opened = this.#opening.wait(streamId, stream, signal, (error) => stream.reset(error));
    this.#apply(step);
    return opened;
  }

  /**
   * Opens an association. @throws the same, and TunnelError `ERR_COMMAND_UNSUPPORTED` when the
   * system carries no datagrams
   */
  associate(signal: AbortSignal): Promise<MuxPackets> {
    if (!this.isOpen) throw new MisuseError("link takes no new streams");
    const opening = this.#session.openPackets?.(this.#now());
    if (opening === undefined) {
      const text = `${this.#options.system} carries no datagrams`;
      throw new TunnelError("ERR_COMMAND_UNSUPPORTED", text);
    }
    const { streamId, step } = opening;
    const channel = this.#addPackets(streamId);
    const opened = this.#opening.wait(streamId, channel, signal, (error) => channel.close(error));
    this.#apply(step);
    return opened;
  }

  /** Runs a command of this system's own on its session. */
  run(command: (now: number) => Step<MuxEvent<Message>>): void {
    if (!this.#isClosed) this.#apply(command(this.#now()));
  }

  /** The target of a requested stream was reached. */
  accept(stream: MuxStream | MuxPackets): void {
    this.#requested.delete(stream.id);
    this.#apply(this.#session.accept(stream.id, this.#now()));
  }

  /** Ends the link in order: what was written is flushed. Streams still there are reset. */
  close(): void {
    if (this.#isClosed) return;
    this.#apply(this.#session.end(this.#now()));
  }

  /** Ends the link now. */
  abort(error: TunnelError): void {
    if (this.#isClosed) return;
    this.#connection.reset(error);
    this.#closed(error);
  }

  #now(): number {
    return this.#runtime.clock.now();
  }

  #receive(chunk: Uint8Array): void {
    const step = this.#session.receive(chunk, this.#now());
    // What is not handed on as data was headers, or was copied: its memory is free at once.
    let kept = 0;
    for (const event of step.events) {
      if (event.type === "streamData" && event.data.buffer === chunk.buffer) {
        kept += event.data.byteLength;
      }
    }
    const free = chunk.byteLength - kept;
    this.#apply(step);
    if (free > 0) this.#runtime.slabs.recycle(chunk, free);
  }

  #apply({ events, output }: Step<MuxEvent<Message>>, what: "answers" | "data" = "answers"): void {
    if (output.length > 0 && !this.#isClosed) {
      if (!this.#connection.write(output)) this.#isFull = true;
      if (this.#isFull && what === "answers") this.#countAnswers(output);
    }
    for (const event of events) this.#onEvent(event);
    this.#rearm();
    const before = this.#streamCount;
    this.#streamCount = this.#session.streamCount;
    if (this.#streamCount < before && !this.#isClosed) this.#options.onStreamClosed?.();
  }

  /** Data obeys a full link; what else we say must not pile up either when the peer never listens. */
  #countAnswers(output: readonly Uint8Array[]): void {
    for (const { byteLength } of output) this.#answerBytes += byteLength;
    if (this.#answerBytes <= MAX_ANSWER_BYTES) return;
    const text = `peer asks and does not listen: ${this.#answerBytes} bytes of answers wait for it`;
    this.abort(new PolicyError("ERR_LIMIT", text));
  }

  #onEvent(event: MuxEvent<Message>): void {
    switch (event.type) {
      case "ready":
        this.#options.onReady?.(event.description);
        break;
      case "streamRequested": {
        const stream = this.#addStream(event.streamId, formatTarget(event.target));
        const gaveUp = new AbortController();
        this.#requested.set(event.streamId, gaveUp);
        this.#options.onRequest?.(stream, event.target, gaveUp.signal);
        break;
      }
      case "packetsRequested": {
        const channel = this.#addPackets(event.streamId);
        const gaveUp = new AbortController();
        this.#requested.set(event.streamId, gaveUp);
        this.#options.onPacketRequest?.(channel, gaveUp.signal);
        break;
      }
      case "packetReceived":
        this.#packets.get(event.streamId)?.received(event.packet);
        break;
      case "streamAccepted":
        this.#opening.accept(event.streamId);
        break;
      case "streamData":
        this.#onData(event.streamId, event.data);
        break;
      case "streamFinished":
        this.#streams.get(event.streamId)?.ended();
        break;
      case "streamWritable":
        this.#streams.get(event.streamId)?.drained();
        break;
      case "streamClosed":
        this.#onStreamClosed(event.streamId, event.error);
        break;
      case "message":
        this.#options.onMessage?.(event.message);
        break;
      case "closed":
        if (event.error === undefined) this.#connection.close();
        else this.#connection.reset(event.error);
        this.#closed(event.error);
        break;
    }
  }

  #onData(streamId: number, data: Uint8Array): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.deliver(data);
    if (!this.#session.hasWindow(streamId)) this.#slow.delivered(stream);
  }

  #onStreamClosed(streamId: number, error: TunnelError | undefined): void {
    const stream = this.#streams.get(streamId);
    this.#opening.fail(streamId, error ?? new TunnelError("ERR_CLOSED", "closed at once"));
    const packets = this.#packets.get(streamId);
    if (packets !== undefined) {
      this.#packets.delete(streamId);
      this.#gaveUp(streamId);
      packets.closed(error);
    }
    if (stream === undefined) return;
    this.#forget(stream);
    stream.closed(error);
    // Its reader may be behind: that must not be a way around the bound of the link.
    if (stream.queuedBytes > 0) this.#slow.ended(stream);
  }

  #addStream(streamId: number, peer: string): MuxStream {
    const info = { transport: this.#options.system, local: this.info.peer, peer };
    const stream = new MuxStream(streamId, info, this.#link);
    this.#streams.set(streamId, stream);
    return stream;
  }

  #addPackets(streamId: number): MuxPackets {
    const info = { transport: this.#options.system, local: this.info.peer, peer: "datagrams" };
    const channel = new MuxPackets(streamId, info, this.#packetLink);
    this.#packets.set(streamId, channel);
    return channel;
  }

  #gaveUp(streamId: number): void {
    this.#requested.get(streamId)?.abort(new TunnelError("ERR_ABORTED", "the peer gave up"));
    this.#requested.delete(streamId);
  }

  #forget(stream: MuxStream): void {
    this.#streams.delete(stream.id);
    this.#gaveUp(stream.id);
    this.#waiting.delete(stream);
    this.#slow.forget(stream);
  }

  #writeStream(streamId: number, data: Uint8Array): boolean {
    this.#apply(this.#session.write(streamId, data, this.#now()), "data");
    if (!this.#isFull) return true;
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) this.#waiting.add(stream);
    return false;
  }

  #taken(stream: MuxStream, byteLength: number): void {
    this.#slow.taken(stream);
    if (this.#session.hasWindow(stream.id)) {
      this.#apply(this.#session.consumed(stream.id, byteLength, this.#now()));
    }
  }

  #drained(): void {
    this.#isFull = false;
    this.#answerBytes = 0;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const stream of waiting) stream.drained();
  }

  #rearm(): void {
    const at = this.#isClosed ? undefined : this.#session.deadline;
    if (at === this.#timer?.at) return;
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    if (at === undefined) return;
    const timer = this.#runtime.clock.schedule(Math.max(0, at - this.#now()), () => {
      this.#timer = undefined;
      this.#apply(this.#session.tick(this.#now()));
    });
    this.#timer = { at, timer };
  }

  #connectionClosed(error: TunnelError | undefined): void {
    if (this.#isClosed) return;
    if (error === undefined) this.#apply(this.#session.receiveEnd(this.#now()));
    this.#closed(error);
  }

  #closed(error: TunnelError | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.timer.cancel();
    const lost = linkLost(error, this.info);
    this.#opening.failAll(lost);
    for (const stream of this.#streams.values()) {
      this.#forget(stream);
      stream.closed(lost);
    }
    for (const channel of this.#packets.values()) {
      this.#gaveUp(channel.id);
      channel.closed(lost);
    }
    this.#packets.clear();
    this.#slow.dispose();
    this.#options.onClose?.(error);
  }
}

/** More than a thousand streams' opens and ends, and a sign of ill will. */
const MAX_ANSWER_BYTES = 1024 * 1024;

function linkLost(error: TunnelError | undefined, info: ConnectionInfo): NetworkError {
  const why = error === undefined ? "the link ended" : error.message;
  return new NetworkError("ERR_TUNNEL_LOST", `link to ${info.peer} lost: ${why}`, { cause: error });
}
