import type http from "node:http";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import type { WebAnswer, WebSurface } from "./system.ts";

/** Reads requests whole, within bounds, and sends what the surface answers. */
export function answerWeb(
  surface: WebSurface,
  { runtime, logger }: { readonly runtime: Runtime; readonly logger: Logger },
): http.RequestListener {
  return (request, response) => {
    const send = ({ status, headers, body }: WebAnswer): void => {
      // One request each: nobody keeps a connection for nothing.
      const length = { "content-length": String(Buffer.byteLength(body)), connection: "close" };
      response.writeHead(status, { ...headers, ...length });
      response.end(request.method === "HEAD" ? "" : body);
    };
    const path = pathOf(request);
    if (path === undefined) {
      send(BAD_REQUEST);
      return;
    }
    const deadline = runtime.clock.schedule(REQUEST_MS, () => request.destroy());
    readBody(request)
      .then(async (body) => {
        if (body === undefined) return TOO_LARGE;
        const { method = "GET" } = request;
        const key = request.headers["x-api-key"];
        const apiKey = typeof key === "string" ? key : "";
        return await surface.answer({ method, path, apiKey, body });
      })
      .then(send)
      .catch((thrown: unknown) => {
        const reason = thrown instanceof Error ? thrown.message : String(thrown);
        logger.warn("http request failed", { path, reason });
        if (response.headersSent) response.destroy();
        else send(FAILED);
      })
      .finally(() => deadline.cancel());
  };
}

/** `undefined` when it is not well-formed. */
function pathOf({ url = "/" }: http.IncomingMessage): string | undefined {
  try {
    return decodeURIComponent(url.split("?", 1)[0] ?? "/");
  } catch {
    return undefined;
  }
}

/** `undefined` when it is too large. */
async function readBody(request: http.IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let byteLength = 0;
  // What is too large is left unread, but its sender is still told so.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const bytes: Buffer = chunk;
    byteLength += bytes.byteLength;
    if (byteLength > MAX_BODY_BYTES) return undefined;
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString();
}

const TEXT = { "content-type": "text/plain; charset=utf-8" };
const BAD_REQUEST: WebAnswer = { status: 400, headers: TEXT, body: "bad request\n" };
const TOO_LARGE: WebAnswer = { status: 413, headers: TEXT, body: "request body too large\n" };
const FAILED: WebAnswer = { status: 500, headers: TEXT, body: "internal server error\n" };

/** A token request has a few hundred bytes. */
const MAX_BODY_BYTES = 64 * 1024;

/** From its first byte to the end of the answer. */
const REQUEST_MS = 10_000;
