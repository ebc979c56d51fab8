import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import http2 from "node:http2";
import type { Duplex } from "node:stream";
import { IdleTimer } from "../../../clock/idle-timer.ts";
import { NetworkError, toTunnelError } from "../../../errors.ts";
import type { ExchangeOptions } from "./exchange.ts";
import { headerPairs, originRequestHeaders } from "./headers.ts";

/**
 * Passes one request on to an origin that speaks HTTP/2 without TLS, on a connection of its own,
 * and the response back: bodies both ways at one time, and trailers, as gRPC wants them.
 *
 * @param carrier the connection; it is ended with the exchange
 */
export function exchangeH2c(
  request: IncomingMessage,
  response: ServerResponse,
  carrier: Duplex,
  options: Omit<ExchangeOptions, "agent">,
): void {
  const { runtime, path, forwarded, headerTimeoutMs } = options;
  const { method = "GET", rawHeaders } = request;
  const session = http2.connect(`http://${ANY_AUTHORITY}`, {
    createConnection: () => carrier,
    settings: { enablePush: false },
  });
  let hasFailed = false;
  const fail = (cause: unknown): void => {
    if (hasFailed) return;
    hasFailed = true;
    timer.cancel();
    session.destroy();
    carrier.destroy();
    if (request.socket.destroyed) return; // the client went away; nobody is left to be told
    const error = toTunnelError(cause, "ERR_CONNECTION_RESET", "origin");
    if (response.headersSent) response.destroy(error);
    else options.onFailed(error);
  };
  const timer = new IdleTimer(runtime.clock, headerTimeoutMs, () => {
    fail(new NetworkError("ERR_DIAL_TIMEOUT", `no answer within ${headerTimeoutMs} ms`));
  });
  session.on("error", fail);
  const headers = requestHeaders(originRequestHeaders(rawHeaders, forwarded));
  const pseudo = {
    ":method": method,
    ":path": path,
    ":authority": forwarded.host,
    ":scheme": "http",
  };
  let stream: http2.ClientHttp2Stream;
  try {
    stream = session.request({ ...pseudo, ...headers }, { endStream: false });
  } catch (thrown) {
    fail(thrown); // fields HTTP/2 does not have
    return;
  }
  stream.on("error", fail);
  stream.on("response", (fields, _flags) => {
    timer.cancel();
    const { ":status": status = 502, ...rest } = fields;
    response.writeHead(status, responseHeaders(rest));
    if (method === "HEAD" || status === 204 || status === 304) response.end();
    else stream.pipe(response, { end: false });
  });
  stream.on("trailers", (fields) => response.addTrailers(responseHeaders(fields)));
  stream.on("end", () => response.end());
  stream.on("close", () => {
    timer.cancel();
    // A part must not look like the whole.
    if (!response.headersSent || stream.rstCode !== http2.constants.NGHTTP2_NO_ERROR) {
      fail(new NetworkError("ERR_CONNECTION_RESET", "origin: stream ended before its response"));
    }
    session.close(() => carrier.end(() => carrier.destroy()));
  });
  response.once("close", () => {
    if (!response.writableFinished) stream.close(http2.constants.NGHTTP2_CANCEL);
  });
  request.on("error", () => {}); // the client went away; its connection takes everything along
  request.on("data", () => timer.touch());
  // HTTP/2 origins are not asked first: they can stop a body at any time.
  if (/^100-continue$/i.test(request.headers.expect ?? "")) response.writeContinue();
  request.pipe(stream);
}

/** Fields as HTTP/2 has them: small letters, and none of a connection's own. */
function requestHeaders(raw: readonly string[]): OutgoingHttpHeaders {
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of headerPairs(raw)) {
    const lower = name.toLowerCase();
    if (lower === "host" || lower === "expect") continue;
    const before = headers[lower];
    headers[lower] =
      before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value];
    if (SINGLE.has(lower)) headers[lower] = value;
  }
  return headers;
}

function responseHeaders(fields: http2.IncomingHttpHeaders): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(fields)) {
    if (!name.startsWith(":") && value !== undefined) headers[name] = value;
  }
  return headers;
}

/** Node wants a URL; what the origin reads is `:authority`. */
const ANY_AUTHORITY = "origin.invalid";

/** Fields Node takes once; that they come twice was refused before. */
const SINGLE: ReadonlySet<string> = new Set(["content-length", "te", "content-type"]);
