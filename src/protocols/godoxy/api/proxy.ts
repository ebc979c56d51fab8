import { STATUS_CODES, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { formatHostPort } from "../../../address/target.ts";
import { ConfigError, toTunnelError, type TunnelError } from "../../../errors.ts";
import type { Logger } from "../../../tunnel/logger.ts";
import { answerText, answerUnreachable, hangUpWith, UNREACHABLE } from "./answers.ts";
import { isPolicy, NOT_ALLOWED } from "./dial-failure.ts";
import { exchange } from "./exchange.ts";
import { exchangeH2c } from "./h2c-exchange.ts";
import { demandAllowed, type OriginDialer, openOrigin } from "./origin.ts";
import { OriginPool } from "./origin-pool.ts";
import { type ProxyConfig, readProxyConfig } from "./proxy-config.ts";
import { upgrade } from "./upgrade.ts";

/** What the proxy needs. */
export interface AgentProxyOptions extends OriginDialer {
  readonly logger: Logger;
}

/** Who asks. */
export interface ProxyClient {
  readonly address: string;
  readonly name: string;
}

/**
 * The part of the API that passes requests on to hosts the request names, as far as the rules of
 * this agent allow them.
 *
 * Reference: godoxy `agent/pkg/handler/proxy_http.go`.
 */
export class AgentProxy implements Disposable {
  readonly #options: AgentProxyOptions;
  readonly #origins: OriginPool;

  constructor(options: AgentProxyOptions) {
    this.#options = options;
    this.#origins = new OriginPool(options);
  }

  /** Passes a request on and its response back. */
  serve(request: IncomingMessage, response: ServerResponse, client: ProxyClient): void {
    const refuse = (status: number, text: string): void => {
      if (response.destroyed || response.headersSent) return;
      if (text === UNREACHABLE) answerUnreachable(request, response);
      else answerText(request, response, status, text);
    };
    void this.#prepared(request, client, refuse, async ({ config, common, onFailed }) => {
      if (config.scheme !== "h2c") {
        const agent = this.#origins.agentFor(config);
        if (!response.destroyed) exchange(request, response, { ...common, agent, onFailed });
        return;
      }
      const abort = new AbortController();
      response.once("close", () => abort.abort());
      const carrier = await openOrigin(this.#options, {
        ...config,
        tls: undefined,
        signal: abort.signal,
      });
      exchangeH2c(request, response, carrier, { ...common, onFailed });
    });
  }

  /** Passes a WebSocket on. */
  upgrade(
    request: IncomingMessage,
    asked: { readonly stream: Duplex; readonly head: Uint8Array; readonly client: ProxyClient },
  ): void {
    const { stream, head, client } = asked;
    const refuse = (status: number, text: string): void =>
      hangUpWith(stream, status, STATUS_CODES[status] ?? "", text);
    void this.#prepared(request, client, refuse, ({ config, common, onFailed }) => {
      const agent = this.#origins.agentFor(config);
      if (!stream.destroyed) upgrade(request, { ...common, client: stream, head, agent, onFailed });
      return Promise.resolve();
    });
  }

  [Symbol.dispose](): void {
    this.#origins[Symbol.dispose]();
  }

  /** Reads where a request goes, asks whether it may, and lets it go. It never rejects. */
  async #prepared(
    request: IncomingMessage,
    client: ProxyClient,
    refuse: (status: number, text: string) => void,
    go: (prepared: Prepared) => Promise<void>,
  ): Promise<void> {
    let config: ProxyConfig;
    try {
      config = readProxyConfig(request.headersDistinct);
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      if (thrown instanceof ConfigError) refuse(500, `failed to build proxy: ${why}`);
      else refuse(400, `failed to parse agent proxy config: ${why}`);
      return;
    }
    const { host, port, responseHeaderTimeoutMs } = config;
    const origin = formatHostPort(host, port);
    const onFailed = (error: TunnelError): void => {
      this.#log(client, origin, error);
      if (isPolicy(error)) refuse(403, NOT_ALLOWED);
      else refuse(502, UNREACHABLE);
    };
    try {
      await demandAllowed(this.#options, { network: "tcp", host, port });
      const { method = "GET", url = "/", headers } = request;
      const common = {
        runtime: this.#options.runtime,
        path: url.slice(PREFIX_LENGTH),
        forwarded: { method, address: client.address, host: headers.host ?? origin },
        headerTimeoutMs: responseHeaderTimeoutMs ?? DEFAULT_HEADER_TIMEOUT_MS,
      };
      await go({ config, common, onFailed });
    } catch (thrown) {
      onFailed(toTunnelError(thrown, "ERR_DIAL_FAILED", origin));
    }
  }

  #log({ address, name }: ProxyClient, origin: string, error: TunnelError): void {
    this.#options.logger.info("http origin not reached", {
      peer: address,
      client: name,
      target: origin,
      code: error.code,
      reason: error.message,
    });
  }
}

interface Prepared {
  readonly config: ProxyConfig;
  readonly common: Omit<Parameters<typeof exchange>[2], "agent" | "onFailed">;
  readonly onFailed: (error: TunnelError) => void;
}

/** Of what comes before the origin's own path. */
const PREFIX_LENGTH = "/godoxy/agent/proxy/http".length;

/** Reference: `NewTransport`. */
const DEFAULT_HEADER_TIMEOUT_MS = 60_000;
