import type { Timer } from "../../clock/clock.ts";
import { NetworkError, type TunnelError } from "../../errors.ts";
import type { MuxDriver } from "../../tunnel/mux-driver.ts";
import type { PongSession } from "./session.ts";

/** One connection of a client's pool. */
export interface PoolLink {
  readonly driver: MuxDriver;
  readonly session: PongSession;
  readonly bornAt: number;
  /** Runs out when it has lasted long enough to forget former failures. */
  readonly proof: Timer;
  idle: Timer | undefined;
  /** We ended it ourselves. */
  isRetired: boolean;
  /** Why the peer ended it before it was of any use. */
  refusal: TunnelError | undefined;
}

/** What to say of a connection that the peer ended soon. */
export function refusalOf(
  { hasHeard }: PongSession,
  livedMs: number,
  cause: TunnelError | undefined,
): TunnelError {
  const why = cause === undefined ? "" : `: ${cause.message}`;
  if (hasHeard) {
    const text = `peer ended the connection after ${livedMs} ms${why}`;
    return new NetworkError("ERR_TUNNEL_LOST", text, { cause });
  }
  // Pong answers nothing to a wrong id; a quick end without a word is all there is to see.
  const text = `peer closed the connection ${livedMs} ms after our header${why}`;
  const guess = "check the client id in the URL, and that the peer speaks pong on this transport";
  return new NetworkError("ERR_AUTH", text, { cause, hint: cause?.hint ?? guess });
}
