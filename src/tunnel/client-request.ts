import { formatTarget, type Target } from "../address/target.ts";
import { MisuseError, TunnelError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { Metadata, Request } from "./request.ts";

/** One client's wish and how its protocol answers. */
export interface ClientRequestOptions {
  readonly target: Target;
  readonly metadata: Metadata;
  /** Writes the answer that says yes. @default nothing is written */
  readonly onAccept?: ((connection: Connection) => void) | undefined;
  /** Writes the answer that says no, and ends the connection. */
  readonly onReject: (connection: Connection, error: TunnelError) => void;
  /**
   * What a half-close before the answer means: `gone` where the client has nothing to say until it
   * is answered, `half-closed` where it may have said all it had to.
   *
   * Bytes that came before the half-close make it `half-closed` in any case.
   */
  readonly endMeans: "gone" | "half-closed";
}

/**
 * A {@link Request} over a client's connection, which it watches until the answer: the signal
 * aborts when the client goes away. What the client sends early is kept for the splice, up to a
 * bound, after which nothing more is read.
 */
export function clientRequest(connection: Connection, options: ClientRequestOptions): Request {
  return new ClientRequest(connection, options);
}

class ClientRequest implements Request {
  readonly target: Target;
  readonly metadata: Metadata;
  readonly #connection: Connection;
  readonly #options: ClientRequestOptions;
  readonly #abort = new AbortController();
  #state: "waiting" | "gone" | "answered" = "waiting";
  #early: Uint8Array[] = [];
  #earlyBytes = 0;

  constructor(connection: Connection, options: ClientRequestOptions) {
    this.target = options.target;
    this.metadata = options.metadata;
    this.#connection = connection;
    this.#options = options;
    connection.attach({
      onData: (chunk) => this.#keep(chunk),
      onEnd: () => {
        const isGone = options.endMeans === "gone" && this.#earlyBytes === 0;
        if (isGone) this.#gone(undefined);
      },
      onDrain: () => {},
      onClose: (error) => this.#gone(error),
    });
    connection.resume();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  accept(): Connection {
    const { onAccept } = this.#options;
    const wasGone = this.#state === "gone";
    this.#handOver();
    if (!wasGone) onAccept?.(this.#connection);
    return this.#connection;
  }

  reject(error: TunnelError): void {
    this.#early = [];
    const wasGone = this.#state === "gone";
    this.#handOver();
    if (wasGone) this.#connection.close();
    else this.#options.onReject(this.#connection, error);
  }

  #keep(chunk: Uint8Array): void {
    this.#early.push(chunk);
    this.#earlyBytes += chunk.byteLength;
    if (this.#earlyBytes >= MAX_EARLY_BYTES) this.#connection.pause();
  }

  #gone(cause: TunnelError | undefined): void {
    if (this.#state !== "waiting") return;
    this.#state = "gone";
    const { source } = this.metadata;
    const text = `client ${source} went away while ${formatTarget(this.target)} was being opened`;
    this.#abort.abort(new TunnelError("ERR_ABORTED", text, { cause }));
  }

  #handOver(): void {
    if (this.#state === "answered") throw new MisuseError("a request is answered once");
    this.#state = "answered";
    this.#connection.detach();
    for (const chunk of this.#early.toReversed()) this.#connection.unshift(chunk);
    this.#early = [];
  }
}

/** More than any first flight; what exceeds it waits in the kernel. */
const MAX_EARLY_BYTES = 64 * 1024;
