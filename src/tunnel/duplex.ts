import { Duplex } from "node:stream";
import { NetworkError, toTunnelError, TunnelError } from "../errors.ts";
import type { Connection } from "./connection.ts";

/** A Node stream over a {@link Connection}, which can be had back. */
export interface ConnectionDuplex extends Duplex {
  /**
   * Stops using the connection and returns it, paused, with every byte nobody read put back. The
   * stream is inert from now on: it emits nothing and swallows what is written.
   */
  detach(): Connection;
  /** Ends our side, and destroys the stream once all of it was handed on: as `net.Socket` does. */
  destroySoon(): void;
}

/**
 * A Node {@link Duplex} over a connection, which it owns until `detach`.
 *
 * Backpressure and half-close go both ways (`allowHalfOpen`). A hard end is an `error`. Destroying
 * it before everything written was flushed resets the connection, so that the other end never takes
 * a part for the whole; after `end` and `finish` it closes in order.
 */
export function toDuplex(connection: Connection): ConnectionDuplex {
  return new Adapter(connection).duplex;
}

class Adapter {
  readonly duplex: ConnectionDuplex;
  readonly #connection: Connection;
  #state: "attached" | "closed" | "detached" = "attached";
  /** The callback of a write that waits for the connection to drain. */
  #onDrained: ((error?: Error) => void) | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
    const stream = new Duplex({
      allowHalfOpen: true,
      read: () => this.#read(),
      write: (chunk: Uint8Array, _encoding, callback) => this.#write([chunk], callback),
      writev: (writes, callback) => {
        // `decodeStrings` is on, so every chunk is bytes.
        const chunks = writes.map(({ chunk }: { chunk: Uint8Array }) => chunk);
        this.#write(chunks, callback);
      },
      final: (callback) => {
        if (this.#state === "attached") connection.finish();
        callback();
      },
      destroy: (error, callback) => {
        this.#destroy(error);
        callback(error);
        // A write still in progress would keep those behind it from ever hearing of this.
        this.#drained(error ?? this.#alreadyClosed());
      },
    });
    const destroySoon = (): void => {
      if (!stream.writableEnded) stream.end();
      if (stream.writableFinished) stream.destroy();
      else stream.once("finish", () => stream.destroy());
    };
    this.duplex = Object.assign(stream, { detach: () => this.#detach(), destroySoon });
    connection.attach({
      onData: (chunk) => {
        if (!stream.push(chunk)) connection.pause();
      },
      onEnd: () => void stream.push(null),
      onDrain: () => this.#drained(),
      onClose: (error) => this.#onClose(error),
    });
  }

  #read(): void {
    if (this.#state === "attached") this.#connection.resume();
  }

  #write(chunks: readonly Uint8Array[], callback: (error?: Error) => void): void {
    if (this.#state === "detached") {
      callback();
      return;
    }
    if (this.#state === "closed") {
      callback(this.#alreadyClosed());
      return;
    }
    // Copies: a stream's writer may use its buffer again, and may write one chunk to many streams,
    // while a connection is given its bytes for good.
    if (this.#connection.write(chunks.map((chunk) => Buffer.from(chunk)))) callback();
    else this.#onDrained = callback;
  }

  #drained(error?: Error): void {
    const callback = this.#onDrained;
    this.#onDrained = undefined;
    callback?.(error);
  }

  #onClose(error: TunnelError | undefined): void {
    if (this.#state !== "attached") return;
    this.#state = "closed";
    const { duplex } = this;
    if (error !== undefined) {
      duplex.destroy(error);
      return;
    }
    if (!duplex.readableEnded) duplex.push(null);
    if (this.#onDrained !== undefined) this.#drained(this.#alreadyClosed());
    else if (!duplex.writableEnded) duplex.end();
  }

  #destroy(error: Error | null): void {
    if (this.#state !== "attached") return;
    this.#state = "closed";
    if (error === null && this.duplex.writableFinished) {
      this.#connection.close();
      return;
    }
    const { transport, peer } = this.#connection.info;
    const what = `${transport} ${peer}`;
    const cause =
      error === null
        ? new TunnelError("ERR_ABORTED", `${what}: destroyed before its end`)
        : toTunnelError(error, "ERR_ABORTED", what);
    this.#connection.reset(cause);
  }

  #alreadyClosed(): TunnelError {
    const { transport, peer } = this.#connection.info;
    return new NetworkError("ERR_CONNECTION_RESET", `${transport} ${peer}: already closed`);
  }

  #detach(): Connection {
    const connection = this.#connection;
    const { duplex } = this;
    if (this.#state === "detached") return connection;
    while (duplex.writableCorked > 0) duplex.uncork();
    // The connection takes everything, so a writer that waits passes on all the stream still holds.
    while (this.#onDrained !== undefined) this.#drained();
    if (duplex.writableEnded) connection.finish();
    this.#state = "detached";
    connection.detach();
    Object.assign(duplex, { emit: () => false });
    const unread: Uint8Array[] = [];
    for (;;) {
      const chunk: unknown = duplex.read();
      if (!(chunk instanceof Uint8Array)) break;
      unread.push(chunk);
    }
    for (const chunk of unread.toReversed()) connection.unshift(chunk);
    duplex.destroy();
    return connection;
  }
}
