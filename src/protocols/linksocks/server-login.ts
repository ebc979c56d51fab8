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

/** A login that did not succeed. */
export interface RefusedLogin {
  readonly role: "nobody";
  /** Its message is the text to answer. */
  readonly error: TunnelError;
  /** The token or hash that was shown. */
  readonly attempt: string;
}

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
 * @returns who it is, or what was wrong; the connection is paused
 * @throws ProtocolError whose message is the text to answer, when there was no token to judge;
 *   NetworkError when the peer left or took too long. The connection is left for the caller.
 */
export async function readLogin(
  connection: Connection,
  path: string,
  book: LoginBook,
  limits: LoginLimits,
): Promise<Login | RefusedLogin> {
  const query = new URLSearchParams(path.split("?").slice(1).join("?"));
  const hash = query.get("token") ?? "";
  if (hash !== "") return judgeQuery(hash, query, book);
  const message = await firstMessage(connection, limits);
  if (message.type !== "auth") throw new ProtocolError("invalid auth message");
  const { token: secret, isReverse, instance } = message;
  const login =
    secret === ANONYMOUS
      ? anonymous(isReverse, instance, book)
      : judge(book.tokens.find(secret), isReverse, instance);
  return login ?? refused(secret);
}

function judgeQuery(hash: string, query: URLSearchParams, book: LoginBook): Login | RefusedLogin {
  if (Buffer.byteLength(hash) !== HASH_LENGTH) return refused(hash, "invalid token format");
  const reverse = query.get("reverse") ?? "";
  const isReverse = reverse === "" ? undefined : reverse === "true" || reverse === "1";
  const instance = query.get("instance") ?? "";
  const login = isAnonymousHash(hash)
    ? anonymous(isReverse, instance, book)
    : judge(book.tokens.findByHash(hash), isReverse, instance);
  return login ?? refused(hash);
}

/** @param isReverse what the peer wants to be; `undefined`: what its token is for */
function judge(
  token: Token | undefined,
  isReverse: boolean | undefined,
  instance: string,
): Login | undefined {
  const isProvider = token?.kind === "reverse";
  if (token === undefined || (isReverse ?? isProvider) !== isProvider) return undefined;
  switch (token.kind) {
    case "forward":
      return { role: "forward", token };
    case "connector":
      return { role: "connector", token };
    case "reverse":
      return { role: "provider", token, instance: readInstance(instance) };
  }
}

function anonymous(
  isReverse: boolean | undefined,
  instance: string,
  book: LoginBook,
): Login | undefined {
  const { anonymousProvider: token } = book;
  if (!book.anonymous) return undefined;
  if (isReverse !== true) return { role: "forward", token: undefined };
  if (token === undefined) return undefined;
  return { role: "provider", token, instance: readInstance(instance) };
}

/** Whoever names no instance, or the one that means none, is one of its own. */
function readInstance(text: string): string {
  const digits = fromUuid(text);
  return digits === undefined || /^0+$/.test(digits) ? randomUUID() : toUuid(digits);
}

function refused(attempt: string, text = "invalid token"): RefusedLogin {
  const hint = "compare the token on both sides, and its role: client, connector or provider";
  return { role: "nobody", error: new TunnelError("ERR_AUTH", text, { hint }), attempt };
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
