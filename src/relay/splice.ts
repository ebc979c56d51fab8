import type { TunnelError } from "../errors.ts";
import type { Connection, ConnectionHandler } from "../tunnel/connection.ts";

/** What a finished splice can tell. */
export interface SpliceResult {
  /** Bytes from the client to the target. */
  readonly bytesUp: number;
  /** Bytes from the target to the client. */
  readonly bytesDown: number;
  /** Why it ended, if not in order; and which leg said so. */
  readonly error: TunnelError | undefined;
  readonly side: "client" | "target" | undefined;
}

/** Counts of a running splice. */
export interface SpliceCounts {
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/**
 * Joins two connections: bytes, half-close each way, and hard ends, which stay hard.
 *
 * The slower leg paces the faster one. `onClose` is called once, when both legs are gone.
 *
 * @returns live counts
 */
export function splice(
  client: Connection,
  target: Connection,
  onClose: (result: SpliceResult) => void,
): SpliceCounts {
  const state: { error: TunnelError | undefined; side: SpliceResult["side"]; open: number } = {
    error: undefined,
    side: undefined,
    open: 2,
  };
  const closeOne = (side: "client" | "target", error: TunnelError | undefined): void => {
    if (error !== undefined && state.error === undefined) {
      state.error = error;
      state.side = side;
    }
    state.open--;
    if (state.open > 0) return;
    const { error: cause, side: blamed } = state;
    onClose({ bytesUp: up.bytes, bytesDown: down.bytes, error: cause, side: blamed });
  };
  const up = new Leg(client, target, (error) => closeOne("client", error));
  const down = new Leg(target, client, (error) => closeOne("target", error));
  client.attach(up);
  target.attach(down);
  client.resume();
  target.resume();
  return {
    get bytesUp() {
      return up.bytes;
    },
    get bytesDown() {
      return down.bytes;
    },
  };
}

/** Hears `from`, speaks to `to`. */
class Leg implements ConnectionHandler {
  bytes = 0;
  readonly #from: Connection;
  readonly #to: Connection;
  readonly #onClosed: (error: TunnelError | undefined) => void;

  constructor(
    from: Connection,
    to: Connection,
    onClosed: (error: TunnelError | undefined) => void,
  ) {
    this.#from = from;
    this.#to = to;
    this.#onClosed = onClosed;
  }

  onData(chunk: Uint8Array): void {
    this.bytes += chunk.byteLength;
    if (!this.#to.write([chunk])) this.#from.pause();
  }

  onEnd(): void {
    this.#to.finish();
  }

  /** `from` has room again, so its counterpart may be read on. */
  onDrain(): void {
    this.#to.resume();
  }

  onClose(error: TunnelError | undefined): void {
    // A graceful end of one leg flushes the other; a hard end must look hard on the other side.
    if (error === undefined) this.#to.close();
    else this.#to.reset(error);
    this.#onClosed(error);
  }
}
