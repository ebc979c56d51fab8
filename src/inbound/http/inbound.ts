import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { formatHostPort } from "../../address/target.ts";
import { type TunnelError, toTunnelError } from "../../errors.ts";
import { clientRequest } from "../../tunnel/client-request.ts";
import type { Connection, OnConnection } from "../../tunnel/connection.ts";
import { HandshakeSlots } from "../../tunnel/handshake-slots.ts";
import {
  DEFAULT_HANDSHAKE_TIMEOUT_MS,
  type HandshakeInboundOptions,
} from "../../tunnel/inbound.ts";
import {
  type Answer,
  authAnswer,
  badRequestAnswer,
  encodeAnswer,
  failureAnswer,
} from "./answer.ts";
import { parseBasicAuth } from "./basic-auth.ts";
import { answerWith, exchange, MAX_HEAD_BYTES } from "./exchange.ts";
import { type AbsoluteTarget, parseAbsoluteTarget, parseAuthority } from "./headers.ts";
import { HttpClient } from "./http-client.ts";
import { type PacOptions, pacAnswer } from "./pac.ts";
import { asksForWebSocket, upgrade } from "./upgrade.ts";

/** Options of an HTTP proxy. `handshakeTimeoutMs` bounds the head of every request. */
export interface HttpInboundOptions extends HandshakeInboundOptions {
  /** A connection with no request on it, ms. @default 60000 */
  readonly idleTimeoutMs?: number | undefined;
  /** Between two pieces of a request's body, ms. @default 300000 */
  readonly bodyTimeoutMs?: number | undefined;
  /** Served to whoever asks, without a login. @default none */
  readonly pac?: PacOptions | undefined;
}

/** Serves an HTTP/1.1 proxy: CONNECT, and requests in absolute form. */
export function createHttpInbound(options: HttpInboundOptions): OnConnection {
  const inbound = new HttpInbound(options);
  return (connection) => inbound.serve(connection);
}

class HttpInbound {
  readonly #options: HttpInboundOptions;
  readonly #server: Server;
  readonly #slots: HandshakeSlots;
  /** By their stream, which is what the server knows of them. */
  readonly #clients = new WeakMap<object, HttpClient>();

  constructor(options: HttpInboundOptions) {
    this.#options = options;
    const { runtime, logger, maxHandshakes } = options;
    this.#slots = new HandshakeSlots({ runtime, logger, limit: maxHandshakes });
    const { idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS } = options;
    // It never listens: connections are given to it, and their deadlines are ours.
    const server = createServer({
      maxHeaderSize: MAX_HEAD_BYTES,
      requireHostHeader: false,
      keepAliveTimeout: idleTimeoutMs,
      shouldUpgradeCallback: asksForWebSocket,
    });
    // Bounded by its size; Node would drop what exceeds the count without a word.
    server.maxHeadersCount = 0;
    // A client that finished its side still wants its answer.
    this.#server = Object.assign(server, { httpAllowHalfOpen: true });
    const onRequest = (request: IncomingMessage, response: ServerResponse): void =>
      this.#onRequest(request, response);
    server.on("request", onRequest).on("checkContinue", onRequest);
    server.on("connect", (request, stream, head) => this.#onConnect(request, stream, head));
    server.on("upgrade", (request, stream, head) => this.#onUpgrade(request, stream, head));
    server.on("clientError", (error, stream) => this.#onClientError(error, stream));
  }

  serve(connection: Connection): void {
    const { name, runtime, onRequest, idleTimeoutMs, bodyTimeoutMs, handshakeTimeoutMs } =
      this.#options;
    this.#slots.enter(connection);
    const client: HttpClient = new HttpClient(connection, {
      inbound: name,
      runtime,
      onRequest,
      headTimeoutMs: handshakeTimeoutMs ?? DEFAULT_HANDSHAKE_TIMEOUT_MS,
      idleTimeoutMs: idleTimeoutMs ?? DEFAULT_IDLE_TIMEOUT_MS,
      bodyTimeoutMs: bodyTimeoutMs ?? DEFAULT_BODY_TIMEOUT_MS,
      onSettled: () => this.#slots.leave(connection),
      onMisbehaved: (phase, error) => this.#log(client, phase, error),
      onHeadLate: (error) => {
        this.#log(client, "request head", error);
        client.hangUp(encodeAnswer(badRequestAnswer(error.message, "send it at once", 408)));
      },
    });
    this.#clients.set(client.duplex, client);
    this.#server.emit("connection", client.duplex);
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const client = this.#clients.get(request.socket);
    if (client === undefined || !client.begin(request)) return;
    response.once("close", () => client.end(request));
    const { pac } = this.#options;
    const file = pac && pacAnswer(request, pac, client.info.local);
    if (file !== undefined) {
      answerWith(request, response, file);
      return;
    }
    const target = parseAbsoluteTarget(request.url ?? "", request.method);
    const refusal = target === undefined ? notAbsolute(request) : undefined;
    const { user, denial } = this.#authenticate(request, client);
    const answer = refusal ?? denial;
    if (answer !== undefined || target === undefined) {
      answerWith(request, response, answer ?? notAbsolute(request));
      return;
    }
    const onFailed = this.#onFailed(client, target);
    exchange(request, response, { target, agent: client.originsFor(user).agent, onFailed });
  }

  #onUpgrade(request: IncomingMessage, stream: object, head: Uint8Array): void {
    const client = this.#clients.get(stream);
    if (client === undefined) return;
    client.becomeTunnel();
    const target = parseAbsoluteTarget(request.url ?? "");
    const { user, denial } = this.#authenticate(request, client);
    if (target === undefined || denial !== undefined) {
      client.hangUp(encodeAnswer(denial ?? notAbsolute(request)));
      return;
    }
    const onFailed = this.#onFailed(client, target);
    upgrade(request, { client, head, target, agent: client.originsFor(user).agent, onFailed });
  }

  #onConnect(request: IncomingMessage, stream: object, head: Uint8Array): void {
    const client = this.#clients.get(stream);
    if (client === undefined) return;
    const connection = client.detach();
    connection.unshift(head);
    const refuse = (answer: Answer): void => {
      connection.write([encodeAnswer(answer)]);
      connection.close();
    };
    const target = parseAuthority(request.url ?? "");
    const { user, denial } = this.#authenticate(request, client);
    if (denial !== undefined) {
      refuse(denial);
      return;
    }
    if (target === undefined) {
      refuse(badRequestAnswer("the target of CONNECT is not host:port", "name both"));
      return;
    }
    const { name, onRequest } = this.#options;
    const asked = clientRequest(connection, {
      target: { network: "tcp", ...target },
      metadata: { inbound: name, source: client.info.peer, user },
      endMeans: "gone",
      onAccept: () => void connection.write([ESTABLISHED.slice()]),
      onReject: (_connection, error) =>
        refuse(failureAnswer(`opening ${formatHostPort(target.host, target.port)}`, error)),
    });
    onRequest(asked);
  }

  #authenticate(
    request: IncomingMessage,
    client: HttpClient,
  ): { readonly user?: string | undefined; readonly denial?: Answer | undefined } {
    const { logins } = this.#options;
    if (logins === undefined) return {};
    const field = request.headers["proxy-authorization"];
    const credentials = field === undefined ? undefined : parseBasicAuth(field);
    // Asking first is how clients find out that they have to.
    if (credentials === undefined) return { denial: authAnswer(undefined) };
    const error = logins.check(client.info.peer, credentials.user, credentials.password);
    if (error === undefined) return { user: credentials.user };
    this.#log(client, "authentication", error);
    return { denial: authAnswer(error) };
  }

  /** What the parser cannot read. */
  #onClientError(cause: Error, stream: object): void {
    const client = this.#clients.get(stream);
    if (client === undefined || client.duplex.destroyed || client.duplex.writableEnded) return;
    const code = "code" in cause ? String(cause.code) : "";
    if (!code.startsWith("HPE_")) return; // the connection broke, and says so itself
    const error = toTunnelError(cause, "ERR_PROTOCOL", "malformed HTTP");
    this.#log(client, "request head", error);
    if (client.isBusy) {
      client.duplex.destroy(error); // in the middle of a response, nothing else can be said
      return;
    }
    const isLarge = code === "HPE_HEADER_OVERFLOW";
    const answer = isLarge
      ? badRequestAnswer(`head over ${MAX_HEAD_BYTES} bytes`, "send fewer or smaller cookies", 431)
      : badRequestAnswer(error.message, "speak HTTP/1.1 to this port");
    client.hangUp(encodeAnswer(answer));
  }

  #onFailed(client: HttpClient, target: AbsoluteTarget): (error: TunnelError) => void {
    return (error) => {
      const { logger, name } = this.#options;
      const fields = {
        inbound: name,
        peer: client.info.peer,
        to: formatHostPort(target.host, target.port),
        reason: error.message,
        code: error.code,
      };
      // Whoever refused the target logs that; what the origin says is seen here only.
      if (error.code === "ERR_PROTOCOL") logger.warn("http response malformed", fields);
      else logger.debug("http exchange failed", fields);
    };
  }

  #log(client: HttpClient, phase: string, error: TunnelError): void {
    const { logger, name } = this.#options;
    logger.warn("http request refused", {
      inbound: name,
      peer: client.info.peer,
      phase,
      reason: error.message,
      code: error.code,
      hint: error.hint,
    });
  }
}

/** What to tell somebody who opened the proxy's port as if it were a web server. */
function notAbsolute({ url = "" }: IncomingMessage): Answer {
  if (/^https:\/\//i.test(url)) {
    return badRequestAnswer("https targets go through CONNECT", "let the client tunnel them");
  }
  if (/^(?:http|ws):/i.test(url)) {
    return badRequestAnswer("the URL of the request is malformed", "check host and port");
  }
  const text = "this is an HTTP proxy, not a web server";
  return badRequestAnswer(
    text,
    "set it as your proxy: curl -x http://HOST:PORT http://example.com/",
  );
}

const ESTABLISHED: Uint8Array = Buffer.from("HTTP/1.1 200 Connection Established\r\n\r\n");

/** As long as browsers keep a connection to a proxy around. */
const DEFAULT_IDLE_TIMEOUT_MS = 60_000;

/** Uploads pause; nobody waits five minutes for the next piece. */
const DEFAULT_BODY_TIMEOUT_MS = 300_000;
