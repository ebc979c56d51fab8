import type { ByteReader, Parser } from "../../bytes/byte-reader.ts";
import { ProtocolError } from "../../errors.ts";
import type { OnConnection } from "../../tunnel/connection.ts";
import { Handshakes, type HandshakesOptions, peekFirstByte } from "../../tunnel/handshakes.ts";

/** The handlers behind one port, each taking a connection with nothing read from it. */
export interface MixedHandlers {
  readonly socks5: OnConnection;
  readonly socks4: OnConnection;
  readonly http: OnConnection;
}

/** Serves SOCKS5, SOCKS4 and HTTP on one port, told apart by the first byte. */
export function createMixedInbound(
  handlers: MixedHandlers,
  options: HandshakesOptions,
): OnConnection {
  const handshakes = new Handshakes("proxy", options);
  return (connection) => {
    handshakes.serve(connection, async (read) => {
      const protocol = await read("first byte", readProtocol);
      handlers[protocol](connection);
    });
  };
}

/**
 * Looks at the first byte and leaves it in place.
 *
 * @throws ProtocolError when it begins none of the three
 */
export function* readProtocol(reader: ByteReader): Parser<keyof MixedHandlers> {
  const byte = yield* peekFirstByte(reader);
  if (byte === 0x05) return "socks5";
  if (byte === 0x04) return "socks4";
  if (isLetter(byte)) return "http";
  const hint =
    byte === 0x16 ? "this port does not speak TLS: use http:// for the proxy" : undefined;
  const text = `first byte ${byte} begins neither SOCKS nor HTTP`;
  throw new ProtocolError(text, { hint });
}

function isLetter(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
}
