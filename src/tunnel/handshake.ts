import { ByteReader, type Parser } from "../bytes/byte-reader.ts";
import { NetworkError, toTunnelError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { Runtime } from "./runtime.ts";

/** Bounds and names of one handshake. */
export interface HandshakeOptions {
  readonly runtime: Runtime;
  /** The whole handshake, not one read: dripping bytes does not stretch it. */
  readonly timeoutMs: number;
  /** For errors: `socks5 greeting`, `pong header`. */
  readonly phase: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Feeds a parser from a connection until it has its result. Afterwards the connection is paused,
 * and bytes that came behind the handshake are back in it for the next handler.
 *
 * @throws ProtocolError from the parser, NetworkError on timeout or when the connection ends;
 *   the connection is left for the caller to answer and close
 */
export function handshake<Result>(
  connection: Connection,
  parse: (reader: ByteReader) => Parser<Result>,
  { runtime, timeoutMs, phase, signal }: HandshakeOptions,
): Promise<Result> {
  const reader = new ByteReader();
  const parser = parse(reader);
  const { peer } = connection.info;
  return new Promise((resolve, reject) => {
    let isSettled = false;
    const settle = (act: () => void): void => {
      isSettled = true;
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
      connection.detach();
      connection.unshift(reader.rest());
      act();
    };
    const step = (): void => {
      try {
        const result = parser.next();
        if (result.done) settle(() => resolve(result.value));
      } catch (thrown) {
        settle(() => reject(toTunnelError(thrown, "ERR_PROTOCOL", `${phase} from ${peer}`)));
      }
    };
    const onAbort = (): void => {
      const reason: unknown = signal?.reason;
      settle(() => reject(toTunnelError(reason, "ERR_ABORTED", `${phase} with ${peer}`)));
    };
    const timer = runtime.clock.schedule(timeoutMs, () => {
      const text = `${phase} from ${peer} not complete within ${timeoutMs} ms`;
      settle(() => reject(new NetworkError("ERR_HANDSHAKE_TIMEOUT", text)));
    });
    if (signal?.aborted) {
      onAbort();
      return;
    }
    signal?.addEventListener("abort", onAbort, { once: true });
    connection.attach({
      onData: (chunk) => {
        reader.push(chunk);
        step();
      },
      onEnd: () => {
        reader.end();
        step();
      },
      onDrain: () => {},
      onClose: (error) => {
        const cause = error ?? new NetworkError("ERR_CONNECTION_RESET", `${peer} closed`);
        settle(() => reject(cause));
      },
    });
    if (!isSettled) step();
    // A parser that was done at once leaves the connection to its next owner, paused.
    if (!isSettled) connection.resume();
  });
}
