import type { TunnelError } from "../../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "../../tunnel/connection.ts";

/** A stream of an agent, whose end somebody besides its owner hears of. */
export class WatchedConnection implements Connection {
  readonly info: ConnectionInfo;
  readonly #inner: Connection;
  readonly #onClosed: () => void;

  /**
   * @param inner paused and without a handler
   * @param onClosed called when its owner heard that it is gone
   */
  constructor(inner: Connection, onClosed: () => void) {
    this.info = { ...inner.info, transport: "godoxy" };
    this.#inner = inner;
    this.#onClosed = onClosed;
  }

  get pendingBytes(): number {
    return this.#inner.pendingBytes;
  }

  attach(handler: ConnectionHandler): void {
    this.#inner.attach({
      onData: (chunk) => handler.onData(chunk),
      onEnd: () => handler.onEnd(),
      onDrain: () => handler.onDrain(),
      onClose: (error) => {
        this.#onClosed();
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
    return this.#inner.write(chunks);
  }

  finish(): void {
    this.#inner.finish();
  }

  close(): void {
    this.#inner.close();
  }

  reset(cause: TunnelError): void {
    this.#inner.reset(cause);
  }
}
