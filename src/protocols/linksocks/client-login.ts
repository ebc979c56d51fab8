import { NetworkError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { encodeMessage, parseMessage } from "./codec.ts";

/** How a client shows its token. */
export interface LoginOptions {
  /** Said first, when the URL of the WebSocket does not carry the token's hash. */
  readonly auth?:
    | {
        readonly token: string;
        /** Whether we lend our network. */
        readonly isReverse: boolean;
        /** UUID text: the same for all WebSockets of one client. */
        readonly instance: string;
      }
    | undefined;
  /** Whether somebody gave us a token, for the hint. */
  readonly hasToken: boolean;
}

/**
 * Waits for the server's welcome. Messages that overtake it are kept in front of the others.
 *
 * @returns the connection, paused
 * @throws TunnelError `ERR_REFUSED_FOR_GOOD` with the server's text; NetworkError when it ends or
 *   says nothing; the connection is closed then
 */
export function logIn(
  connection: Connection,
  { auth, hasToken }: LoginOptions,
  { runtime, signal }: { readonly runtime: Runtime; readonly signal: AbortSignal },
): Promise<Connection> {
  const { peer } = connection.info;
  const early: Uint8Array[] = [];
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
      connection.detach();
      act();
    };
    const fail = (error: Error): void =>
      settle(() => {
        connection.close();
        reject(error);
      });
    const onAbort = (): void => {
      const reason: unknown = signal.reason;
      fail(reason instanceof Error ? reason : new TunnelError("ERR_ABORTED", `${peer}: login`));
    };
    const timer = runtime.clock.schedule(LOGIN_MS, () => {
      const text = `${peer}: login not answered within ${LOGIN_MS} ms`;
      const hint = "check that the path leads to a LinkSocks server";
      fail(new NetworkError("ERR_HANDSHAKE_TIMEOUT", text, { hint }));
    });
    connection.attach({
      onData: (chunk) => {
        const message = parseMessage(chunk);
        if (message.type === "authResponse") {
          if (message.error !== undefined) {
            fail(refusal(peer, message.error, hasToken));
            return;
          }
          settle(() => {
            for (const one of early.toReversed()) connection.unshift(one);
            resolve(connection);
          });
          return;
        }
        early.push(chunk);
        if (early.length <= MAX_EARLY) return;
        fail(new NetworkError("ERR_PROTOCOL", `${peer}: talks without answering the login`));
      },
      onEnd: () => fail(leftError(peer, undefined)),
      onDrain: () => {},
      onClose: (error) => fail(leftError(peer, error)),
    });
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener("abort", onAbort, { once: true });
    if (auth !== undefined) connection.write([encodeMessage({ type: "auth", ...auth })]);
    connection.resume();
  });
}

/** Whether the server said no to our token. */
export function isRefusal(error: TunnelError): boolean {
  return error.code === "ERR_REFUSED_FOR_GOOD";
}

function refusal(peer: string, text: string, hasToken: boolean): TunnelError {
  const hint = hasToken
    ? "check the token in the URL, and that it is one for this role"
    : "put a token into the URL: linksocks+wss://TOKEN@host, or env:NAME@host";
  return new TunnelError(
    "ERR_REFUSED_FOR_GOOD",
    `${peer}: authentication failed: ${text || "no reason given"}`,
    { hint },
  );
}

function leftError(peer: string, cause: TunnelError | undefined): TunnelError {
  const why = cause === undefined ? "" : `: ${cause.message}`;
  const text = `${peer}: ended before it answered the login${why}`;
  return new NetworkError("ERR_TUNNEL_LOST", text, { cause });
}

const LOGIN_MS = 10_000;

/** More than a server has to say to somebody it does not know. */
const MAX_EARLY = 64;
