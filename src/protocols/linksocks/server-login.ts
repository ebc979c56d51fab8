import { randomUUID } from "node:crypto";
import { NetworkError, ProtocolError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { parseMessage } from "./codec.ts";
import { fromUuid, toUuid } from "./message-reader.ts";
import type { Message } from "./messages.ts";
import {
  ANONYMOUS,
  type ConnectorToken,
  type ForwardToken,
  isAnonymousHash,
  type ReverseToken,
  type Token,
  type TokenTable,
} from "./tokens.ts";

/** Who logged in, and as what. */
export type Login =
  /** Without a token: somebody anonymous. */
  | { readonly role: "forward"; readonly token: ForwardToken | undefined }
  | { readonly role: "connector"; readonly token: ConnectorToken }
  | {
      readonly role: "provider";
      readonly token: ReverseToken;
      /** UUID text: the same for all WebSockets of one provider. */
      readonly instance: string;
    };

/** Against what a login is judged. */
export interface LoginBook {
  readonly tokens: TokenTable;
  /** Whether the token `anonymous` is a forward token. */
  readonly anonymous: boolean;
  /** The reverse token that the token `anonymous` stands for, where it stands for one. */
  readonly anonymousProvider?: ReverseToken | undefined;
}

/** What a login may take. */
export interface LoginLimits {
  readonly runtime: Runtime;
  /** Until the Auth message is here, ms. */
  readonly timeoutMs: number;
}

/**
 * Reads a login: from the query of the request when it has a token, else from the first message.
 *
 * Spec: linksocks 2.4. Reference: `server.go`, `handleWebSocket`.
 *
 * @returns who it is; the connection is paused
 * @throws TunnelError `ERR_AUTH` or `ERR_PROTOCOL` whose message is the text to answer;
 *   NetworkError when the peer left or took too long. The connection is left for the caller.
 */
export async function readLogin(
  connection: Connection,
  path: string,
  book: LoginBook,
  limits: LoginLimits,
): Promise<Login> {
  const query = new URLSearchParams(path.split("?").slice(1).join("?"));
  const hash = query.get("token") ?? "";
  if (hash !== "") return judgeQuery(hash, query, book);
  const message = await firstMessage(connection, limits);
  if (message.type !== "auth") throw new ProtocolError("invalid auth message");
  const { token: secret, isReverse, instance } = message;
  if (secret === ANONYMOUS) return anonymous(isReverse, instance, book);
  return judge(book.tokens.find(secret), isReverse, instance);
}

function judgeQuery(hash: string, query: URLSearchParams, book: LoginBook): Login {
  if (Buffer.byteLength(hash) !== HASH_LENGTH) throw refused("invalid token format");
  const reverse = query.get("reverse") ?? "";
  const isReverse = reverse === "" ? undefined : reverse === "true" || reverse === "1";
  const instance = query.get("instance") ?? "";
  if (isAnonymousHash(hash)) return anonymous(isReverse, instance, book);
  return judge(book.tokens.findByHash(hash), isReverse, instance);
}

/** @param isReverse what the peer wants to be; `undefined`: what its token is for */
function judge(token: Token | undefined, isReverse: boolean | undefined, instance: string): Login {
  const isProvider = token?.kind === "reverse";
  if (token === undefined || (isReverse ?? isProvider) !== isProvider) throw refused();
  switch (token.kind) {
    case "forward":
      return { role: "forward", token };
    case "connector":
      return { role: "connector", token };
    case "reverse":
      return { role: "provider", token, instance: readInstance(instance) };
  }
}

function anonymous(isReverse: boolean | undefined, instance: string, book: LoginBook): Login {
  const { anonymousProvider: token } = book;
  if (!book.anonymous) throw refused();
  if (isReverse !== true) return { role: "forward", token: undefined };
  if (token === undefined) throw refused();
  return { role: "provider", token, instance: readInstance(instance) };
}

/** Whoever names no instance, or the one that means none, is one of its own. */
function readInstance(text: string): string {
  const digits = fromUuid(text);
  return digits === undefined || /^0+$/.test(digits) ? randomUUID() : toUuid(digits);
}

function refused(text = "invalid token"): TunnelError {
  return new TunnelError("ERR_AUTH", text, {
    hint: "compare the token on both sides, and its role: client, connector or provider",
  });
}

/** The first message of a peer; what comes behind it stays in the connection. */
function firstMessage(
  connection: Connection,
  { runtime, timeoutMs }: LoginLimits,
): Promise<Message> {
  const { peer } = connection.info;
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      timer.cancel();
      connection.detach();
      act();
    };
    const fail = (error: TunnelError): void => settle(() => reject(error));
    const timer = runtime.clock.schedule(timeoutMs, () => {
      const text = `auth message from ${peer} not there within ${timeoutMs} ms`;
      fail(new NetworkError("ERR_HANDSHAKE_TIMEOUT", text));
    });
    connection.attach({
      onData: (chunk) => {
        const message = parseMessage(chunk);
        if (message.type !== "malformed") settle(() => resolve(message));
        else fail(new ProtocolError(`invalid auth message: ${message.error.message}`));
      },
      onEnd: () => {},
      onDrain: () => {},
      onClose: (error) => {
        fail(error ?? new NetworkError("ERR_CONNECTION_RESET", `${peer} left before it logged in`));
      },
    });
    connection.resume();
  });
}

/** SHA-256 in hexadecimal. */
const HASH_LENGTH = 64;
