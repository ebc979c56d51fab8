import type { TunnelError } from "../../src/errors.ts";
import type { Connection, ConnectionHandler } from "../../src/tunnel/connection.ts";

/** A handler that writes down everything it hears, and lets a test wait for it. */
export class Recorder implements ConnectionHandler {
  readonly connection: Connection;
  /** `end`, `drain`, `close` and `close ERR_…`, in the order they came; data is in `chunks`. */
  readonly events: string[] = [];
  readonly chunks: Uint8Array[] = [];
  byteLength = 0;
  closeError: TunnelError | undefined;
  readonly #waiting = new Set<() => void>();

  /** Becomes the connection's handler; it stays paused. */
  constructor(connection: Connection) {
    this.connection = connection;
    connection.attach(this);
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  onData(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.byteLength += chunk.byteLength;
    this.#heard();
  }

  onEnd(): void {
    this.#heard("end");
  }

  onDrain(): void {
    this.#heard("drain");
  }

  onClose(error: TunnelError | undefined): void {
    this.closeError = error;
    this.#heard(error === undefined ? "close" : `close ${error.code}`);
  }

  /** Resolves once `isSo()` holds; asked again after everything heard. Bound it with the test's timeout. */
  until(isSo: () => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = (): void => {
      if (!isSo()) return;
      this.#waiting.delete(look);
      resolve();
    };
    this.#waiting.add(look);
    look();
    return promise;
  }

  /** Resolves once so many bytes arrived in all. */
  received(byteLength: number): Promise<void> {
    return this.until(() => this.byteLength >= byteLength);
  }

  /** Resolves at the other end's half-close. */
  ended(): Promise<void> {
    return this.until(() => this.events.includes("end"));
  }

  /** Resolves when the connection is gone, however it went. */
  closed(): Promise<void> {
    return this.until(() => this.events.some((event) => event.startsWith("close")));
  }

  #heard(event?: string): void {
    if (event !== undefined) this.events.push(event);
    for (const look of this.#waiting) look();
  }
}
