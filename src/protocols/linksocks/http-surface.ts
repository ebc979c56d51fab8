/** One HTTP request that is no login. */
export interface HttpQuestion {
  readonly method: string;
  /** Decoded, without query. */
  readonly path: string;
  /** What `X-API-Key` says; empty without it. */
  readonly apiKey: string;
  /** As text. */
  readonly body: string;
}

/** What is answered. */
export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case; length and date come on top. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What stands behind the paths that are no WebSocket's. */
export interface HttpSurface {
  /** Where WebSockets are taken, and below. */
  readonly socketPath: string;
  /** Absent: there is none. */
  readonly api: { answer(question: HttpQuestion): Promise<HttpAnswer> } | undefined;
}

/** Answers what is no WebSocket. Spec: linksocks 2.1. Reference: `server.go`, `Serve`. */
export async function answerHttp(
  question: HttpQuestion,
  { socketPath, api }: HttpSurface,
): Promise<HttpAnswer> {
  const { path, method } = question;
  if (isBelow(path, socketPath)) {
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

/** Whether WebSockets are taken on this path: the one that is served, and everything below. */
export function isBelow(path: string, socketPath: string): boolean {
  return path === socketPath || path.startsWith(`${socketPath}/`);
}

/** Where clients look unless told otherwise. */
export const SOCKET_PATH = "/socket";

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
