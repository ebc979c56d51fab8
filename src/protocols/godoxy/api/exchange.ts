import {
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  request as httpRequest,
  type ServerResponse,
} from "node:http";
import { pipeline } from "node:stream";
import { IdleTimer } from "../../../clock/idle-timer.ts";
import { NetworkError, toTunnelError, type TunnelError } from "../../../errors.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import {
  clientResponseHeaders,
  type Forwarded,
  framingOf,
  headerPairs,
  originRequestHeaders,
} from "./headers.ts";

/** Where an exchange goes, how long it may take, and who hears when it fails. */
export interface ExchangeOptions {
  readonly runtime: Runtime;
  readonly agent: Agent;
  /** What the origin is asked for, byte for byte. */
  readonly path: string;
  readonly forwarded: Forwarded;
  /** From the whole request to the head of the response. */
  readonly headerTimeoutMs: number;
  /** No response was begun; the client still has to be told. */
  onFailed(error: TunnelError): void;
}

/**
 * Passes one request on to its origin and the response back, both as they come. A response that
 * breaks off resets the client: a part must not look like the whole.
 */
export function exchange(
  request: IncomingMessage,
  response: ServerResponse,
  options: ExchangeOptions,
): void {
  const hasBody = isFramed(request);
  const fail = (error: TunnelError): void => {
    if (request.socket.destroyed) return; // the client went away; nobody is left to be told
    if (response.headersSent) response.destroy(error);
    else options.onFailed(error);
  };
  const send = (isRetry: boolean): void => {
    let outgoing: ClientRequest;
    try {
      outgoing = openOriginRequest(request, options);
    } catch (thrown) {
      fail(toTunnelError(thrown, "ERR_PROTOCOL", "request"));
      return;
    }
    const watch = watchOrigin(outgoing, options);
    const onGone = (): void => void outgoing.destroy();
    response.once("close", onGone);
    let hasResponse = false;
    outgoing.on("continue", () => response.writeContinue());
    outgoing.on("information", ({ statusCode, headers: { link } }) => {
      if (statusCode === 103 && link !== undefined) response.writeEarlyHints({ link });
    });
    outgoing.on("response", (incoming) => {
      hasResponse = true;
      watch.cancel();
      response.off("close", onGone);
      passBack(incoming, request, response);
    });
    outgoing.on("error", (cause) => {
      watch.cancel();
      response.off("close", onGone);
      request.unpipe(outgoing);
      if (hasResponse) return; // the response tells by itself
      // The origin hung up on an idle connection just then: that is no answer to this request.
      if (outgoing.reusedSocket && !isRetry && !hasBody && SAFE_METHODS.has(outgoing.method)) {
        send(true);
        return;
      }
      fail(toTunnelError(cause, originErrorCode(cause), "origin"));
    });
    outgoing.once("close", () => watch.cancel());
    if (!hasBody) {
      outgoing.end();
      return;
    }
    request.on("data", watch.touch);
    // Before the pipe, which ends the request right behind.
    request.once("end", () => outgoing.addTrailers([...headerPairs(request.rawTrailers)]));
    request.pipe(outgoing);
  };
  request.on("error", () => {}); // the client went away; its connection takes everything along
  if (!hasBody) request.resume();
  send(false);
}

/** Makes the request to the origin; nothing is sent before its body or its end is written. */
export function openOriginRequest(
  { method = "GET", rawHeaders }: IncomingMessage,
  { agent, path, forwarded }: Pick<ExchangeOptions, "agent" | "path" | "forwarded">,
  extraHeaders?: readonly string[],
): ClientRequest {
  const headers = originRequestHeaders(rawHeaders, forwarded);
  return httpRequest({
    agent,
    method,
    path,
    headers: [...headers, ...(extraHeaders ?? framingOf(rawHeaders, method))],
    maxHeaderSize: MAX_HEAD_BYTES,
  });
}

/** Ends a request whose origin takes too long: to take it, or to answer once it has it all. */
export function watchOrigin(
  outgoing: ClientRequest,
  { runtime, headerTimeoutMs }: Pick<ExchangeOptions, "runtime" | "headerTimeoutMs">,
): { readonly touch: () => void; readonly cancel: () => void } {
  let timeoutMs = STALL_MS;
  const timer = new IdleTimer(runtime.clock, timeoutMs, () => {
    const text = `no answer within ${timeoutMs} ms`;
    outgoing.destroy(new NetworkError("ERR_DIAL_TIMEOUT", text));
  });
  outgoing.once("finish", () => {
    timeoutMs = headerTimeoutMs;
    timer.touch();
    timer.changeTo(timeoutMs);
  });
  return { touch: () => timer.touch(), cancel: () => timer.cancel() };
}

/** Passes the response on as it comes. When it breaks off, so does the client's connection. */
function passBack(
  incoming: IncomingMessage,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const headers = clientResponseHeaders(incoming.rawHeaders);
  // What is still to come of the request is of no use, and would look like the next one.
  if (isFramed(request) && !request.complete) headers.push("Connection", "close");
  response.writeHead(incoming.statusCode ?? 502, incoming.statusMessage, headers);
  incoming.once("end", () => response.addTrailers([...headerPairs(incoming.rawTrailers)]));
  if (!isFramed(incoming)) {
    // Only the end of the connection ends such a body, and Node takes a reset for one, too. It must
    // be seen before Node's own listener does.
    const { socket } = incoming;
    const onBroken = (cause: Error): void => void response.destroy(cause);
    socket.prependListener("error", onBroken);
    incoming.once("close", () => socket.off("error", onBroken));
  }
  pipeline(incoming, response, () => {}); // both are destroyed together; that is all there is to do
}

function isFramed({ headers }: IncomingMessage): boolean {
  return "content-length" in headers || "transfer-encoding" in headers;
}

/** What a failure of Node's client means: a malformed response, or a connection that broke. */
export function originErrorCode(cause: Error): TunnelError["code"] {
  const code = "code" in cause ? String(cause.code) : "";
  return code.startsWith("HPE_") ? "ERR_PROTOCOL" : "ERR_CONNECTION_RESET";
}

/** Requests that can be sent again when nobody answered. Spec: RFC 9110 section 9.2.1. */
const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);

/** How long an origin may take nothing of a request, or a request wait for a connection. */
const STALL_MS = 60_000;

/** Room for the cookies of large sites, each way. */
export const MAX_HEAD_BYTES: number = 64 * 1024;
