import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { ConfigError, PolicyError, toTunnelError, type TunnelError } from "../../../errors.ts";
import type { Logger } from "../../../tunnel/logger.ts";
import { answerJson, answerNothing, answerText, hangUpWith } from "./answers.ts";
import { ApiConnection, type ApiDeadlines } from "./api-connection.ts";
import { MAX_HEAD_BYTES } from "./exchange.ts";
import type { HealthChecks } from "./health-checks.ts";
import { checkHealth } from "./health.ts";
import { AgentProxy } from "./proxy.ts";
import { asksForWebSocket } from "./upgrade.ts";

/** What the HTTP side of an agent says of itself, and how it reaches what it is asked for. */
export interface AgentApiOptions extends Omit<HealthChecks, "version">, ApiDeadlines {
  /** The agent's display name. */
  readonly name: string;
  /** Decides which headers a GoDoxy server sends; from v0.18.7 on the present ones. */
  readonly version?: string | undefined;
  /** What the agent says it looks after. @default docker */
  readonly containers?: "docker" | "podman" | undefined;
  readonly logger: Logger;
  /** Connections at one time; more are closed at once. @default 4096 */
  readonly maxConnections?: number | undefined;
  /** Of them, with one key. @default 1024 */
  readonly maxConnectionsPerClient?: number | undefined;
}

/** Who speaks on a connection. */
export interface ApiClient {
  /** Its IP address, for the origins. */
  readonly address: string;
  /** For logs. */
  readonly name: string;
  /** SPKI pin: bounds are per key. */
  readonly key: string;
}

/** The HTTP side of an agent. */
export interface AgentApi {
  /**
   * Serves HTTP/1.1 on a connection, which is its own from now on.
   *
   * @param client without it, clients are told apart by their addresses
   */
  accept(socket: Duplex, client?: ApiClient): void;
  /** Ends idle connections at once, and the others when they have answered or time is up. */
  close(graceMs?: number): Promise<void>;
}

/**
 * Makes the HTTP side of an agent: information, health checks, and a proxy to hosts its rules allow.
 *
 * Reference: godoxy `agent/pkg/handler/handler.go`. There is no Docker socket here, and what would be
 * its is answered as the reference does without one.
 *
 * @throws ConfigError when the version is none
 */
export function createAgentApi(options: AgentApiOptions): AgentApi {
  const { version = DEFAULT_VERSION } = options;
  if (!/^v\d+\.\d+\.\d+(?:-\w+)?$/.test(version)) {
    throw new ConfigError(`version ${version} is none a GoDoxy server can read`, {
      hint: `give one like ${DEFAULT_VERSION}`,
    });
  }
  return new Api({ ...options, version });
}

class Api implements AgentApi {
  readonly #options: AgentApiOptions & { readonly version: string };
  readonly #server: Server;
  readonly #proxy: AgentProxy;
  /** By their stream, which is what the server knows of them. */
  readonly #connections = new Map<
    Duplex,
    { readonly api: ApiConnection; readonly client: ApiClient }
  >();
  /** Those whose last answer was given. */
  readonly #ending = new WeakSet<Duplex>();
  readonly #counts = new Map<string, number>();
  #onEmpty: (() => void) | undefined;
  #isClosed = false;

  constructor(options: AgentApiOptions & { readonly version: string }) {
    this.#options = options;
    this.#proxy = new AgentProxy(options);
    // It never listens: connections are given to it, and their deadlines are ours.
    const server = createServer({
      maxHeaderSize: MAX_HEAD_BYTES,
      keepAliveTimeout: 0,
      requireHostHeader: false, // Node would go on listening behind its answer
      shouldUpgradeCallback: (request) => asksForWebSocket(request) && isProxied(request),
    });
    // Node would drop what exceeds the count without a word; ours is told.
    server.maxHeadersCount = 0;
    // A client that finished its side still wants its answer.
    this.#server = Object.assign(server, { httpAllowHalfOpen: true });
    const onRequest = (request: IncomingMessage, response: ServerResponse): void =>
      this.#onRequest(request, response);
    server
      .on("request", onRequest)
      .on("checkContinue", onRequest)
      .on("checkExpectation", onRequest);
    server.on("connect", (_request, stream) => hangUpWith(stream, 502, "Bad Gateway", ""));
    server.on("upgrade", (request, stream, head) => this.#onUpgrade(request, stream, head));
    server.on("clientError", (error, stream) => this.#onClientError(error, stream));
  }

  accept(socket: Duplex, client: ApiClient = clientOf(socket)): void {
    const { maxConnections = 4_096, maxConnectionsPerClient = 1_024, runtime } = this.#options;
    const count = this.#counts.get(client.key) ?? 0;
    socket.on("error", () => {}); // the server or the exchange says what it means
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    if (this.#connections.size >= maxConnections || count >= maxConnectionsPerClient) {
      this.#log(client, "accept", new PolicyError("ERR_LIMIT", "too many connections at one time"));
      socket.destroy();
      return;
    }
    this.#counts.set(client.key, count + 1);
    socket.once("close", () => this.#forget(socket, client));
    this.#server.emit("connection", socket);
    const api = new ApiConnection(socket, {
      ...this.#options,
      clock: runtime.clock,
      onMisbehaved: (phase, error) => this.#log(client, phase, error),
    });
    this.#connections.set(socket, { api, client });
    socket.resume();
  }

  async close(graceMs = 0): Promise<void> {
    this.#isClosed = true;
    for (const { api } of this.#connections.values()) if (!api.isBusy) api.retire();
    const { clock } = this.#options.runtime;
    const hurry = (): void => {
      for (const socket of this.#connections.keys()) socket.destroy();
    };
    const timer = graceMs > 0 ? clock.schedule(graceMs, hurry) : undefined;
    if (timer === undefined) hurry();
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
    timer?.cancel();
    this.#proxy[Symbol.dispose]();
  }

  #forget(socket: Duplex, { key }: ApiClient): void {
    this.#connections.delete(socket);
    const left = (this.#counts.get(key) ?? 1) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const known = this.#connections.get(request.socket);
    if (known === undefined || !known.api.begin(request)) return;
    const { api, client } = known;
    response.once("finish", () => {
      if (!response.shouldKeepAlive) this.#ending.add(request.socket);
    });
    response.once("close", () => {
      api.end(request);
      if (this.#isClosed && !api.isBusy) api.retire();
    });
    request.on("error", () => {}); // the client went away; its response says so
    if (request.rawHeaders.length / 2 > MAX_HEADERS) {
      answerText(request, response, 431, `more than ${MAX_HEADERS} header fields`);
      return;
    }
    if (request.headers.host === undefined && request.httpVersion === "1.1") {
      response.shouldKeepAlive = false;
      answerText(request, response, 400, "missing required Host header");
      return;
    }
    const { "transfer-encoding": coding = "chunked" } = request.headers;
    if (coding.toLowerCase() !== "chunked") {
      // Reference: Go's `net/http`. Where a body ends must not be a matter of opinion.
      response.shouldKeepAlive = false;
      answerText(request, response, 501, "unsupported transfer encoding");
      return;
    }
    if (isProxied(request)) {
      this.#proxy.serve(request, response, client);
      return;
    }
    const { path, query } = splitUrl(request.url ?? "");
    if (path === `${BASE}/info`) {
      const { name, version, containers = "docker" } = this.#options;
      answerJson(request, response, { version, name, runtime: containers });
    } else if (READS.has(request.method ?? "") && this.#word(path) !== undefined) {
      answerText(request, response, 200, this.#word(path) ?? "");
    } else if (path === `${BASE}/health` && READS.has(request.method ?? "")) {
      this.#health(request, response, query);
    } else {
      answerNothing(request, response);
    }
  }

  /** The same by parts, for GoDoxy servers that know no `info`. */
  #word(path: string): string | undefined {
    const { name, version, containers = "docker" } = this.#options;
    const words = new Map([
      [`${BASE}/version`, version],
      [`${BASE}/name`, name],
      [`${BASE}/runtime`, containers],
    ]);
    return words.get(path);
  }

  #health(request: IncomingMessage, response: ServerResponse, query: string): void {
    const abort = new AbortController();
    response.once("close", () => abort.abort());
    checkHealth(new URLSearchParams(query), this.#options, abort.signal)
      .then((answer) => {
        if (response.destroyed) return;
        if (answer.status === 200) answerJson(request, response, answer.health);
        else answerText(request, response, answer.status, answer.text);
      })
      .catch((thrown: unknown) => {
        const error = toTunnelError(thrown, "ERR_DIAL_FAILED", "health check");
        this.#options.logger.warn("health check failed", { reason: error.message });
        if (!response.destroyed) answerText(request, response, 502, error.message);
      });
  }

  #onUpgrade(request: IncomingMessage, stream: Duplex, head: Uint8Array): void {
    const known = this.#connections.get(stream);
    if (known === undefined) return;
    known.api.becomeTunnel();
    this.#proxy.upgrade(request, { stream, head, client: known.client });
  }

  /** What the parser cannot read. */
  #onClientError(cause: Error, stream: Duplex): void {
    const known = this.#connections.get(stream);
    if (known === undefined || stream.destroyed || stream.writableEnded) return;
    const code = "code" in cause ? String(cause.code) : "";
    if (!code.startsWith("HPE_")) return; // the connection broke, and says so itself
    if (this.#ending.has(stream)) return; // nobody listens any more
    const error = toTunnelError(cause, "ERR_PROTOCOL", "malformed HTTP");
    this.#log(known.client, "request head", error);
    if (known.api.isBusy) {
      stream.destroy(); // in the middle of a response, nothing else can be said
      return;
    }
    known.api.becomeTunnel();
    const isLarge = code === "HPE_HEADER_OVERFLOW";
    const [status, reason] = isLarge
      ? ([431, "Request Header Fields Too Large"] as const)
      : ([400, "Bad Request"] as const);
    hangUpWith(stream, status, reason, `${status} ${reason}`);
  }

  #log(client: ApiClient, phase: string, error: TunnelError): void {
    this.#options.logger.warn("http connection closed", {
      peer: client.address,
      client: client.name,
      phase,
      reason: error.message,
    });
  }
}

function clientOf(socket: Duplex): ApiClient {
  const address =
    "remoteAddress" in socket && typeof socket.remoteAddress === "string"
      ? socket.remoteAddress
      : "unknown";
  return { address, name: "", key: address };
}

function isProxied({ url = "" }: Pick<IncomingMessage, "url">): boolean {
  return url.startsWith(`${PROXY_PREFIX}/`);
}

function splitUrl(url: string): { readonly path: string; readonly query: string } {
  const mark = url.indexOf("?");
  return mark < 0
    ? { path: url, query: "" }
    : { path: url.slice(0, mark), query: url.slice(mark + 1) };
}

/** Spec: 2.5. */
const BASE = "/godoxy/agent";

const PROXY_PREFIX = `${BASE}/proxy/http`;

/** Reference: a pattern for GET takes HEAD, too. */
const READS: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/** What the version is when nobody says: that of the reference this follows. */
export const DEFAULT_VERSION = "v0.30.4";

/** Browsers send some thirty. */
const MAX_HEADERS = 256;
