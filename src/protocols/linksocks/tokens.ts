import { createHash, createHmac, randomBytes } from "node:crypto";
import { ConfigError, PolicyError } from "../../errors.ts";

/** One token a server knows: who bears it, and what it lets them be. */
export type Token = ForwardToken | ReverseToken | ConnectorToken;

/** What every token has. */
export interface TokenBase {
  /** Its name in logs and routes. */
  readonly name: string;
  /** The token itself. */
  readonly secret: string;
  /** Who made it: the configuration, the HTTP API, or a provider (autonomy). */
  readonly origin: "configuration" | "api" | "provider";
}

/** Its bearer's targets are dialled by the server. */
export interface ForwardToken extends TokenBase {
  readonly kind: "forward";
}

/** Its bearers dial targets for others. */
export interface ReverseToken extends TokenBase {
  readonly kind: "reverse";
  /** Whether its providers manage connectors of their own, and serve nobody else. */
  readonly autonomy: boolean;
}

/** Its bearer's targets are dialled by the providers of a reverse token. */
export interface ConnectorToken extends TokenBase {
  readonly kind: "connector";
  readonly reverse: ReverseToken;
  /** Of an autonomous provider: the instance that added it. Absent: every provider of `reverse`. */
  readonly instance?: string | undefined;
}

/** A token to be added: without a secret one is made. */
export type NewToken = New<ForwardToken> | New<ReverseToken> | New<ConnectorToken>;

type New<Kind extends Token> = Omit<Kind, "secret"> & { readonly secret?: string | undefined };

/** Settings of {@link TokenTable}. */
export interface TokenTableOptions {
  /** Tokens of all kinds at one time. @default 10000 */
  readonly maxTokens?: number | undefined;
  /** Makes a secret. @default 16 hexadecimal digits, as the reference does */
  readonly generate?: (() => string) | undefined;
}

/**
 * All tokens of one server, in one namespace.
 *
 * They are looked up under a keyed digest that nobody outside can compute, so the time of a lookup
 * tells nothing about any token.
 */
export class TokenTable {
  readonly #maxTokens: number;
  readonly #generate: () => string;
  readonly #lookupKey = randomBytes(32);
  readonly #tokens = new Map<string, Token>();

  constructor({ maxTokens = DEFAULT_MAX_TOKENS, generate = randomToken }: TokenTableOptions = {}) {
    this.#maxTokens = maxTokens;
    this.#generate = generate;
  }

  /** Tokens known now. */
  get size(): number {
    return this.#tokens.size;
  }

  [Symbol.iterator](): IterableIterator<Token> {
    return this.#tokens.values();
  }

  /**
   * @throws ConfigError or PolicyError whose message is the text for the wire, such as
   *   `token already exists`
   */
  add(wanted: New<ForwardToken>): ForwardToken;
  add(wanted: New<ReverseToken>): ReverseToken;
  add(wanted: New<ConnectorToken>): ConnectorToken;
  add(wanted: NewToken): Token {
    const noun = wanted.kind === "connector" ? "connector token" : "token";
    const secret = wanted.secret || this.#generate();
    if (secret === ANONYMOUS) {
      throw new ConfigError(`'${ANONYMOUS}' is reserved and cannot be used as a ${noun}`);
    }
    const byteLength = Buffer.byteLength(secret);
    if (byteLength > MAX_TOKEN_BYTES) {
      throw new ConfigError(`${noun} of ${byteLength} bytes exceeds ${MAX_TOKEN_BYTES}`);
    }
    const key = this.#keyOf(sha256(secret));
    if (this.#tokens.has(key)) throw new ConfigError(`${noun} already exists`);
    if (this.#tokens.size >= this.#maxTokens) {
      throw new PolicyError("ERR_LIMIT", `${this.#maxTokens} tokens exist, no more can be added`);
    }
    const token = { ...wanted, secret };
    this.#tokens.set(key, token);
    return token;
  }

  /** Forgets a token. @returns whether it was there */
  remove(token: Token): boolean {
    const key = this.#keyOf(sha256(token.secret));
    return this.#tokens.get(key) === token && this.#tokens.delete(key);
  }

  /** The token itself, as an Auth message carries it. */
  find(secret: string): Token | undefined {
    return this.#tokens.get(this.#keyOf(sha256(secret)));
  }

  /** By the SHA-256 of a token in lowercase hex, as a URL carries it. */
  findByHash(hash: string): Token | undefined {
    if (!/^[0-9a-f]{64}$/.test(hash)) return undefined;
    return this.#tokens.get(this.#keyOf(Buffer.from(hash, "hex")));
  }

  #keyOf(digest: Buffer): string {
    return createHmac("sha256", this.#lookupKey).update(digest).digest("base64");
  }
}

/** Whether a URL's hash is that of the token `anonymous`. */
export function isAnonymousHash(hash: string): boolean {
  return hash === ANONYMOUS_HASH;
}

/** 16 hexadecimal digits, as the reference makes them. */
export function randomToken(): string {
  return randomBytes(8).toString("hex");
}

/** The token of those who have none; nobody can register it. */
export const ANONYMOUS = "anonymous";

/** An Auth message counts its bytes in one octet. */
export const MAX_TOKEN_BYTES = 255;

function sha256(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}

const ANONYMOUS_HASH = sha256(ANONYMOUS).toString("hex");

const DEFAULT_MAX_TOKENS = 10_000;
