import type { TunnelError } from "../errors.ts";

/** Where a connection comes from and goes to, for logs and errors. */
export interface ConnectionInfo {
  /** `tcp`, `tls`, `ws`, `unix`, `stdio`, or the name of a tunnel system. */
  readonly transport: string;
  /** Our end, `host:port` or a path. */
  readonly local: string;
  /** The other end, `host:port` or a path. */
  readonly peer: string;
}

/** What a connection tells its current owner. */
export interface ConnectionHandler {
  /** Bytes arrived. They are given: whoever receives them owns them. Never empty. */
  onData(chunk: Uint8Array): void;
  /** The other end half-closed: no more data comes; writing goes on. At most once. */
  onEnd(): void;
  /** After `write` returned false: more is welcome. */
  onDrain(): void;
  /**
   * The connection is gone in both directions. Exactly once, last; `error` is `undefined` after a
   * graceful end. Data and end that were not taken yet come first unless there is an error.
   */
  onClose(error: TunnelError | undefined): void;
}

/**
 * One established byte channel: a socket, a WebSocket, a stream of a multiplexed session.
 *
 * It starts paused; its owner attaches a handler and resumes it. Handshakes take the connection
 * first and then hand it on by attaching the next handler.
 */
export interface Connection {
  readonly info: ConnectionInfo;
  /** Bytes accepted by `write` that have not left yet. */
  readonly pendingBytes: number;
  /**
   * Makes `handler` the owner; from now on nothing goes to the former one. An end or a close that
   * the former one heard of is reported again, so that an owner between two others loses nothing.
   */
  attach(handler: ConnectionHandler): void;
  /** Pauses and forgets the handler: whatever happens now waits for the next one. */
  detach(): void;
  /** Stops delivery. What is already on its way is kept and delivered after `resume`. */
  pause(): void;
  resume(): void;
  /** Puts bytes back in front of those to be delivered: leftovers of a handshake. */
  unshift(chunk: Uint8Array): void;
  /**
   * Gathered write; the chunks are given. All calls that one event causes leave together.
   *
   * @returns false when the writer should wait for `onDrain`; the bytes were taken all the same.
   *   After `finish`, `close` or the end of the connection, bytes are dropped.
   */
  write(chunks: readonly Uint8Array[]): boolean;
  /** Half-closes our side, behind everything written. Reading goes on. Idempotent. */
  finish(): void;
  /**
   * Flushes what was written, then ends both directions. What still arrives is discarded; the
   * handler hears only `onClose` from now on.
   */
  close(): void;
  /** Ends both directions now, such that the other end sees a hard end (TCP: RST). */
  reset(cause: TunnelError): void;
}

/** Makes connections to one fixed place. */
export interface Dialer {
  /** What it dials, for logs: `pong+tls://host:443`, without credentials. */
  readonly description: string;
  /**
   * @throws NetworkError naming the peer and the phase (dns, tcp, tls, upgrade)
   */
  dial(options: { readonly signal: AbortSignal }): Promise<Connection>;
}

/** Waits for connections. */
export interface Listener extends AsyncDisposable {
  /** Where it listens, `host:port` or a path, with the port the system chose. */
  readonly address: string;
  /** Stops accepting. Connections already accepted live on. */
  close(): Promise<void>;
}

/** Takes one accepted connection, paused and without a handler. */
export type OnConnection = (connection: Connection) => void;
