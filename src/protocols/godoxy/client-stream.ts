import type { TunnelError } from "../../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "../../tunnel/connection.ts";

/** What a stream tells its client. */
export interface ClientStreamEvents {
  /** Exactly once: its owner heard that it is gone, or ended it itself. */
  onClosed(): void;
  /** The agent ended it, and never sent a byte. */
  onSilentEnd(error: TunnelError | undefined): void;
}

/**
 * A stream of a client: the connection, and the header in front of what is written.
 *
 * The header waits for the first write of this turn of the event loop, so that both leave in one
 * record and one segment; alone it leaves at the end of the turn.
 */
export class ClientStream implements Connection {
  readonly info: ConnectionInfo;
  readonly #inner: Connection;
  readonly #events: ClientStreamEvents;
  #head: readonly Uint8Array[];
  #state: "silent" | "heard" | "ended" = "silent";
  #isClosed = false;

  /**
   * @param inner paused and without a handler
   * @param head leaves first; given
   */
  constructor(inner: Connection, head: readonly Uint8Array[], events: ClientStreamEvents) {
    this.info = { ...inner.info, transport: "godoxy" };
    this.#inner = inner;
    this.#head = head;
    this.#events = events;
    setImmediate(() => this.#sendHead());
  }

  get pendingBytes(): number {
    return this.#inner.pendingBytes;
  }

  attach(handler: ConnectionHandler): void {
    this.#inner.attach({
      onData: (chunk) => {
        this.#state = "heard";
        handler.onData(chunk);
      },
      onEnd: () => {
        this.#silentEnd(undefined);
        handler.onEnd();
      },
      onDrain: () => handler.onDrain(),
      onClose: (error) => {
        this.#silentEnd(error);
        this.#closed();
        handler.onClose(error);
      },
    });
  }

  detach(): void {
    this.#inner.detach();
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  unshift(chunk: Uint8Array): void {
    this.#inner.unshift(chunk);
  }

  write(chunks: readonly Uint8Array[]): boolean {
    return this.#inner.write([...this.#takeHead(), ...chunks]);
  }

  finish(): void {
    this.#sendHead();
    this.#inner.finish();
  }

  close(): void {
    this.#sendHead();
    this.#state = "ended";
    this.#inner.close();
  }

  reset(cause: TunnelError): void {
    this.#takeHead();
    this.#state = "ended";
    this.#inner.reset(cause);
    // Whoever has no handler would not hear of it.
    this.#closed();
  }

  #sendHead(): void {
    const head = this.#takeHead();
    if (head.length > 0) this.#inner.write(head);
  }

  #takeHead(): readonly Uint8Array[] {
    const head = this.#head;
    this.#head = [];
    return head;
  }

  #silentEnd(error: TunnelError | undefined): void {
    if (this.#state !== "silent") return;
    this.#state = "ended";
    this.#events.onSilentEnd(error);
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#events.onClosed();
  }
}
