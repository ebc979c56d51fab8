import type { WebSocket } from "ws";
import { NetworkError, systemCode, type TunnelError } from "../../errors.ts";
import type { ConnectionInfo } from "../../tunnel/connection.ts";
import { isTlsFailure, tlsError } from "../tls/tls-options.ts";

/** Why the socket below a WebSocket failed. */
export function socketError(cause: Error, { transport, peer }: ConnectionInfo): TunnelError {
  if (isTlsFailure(cause)) return tlsError(cause, peer);
  const what = systemCode(cause) ?? cause.message;
  return new NetworkError("ERR_CONNECTION_RESET", `${transport} ${peer}: ${what}`, { cause });
}

/**
 * What the end of a WebSocket means; `undefined`: it ended in order.
 *
 * QUIRK(pong-go): its end is a bare end of the TCP connection, so that is one in order as long as
 * it does not cut a message.
 */
export function closeError(
  ws: WebSocket,
  code: number,
  { reason, info }: { readonly reason: Uint8Array; readonly info: ConnectionInfo },
  below: TunnelError | undefined,
): TunnelError | undefined {
  const who = `${info.transport} ${info.peer}`;
  if (code === NO_CLOSE_FRAME) {
    if (below !== undefined || !isInsideMessage(ws)) return below;
    return new NetworkError("ERR_CONNECTION_RESET", `${who}: ended inside a message`);
  }
  if (IN_ORDER.includes(code)) return undefined;
  const text = Buffer.from(reason).toString();
  // oxlint-disable-next-line no-control-regex -- a peer's text must not reach a terminal raw
  const told = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ");
  const why = told === "" ? "" : ` (${told})`;
  return new NetworkError("ERR_CONNECTION_RESET", `${who}: closed with code ${code}${why}`);
}

/** Whether the peer's bytes stopped inside a message: only the library's inner parser knows. */
function isInsideMessage(ws: WebSocket): boolean {
  const parser: unknown = Reflect.get(ws, "_receiver");
  if (typeof parser !== "object" || parser === null) return false;
  // The state: 0 awaits a frame; the opcode of a message in fragments; bytes not yet understood.
  return ["_state", "_fragmented", "_bufferedBytes"].some((field) => {
    const value: unknown = Reflect.get(parser, field);
    return typeof value === "number" && value !== 0;
  });
}

/** What `ws` reports when no close frame came. */
const NO_CLOSE_FRAME = 1006;

/** Done; going away; no code given. */
const IN_ORDER: readonly number[] = [1000, 1001, 1005];
