import { createHash, timingSafeEqual } from "node:crypto";
import { ConfigError, toTunnelError } from "../../errors.ts";
import { toGoJson } from "./go-json.ts";
import { type HttpAnswer, type HttpQuestion, NOT_FOUND } from "./http-surface.ts";

/** What the HTTP API works on. What is refused is an error whose message goes to the caller. */
export interface ApiTarget {
  addForward(secret: string): ApiToken;
  /** Opens the port, unless the token is for autonomy. */
  addReverse(wanted: ReverseWish): Promise<ApiToken & { readonly port: number }>;
  addConnector(secret: string, reverse: string): ApiToken;
  /** Forgets a token, closes what uses it; nothing happens when there is none. */
  remove(secret: string): Promise<void>;
  status(): ApiStatus;
}

/** A token that was made. */
export interface ApiToken {
  readonly token: string;
}

/** A reverse token as the API asks for it; what is empty is up to the server. */
export interface ReverseWish {
  readonly secret: string;
  /** 0: any. */
  readonly port: number;
  readonly login: { readonly user: string; readonly password: string } | undefined;
  readonly autonomy: boolean;
}

/** What `/api/status` tells; spec 3.12 has the words, which are those of the wire. */
export interface ApiStatus {
  readonly version: string;
  readonly tokens: readonly ApiTokenStatus[];
  readonly direct: { readonly enabled: boolean; readonly peers?: readonly ApiDirectPeer[] };
}

/** One token in `/api/status`. */
export interface ApiTokenStatus {
  readonly token: string;
  readonly type: "forward" | "reverse";
  readonly clients_count: number;
  /** Of a reverse token; -1: none. */
  readonly port?: number;
  readonly connector_tokens?: readonly string[];
}

/** One WebSocket in `/api/status`, as far as the direct mode is concerned. */
export interface ApiDirectPeer {
  readonly client_id: string;
  readonly internal_token: string;
  readonly role: "forward" | "reverse" | "connector";
  readonly reverse_token?: string;
  readonly supports_direct: boolean;
  /** RFC 3339, UTC, without fractions. */
  readonly updated_at?: string;
  readonly last_session_id?: string;
  readonly last_direct_state?: string;
}

/**
 * The HTTP API: `/api/token`, `/api/token/{token}`, `/api/status`. Everything else below `/api/`
 * is not there.
 *
 * Spec: linksocks 3.12. Reference: `api.go`.
 */
export class Api {
  readonly #target: ApiTarget;
  readonly #keyDigest: Buffer;

  constructor(target: ApiTarget, key: string) {
    this.#target = target;
    this.#keyDigest = digest(key);
  }

  async answer(question: HttpQuestion): Promise<HttpAnswer> {
    const { method, path, apiKey } = question;
    const isToken = path === "/api/token" || path.startsWith("/api/token/");
    if (!isToken && path !== "/api/status") return NOT_FOUND;
    if (!timingSafeEqual(digest(apiKey), this.#keyDigest)) {
      // The reference sets the type of its tokens' answers only.
      const type = isToken ? JSON_TYPE : TEXT_TYPE;
      return { ...json(401, failure("invalid API key")), headers: type };
    }
    if (!isToken) {
      if (method !== "GET") return { status: 405, headers: {}, body: "" };
      return json(200, this.#target.status());
    }
    if (method === "POST") return await this.#create(question.body);
    if (method === "DELETE") return await this.#remove(path, question.body);
    return { status: 405, headers: JSON_TYPE, body: "" };
  }

  async #create(body: string): Promise<HttpAnswer> {
    const wish = readWish(body);
    if (wish === undefined) return json(400, failure("invalid request body"));
    const { type, token, reverse_token: reverse } = wish;
    try {
      switch (type) {
        case "forward":
          return json(200, { success: true, ...this.#target.addForward(token) });
        case "reverse":
          return json(200, {
            success: true,
            ...(await this.#target.addReverse(reverseWish(wish))),
          });
        case "connector":
          if (reverse === "") {
            return json(200, failure("reverse_token is required for connector token"));
          }
          return json(200, { success: true, ...this.#target.addConnector(token, reverse) });
        default:
          return json(400, failure("invalid token type"));
      }
    } catch (thrown) {
      return json(200, failure(toTunnelError(thrown, "ERR_CONFIG", "token").message));
    }
  }

  async #remove(path: string, body: string): Promise<HttpAnswer> {
    const inPath = path.slice("/api/token/".length);
    const token = inPath === "" ? (readWish(body)?.token ?? "") : inPath;
    if (token === "") return json(200, failure("token not specified"));
    try {
      await this.#target.remove(token);
      // Also when there was no such token: it is not there now.
      return json(200, { success: true, token });
    } catch (thrown) {
      return json(200, failure(toTunnelError(thrown, "ERR_CONFIG", "token").message));
    }
  }
}

/** The body of a request, as the reference names its members. */
interface Wish {
  readonly type: string;
  readonly token: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
  readonly reverse_token: string;
  readonly allow_manage_connector: boolean;
}

function reverseWish(wish: Wish): ReverseWish {
  const { token, port, username: user, password, allow_manage_connector: autonomy } = wish;
  // DEVIATION(linksocks): the reference then asks for no login at all.
  if ((user === "") !== (password === "")) {
    throw new ConfigError("username and password are given together or not at all");
  }
  const login = user === "" ? undefined : { user, password };
  return { secret: token, port, login, autonomy };
}

/** `undefined` when it is no JSON object, or a member has another type. */
function readWish(body: string): Wish | undefined {
  let input: unknown;
  try {
    input = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (typeof input !== "object" || input === null || Array.isArray(input)) return undefined;
  // Keys in any case, as Go reads them; `null` leaves the default.
  const members = new Map<string, unknown>(
    Object.entries(input).map(([key, value]) => [key.toLowerCase(), value ?? undefined]),
  );
  const text = (key: string): string | undefined => {
    const value = members.get(key) ?? "";
    return typeof value === "string" ? value : undefined;
  };
  const [type, token, username, password, reverse] = [
    text("type"),
    text("token"),
    text("username"),
    text("password"),
    text("reverse_token"),
  ];
  const port = members.get("port") ?? 0;
  const autonomy = members.get("allow_manage_connector") ?? false;
  if (
    type === undefined ||
    token === undefined ||
    username === undefined ||
    password === undefined ||
    reverse === undefined ||
    typeof port !== "number" ||
    !Number.isInteger(port) ||
    typeof autonomy !== "boolean"
  ) {
    return undefined;
  }
  return {
    type,
    token,
    port,
    username,
    password,
    reverse_token: reverse,
    allow_manage_connector: autonomy,
  };
}

function failure(error: string): { readonly success: false; readonly error: string } {
  return { success: false, error };
}

function json(status: number, value: unknown): HttpAnswer {
  return { status, headers: JSON_TYPE, body: `${toGoJson(value)}\n` };
}

/** Of equal length whatever the key: only such bytes can be compared in constant time. */
function digest(key: string): Buffer {
  return createHash("sha256").update(key, "utf8").digest();
}

const JSON_TYPE = { "content-type": "application/json" };

const TEXT_TYPE = { "content-type": "text/plain; charset=utf-8" };
