import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { encodeHead } from "./headers.ts";

/** Answers JSON in one line. */
export function answerJson(
  request: IncomingMessage,
  response: ServerResponse,
  value: object,
): void {
  const body = `${JSON.stringify(value)}\n`;
  answer(request, response, 200, { "Content-Type": "application/json" }, body);
}

/** Answers an error in plain text. Reference: Go's `http.Error`. */
export function answerText(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string,
): void {
  const headers = { "Content-Type": PLAIN_TEXT, "X-Content-Type-Options": "nosniff" };
  answer(request, response, status, headers, `${text}\n`);
}

/** What everybody hears who asks for what would be Docker's, of which there is none. */
export function answerNothing(request: IncomingMessage, response: ServerResponse): void {
  answer(request, response, 502, {}, "");
}

/** Says that an origin did not answer; without a length, as the reference does. */
export function answerUnreachable(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(502, { "Content-Type": PLAIN_TEXT, ...closing(request) });
  response.end(request.method === "HEAD" ? "" : UNREACHABLE);
}

/** The last words on a connection no HTTP server writes to. */
export function hangUpWith(duplex: Duplex, status: number, reason: string, text: string): void {
  if (duplex.destroyed || duplex.writableEnded) return;
  const body = text === "" ? "" : `${text}\n`;
  const fields = ["Content-Type", PLAIN_TEXT, "Content-Length", `${Buffer.byteLength(body)}`];
  const head = encodeHead(status, reason, [...fields, "Connection", "close"]);
  duplex.end(Buffer.concat([head, Buffer.from(body)]));
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string,
): void {
  const length = { "Content-Length": String(Buffer.byteLength(body)) };
  response.writeHead(status, { ...headers, ...length, ...closing(request) });
  response.end(request.method === "HEAD" ? "" : body);
}

/** A long body that nobody wants is not read to its end just to keep the connection. */
function closing(request: IncomingMessage): Readonly<Record<string, string>> {
  if (request.complete) return {};
  const { "content-length": length, "transfer-encoding": coding } = request.headers;
  const isShort = coding === undefined && Number(length ?? 0) <= MAX_UNREAD_BYTES;
  return isShort ? {} : { Connection: "close" };
}

/** What a client reads whose origin is not there. */
export const UNREACHABLE = "Origin server is not reachable.";

const PLAIN_TEXT = "text/plain; charset=utf-8";

const MAX_UNREAD_BYTES = 64 * 1024;
