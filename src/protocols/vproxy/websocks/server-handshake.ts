import type { HostPort } from "../../../address/socks-address.ts";
import type { ByteReader, Parser } from "../../../bytes/byte-reader.ts";
import { ProtocolError, toTunnelError, TunnelError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import { peekFirstByte, type ReadPhase } from "../../../tunnel/handshakes.ts";
import { type HttpHead, readHead } from "./http-head.ts";
import { MARKER, readMarker } from "./marker.ts";
import {
  encodeReply,
  METHOD_NONE,
  METHOD_NONE_ACCEPTABLE,
  readConnect,
  readGreeting,
  RefusedConnect,
  replyOf,
} from "./socks.ts";
import { closeWith, textPage } from "./send-page.ts";

/** A request's head, and whether anything came behind it. */
export interface ReceivedRequest {
  readonly head: HttpHead;
  readonly hasMore: boolean;
}

/**
 * Reads a request. What is none is answered with 400.
 *
 * @throws TunnelError `ERR_ABORTED` when the peer left without a word, as health checks do
 */
export async function receiveRequest(
  connection: Connection,
  { read, unixMs }: { readonly read: ReadPhase; readonly unixMs: () => number },
): Promise<ReceivedRequest> {
  await read("request", peekFirstByte).catch((thrown: unknown) => {
    throw leftWithoutAWord(thrown);
  });
  try {
    return await read("request", readRequest);
  } catch (thrown) {
    const error = toTunnelError(thrown, "ERR_PROTOCOL", "request");
    // DEVIATION(vproxy): it answers nothing, and waits for ever.
    if (error.code === "ERR_PROTOCOL")
      closeWith(connection, textPage(400, "bad request"), unixMs());
    throw error;
  }
}

/**
 * Goes through marker, greeting and request behind an upgrade, each answered as soon as it is there,
 * however they were cut or joined on the way.
 *
 * Spec: vproxy 1.5-1.7. Reference: `Socks5ProxyProtocolHandler.java`.
 *
 * @throws TunnelError; what there was to answer was answered
 */
export async function receiveConnect(connection: Connection, read: ReadPhase): Promise<HostPort> {
  await read("marker", readMarker);
  connection.write([MARKER.slice()]);
  if (!(await read("socks greeting", readGreeting))) {
    connection.write([METHOD_NONE_ACCEPTABLE.slice()]);
    throw new ProtocolError("greeting is not SOCKS5 without authentication");
  }
  connection.write([METHOD_NONE.slice()]);
  try {
    return await read("socks request", readConnect);
  } catch (thrown) {
    if (thrown instanceof RefusedConnect) {
      connection.write([encodeReply(replyOf(thrown.code), thrown.port)]);
    }
    throw thrown;
  }
}

function* readRequest(reader: ByteReader): Parser<ReceivedRequest> {
  const head = yield* readHead(reader);
  return { head, hasMore: reader.length > 0 };
}

/** A reset instead of a first byte is what the original's health checks are. */
function leftWithoutAWord(thrown: unknown): TunnelError {
  const error = toTunnelError(thrown, "ERR_PROTOCOL", "request");
  if (error.code !== "ERR_CONNECTION_RESET") return error;
  return new TunnelError("ERR_ABORTED", "reset without sending anything", { cause: error });
}
