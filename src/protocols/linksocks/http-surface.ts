/** One HTTP request that is no login. */
export interface HttpQuestion {
  readonly method: string;
  /** Decoded, without query. */
  readonly path: string;
  /** What `X-API-Key` says; empty without it. */
  readonly apiKey: string;
  /** At most {@link MAX_BODY_BYTES}, as text. */
  readonly body: string;
}

/** What is answered. */
export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case; length and date come on top. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Answers what is no WebSocket. Spec: linksocks 2.1. Reference: `server.go`, `Serve`. */
export async function answerHttp(
  question: HttpQuestion,
  api: { answer(question: HttpQuestion): Promise<HttpAnswer> } | undefined,
): Promise<HttpAnswer> {
  const { path, method } = question;
  if (isSocketPath(path)) {
    const [status, text] = method === "GET" ? [400, "Bad Request"] : [405, "Method Not Allowed"];
    return plain(status, text, { "sec-websocket-version": "13" });
  }
  if (path === "/") {
    const text =
      api === undefined
        ? "Sluice is running but API is not enabled."
        : "Sluice is running. API endpoints available at /api/*";
    return { status: 200, headers: TEXT, body: `${text}\n` };
  }
  if (api !== undefined && path.startsWith("/api/")) return await api.answer(question);
  return NOT_FOUND;
}

/** Whether WebSockets are taken on this path: `/socket`, and everything below. */
export function isSocketPath(path: string): boolean {
  return path === "/socket" || path.startsWith("/socket/");
}

/** Largest body of a request that is read. */
export const MAX_BODY_BYTES: number = 64 * 1024;

function plain(status: number, text: string, headers: Record<string, string> = {}): HttpAnswer {
  return {
    status,
    headers: { ...TEXT, ...headers, "x-content-type-options": "nosniff" },
    body: `${text}\n`,
  };
}

const TEXT = { "content-type": "text/plain; charset=utf-8" };

/** What is not there. */
export const NOT_FOUND: HttpAnswer = plain(404, "404 page not found");

/** A body that is too large to be read. */
export const TOO_LARGE: HttpAnswer = plain(413, "request body too large");
