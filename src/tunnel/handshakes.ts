import type { ByteReader, Parser } from "../bytes/byte-reader.ts";
import { toTunnelError, TunnelError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { handshake } from "./handshake.ts";
import { HandshakeSlots } from "./handshake-slots.ts";
import {
  DEFAULT_HANDSHAKE_TIMEOUT_MS,
  type HandshakeLimits,
  type InboundOptions,
} from "./inbound.ts";

/** Reads the next part of a handshake; `phase` names it in errors and logs. */
export type ReadPhase = <Result>(
  phase: string,
  parse: (reader: ByteReader) => Parser<Result>,
) => Promise<Result>;

/** What an inbound's handshakes need: its name, its logger, the clock, and bounds. */
export type HandshakesOptions = Omit<InboundOptions, "onRequest"> & HandshakeLimits;

/**
 * The handshakes of one inbound: bounded in number and in time, and each that fails is one line
 * with its peer and phase. None of them can disturb another.
 */
export class Handshakes {
  readonly #options: HandshakesOptions;
  readonly #protocol: string;
  readonly #slots: HandshakeSlots;

  /** @param protocol for logs: `socks5` */
  constructor(protocol: string, options: HandshakesOptions) {
    this.#protocol = protocol;
    this.#options = options;
    const { runtime, logger, maxHandshakes } = options;
    this.#slots = new HandshakeSlots({ runtime, logger, limit: maxHandshakes });
  }

  /** Handshakes in progress now. */
  get size(): number {
    return this.#slots.size;
  }

  /**
   * Runs `talk` on a fresh connection. When it rejects, the reason is logged and the connection
   * closed behind what was answered.
   */
  serve(connection: Connection, talk: (read: ReadPhase) => Promise<void>): void {
    const { runtime, handshakeTimeoutMs = DEFAULT_HANDSHAKE_TIMEOUT_MS } = this.#options;
    const startedAt = runtime.clock.now();
    let phase = "accept";
    const read: ReadPhase = (name, parse) => {
      phase = name;
      const timeoutMs = Math.max(0, startedAt + handshakeTimeoutMs - runtime.clock.now());
      return handshake(connection, parse, {
        runtime,
        timeoutMs,
        phase: `${this.#protocol} ${name}`,
      });
    };
    this.#slots.enter(connection);
    talk(read)
      .catch((thrown: unknown) => {
        const error = toTunnelError(thrown, "ERR_PROTOCOL", `${this.#protocol} ${phase}`);
        if (this.#slots.has(connection)) this.#log(connection, phase, startedAt, error);
        connection.close();
      })
      .finally(() => this.#slots.leave(connection));
  }

  #log(connection: Connection, phase: string, startedAt: number, error: TunnelError): void {
    const { logger, name, runtime } = this.#options;
    const fields = {
      inbound: name,
      peer: connection.info.peer,
      phase,
      reason: error.message,
      code: error.code,
      hint: error.hint,
      elapsedMs: Math.round(runtime.clock.now() - startedAt),
    };
    // Port checks connect and leave; nobody needs a warning for those.
    if (error.code === "ERR_ABORTED") logger.debug(`${this.#protocol} client left`, fields);
    else logger.warn(`${this.#protocol} handshake failed`, fields);
  }
}

/**
 * The first byte, left in place, of a protocol whose clients speak first.
 *
 * @throws TunnelError (`ERR_ABORTED`) when the client left without a word
 */
export function* peekFirstByte(reader: ByteReader): Parser<number> {
  const [byte] = yield* reader.peek(1);
  if (byte === undefined) throw new TunnelError("ERR_ABORTED", "closed without sending anything");
  return byte;
}
