import type { ByteReader, Parser } from "../../bytes/byte-reader.ts";
import { TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { handshake } from "../../tunnel/handshake.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { decodeHeader, HEADER_BYTES, type StreamHeader } from "./header.ts";

/**
 * Takes the header off a connection; what came behind it waits there for the next owner.
 *
 * @throws TunnelError `ERR_ABORTED` when the peer left without a byte; ProtocolError naming the check
 *   that failed; NetworkError when the whole header is not there in time
 */
export function readHeader(
  connection: Connection,
  { runtime, timeoutMs }: { readonly runtime: Runtime; readonly timeoutMs: number },
): Promise<StreamHeader> {
  return handshake(connection, parseHeader, { runtime, timeoutMs, phase: "godoxy header" });
}

function* parseHeader(reader: ByteReader): Parser<StreamHeader> {
  const [first] = yield* reader.peek(1);
  // Port checks come and go; nobody needs a warning for those.
  if (first === undefined) throw new TunnelError("ERR_ABORTED", "closed without sending anything");
  return decodeHeader(yield* reader.read(HEADER_BYTES));
}
