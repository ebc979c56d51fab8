import {
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  request as httpRequest,
  type ServerResponse,
} from "node:http";
import { pipeline } from "node:stream";
import { formatHostPort } from "../../address/target.ts";
import { toTunnelError, type TunnelError } from "../../errors.ts";
import { type Answer, answerHeaders, failureAnswer } from "./answer.ts";
import {
  type AbsoluteTarget,
  clientResponseHeaders,
  headerPairs,
  originRequestHeaders,
} from "./headers.ts";

/** Where an exchange goes, and who hears when it fails. */
export interface ExchangeOptions {
  readonly target: AbsoluteTarget;
  readonly agent: Agent;
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
  const send = (isRetry: boolean): void => {
    let outgoing: ClientRequest;
    try {
      outgoing = openOriginRequest(request, options);
    } catch (thrown) {
      fail(toTunnelError(thrown, "ERR_PROTOCOL", "request"));
      return;
    }
    let hasResponse = false;
    outgoing.on("continue", () => response.writeContinue());
    outgoing.on("information", ({ statusCode, headers: { link } }) => {
      if (statusCode === 103 && link !== undefined) response.writeEarlyHints({ link });
    });
    outgoing.on("response", (incoming) => {
      hasResponse = true;
      passBack(incoming, request, response);
    });
    outgoing.on("error", (cause) => {
      request.unpipe(outgoing);
      if (hasResponse) return; // the response tells by itself
      // The origin hung up on an idle connection just then: that is no answer to this request.
      if (outgoing.reusedSocket && !isRetry && !hasBody && SAFE_METHODS.has(outgoing.method)) {
        send(true);
        return;
      }
      fail(toTunnelError(cause, originErrorCode(cause), "origin"));
    });
    if (!hasBody) {
      outgoing.end();
      return;
    }
    // Before the pipe, which ends the request right behind.
    request.once("end", () => outgoing.addTrailers([...headerPairs(request.rawTrailers)]));
    request.pipe(outgoing);
  };
  const fail = (error: TunnelError): void => {
    if (request.socket.destroyed) return; // the client went away; nobody is left to be told
    options.onFailed(error);
    if (response.headersSent) response.destroy(error);
    else {
      const { host, port } = options.target;
      answerWith(request, response, failureAnswer(`opening ${formatHostPort(host, port)}`, error));
    }
  };
  request.on("error", () => {}); // the client went away; its connection takes everything along
  if (!hasBody) request.resume();
  send(false);
}

/** Passes the response on as it comes. When it breaks off, so does the client's connection. */
function passBack(
  incoming: IncomingMessage,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const headers = clientResponseHeaders(incoming.rawHeaders);
  // What is still to come of the request is of no use, and would look like the next one.
  if (isUnread(request)) headers.push("Connection", "close");
  response.sendDate = false;
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

/** Answers in the proxy's own name; a client that has not sent all is not listened to further. */
export function answerWith(
  request: IncomingMessage,
  response: ServerResponse,
  answer: Answer,
): void {
  const headers = answerHeaders(answer);
  if (isUnread(request)) headers.push("Connection", "close");
  response.writeHead(answer.status, headers);
  response.end(answer.text);
}

/** Whether some of the request is still to come. A request without a body never waits for one. */
function isUnread(request: IncomingMessage): boolean {
  return isFramed(request) && !request.complete;
}

function isFramed({ headers }: IncomingMessage): boolean {
  return "content-length" in headers || "transfer-encoding" in headers;
}

/** Makes the request to the origin; nothing is sent before its body or its end is written. */
export function openOriginRequest(
  { method = "GET", rawHeaders }: IncomingMessage,
  { target, agent }: Pick<ExchangeOptions, "target" | "agent">,
  extraHeaders: readonly string[] = [],
): ClientRequest {
  const { host, port, path, authority } = target;
  return httpRequest({
    agent,
    host,
    port,
    method,
    path,
    headers: [...originRequestHeaders(rawHeaders, { method, authority }), ...extraHeaders],
    maxHeaderSize: MAX_HEAD_BYTES,
  });
}

/** What a failure of Node's client means: a malformed response, or a connection that broke. */
export function originErrorCode(cause: Error): TunnelError["code"] {
  const code = "code" in cause ? String(cause.code) : "";
  return code.startsWith("HPE_") ? "ERR_PROTOCOL" : "ERR_CONNECTION_RESET";
}

/** Requests that can be sent again when nobody answered. Spec: RFC 9110 section 9.2.1. */
const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);

/** Room for the cookies of large sites, each way. */
export const MAX_HEAD_BYTES: number = 64 * 1024;
