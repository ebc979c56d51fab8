import type { TunnelError } from "../errors.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "./connection.ts";

/** A connection whose ends have other names: who is really there, and not what carries it. */
export class RenamedConnection implements Connection {
  readonly info: ConnectionInfo;
  readonly #inner: Connection;

  /** @param inner its own from now on */
  constructor(inner: Connection, info: ConnectionInfo) {
    this.info = info;
    this.#inner = inner;
  }

  get pendingBytes(): number {
    return this.#inner.pendingBytes;
  }

  attach(handler: ConnectionHandler): void {
    this.#inner.attach(handler);
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
