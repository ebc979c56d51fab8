import { Agent, type ClientRequest } from "node:http";
import { Duplex } from "node:stream";
import type { Timer } from "../../../clock/clock.ts";
import { toTunnelError, TunnelError } from "../../../errors.ts";
import { type OriginDialer, openOrigin } from "./origin.ts";
import type { ProxyConfig } from "./proxy-config.ts";

/**
 * Connections to origins, kept for the next request that asks for the same in the same way.
 *
 * Reference: godoxy `agent/pkg/handler/proxy_http.go`, which keeps 64 of its proxies, too.
 */
export class OriginPool implements Disposable {
  readonly #dialer: OriginDialer;
  /** By all they depend on; the one unused for longest first. */
  readonly #agents = new Map<string, OriginAgent>();
  readonly #abort = new AbortController();

  constructor(dialer: OriginDialer) {
    this.#dialer = dialer;
  }

  /** For `http.request`. */
  agentFor(config: ProxyConfig): Agent {
    const { scheme, host, port, tls, maxConnections } = config;
    const key = JSON.stringify([scheme, host, port, tls, maxConnections]);
    const known = this.#agents.get(key);
    this.#agents.delete(key);
    const agent = known ?? new OriginAgent(this.#dialer, config, this.#abort.signal);
    this.#agents.set(key, agent);
    const [oldest] = this.#agents;
    if (this.#agents.size > MAX_AGENTS && oldest !== undefined) {
      this.#agents.delete(oldest[0]);
      oldest[1].retire();
    }
    return agent.agent;
  }

  /** Ends idle connections in order, and those that are being opened. */
  [Symbol.dispose](): void {
    this.#abort.abort(new TunnelError("ERR_SHUTDOWN", "the agent is closing"));
    for (const agent of this.#agents.values()) agent.retire();
    this.#agents.clear();
  }
}

/** The connections of one origin. */
class OriginAgent {
  readonly agent: Agent;
  readonly #dialer: OriginDialer;
  readonly #config: ProxyConfig;
  readonly #signal: AbortSignal;
  /** With the timer of each. */
  readonly #idle = new Map<Duplex, Timer>();
  #isRetired = false;

  constructor(dialer: OriginDialer, config: ProxyConfig, signal: AbortSignal) {
    this.#dialer = dialer;
    this.#config = config;
    this.#signal = signal;
    const maxSockets = Math.min(config.maxConnections || MAX_CONNECTIONS, MAX_CONNECTIONS);
    // The three methods that Node documents for agents of one's own; the default ones want sockets.
    this.agent = Object.assign(
      new Agent({ keepAlive: true, maxSockets, maxFreeSockets: MAX_IDLE }),
      {
        createConnection: (_: unknown, done: (error: Error | null, stream: Duplex) => void) =>
          this.#open(done),
        keepSocketAlive: (stream: Duplex) => this.#keep(stream),
        reuseSocket: (stream: Duplex, request: ClientRequest) => this.#reuse(stream, request),
      },
    );
  }

  /** Nothing is kept any more; what is in use goes on. */
  retire(): void {
    this.#isRetired = true;
    for (const stream of this.#idle.keys()) this.#end(stream);
  }

  #open(done: (error: Error | null, stream: Duplex) => void): void {
    const { host, port, scheme, tls } = this.#config;
    const secure = scheme === "https" ? tls : undefined;
    openOrigin(this.#dialer, { host, port, tls: secure, signal: this.#signal })
      .then((stream) => {
        stream.once("end", () => {
          // As a socket without half-open would: the origin is done with this connection.
          if (this.#idle.has(stream)) this.#end(stream);
          else stream.end();
        });
        stream.once("close", () => this.#forget(stream));
        // The default `reuseSocket` keeps the process alive for its socket; ours need not.
        done(null, "ref" in stream ? stream : Object.assign(stream, { ref: () => {} }));
      })
      .catch((thrown: unknown) => {
        done(toTunnelError(thrown, "ERR_DIAL_FAILED", host), new Duplex());
      });
  }

  /** @returns whether the agent may keep it */
  #keep(stream: Duplex): boolean {
    if (this.#isRetired || !stream.writable || stream.readableEnded) return false;
    const { clock } = this.#dialer.runtime;
    this.#idle.set(
      stream,
      clock.schedule(IDLE_MS, () => this.#end(stream)),
    );
    return true;
  }

  #reuse(stream: Duplex, request: ClientRequest): void {
    this.#forget(stream);
    Agent.prototype.reuseSocket.call(this.agent, stream, request);
  }

  /** Takes an idle connection from the agent and ends it in order. */
  #end(stream: Duplex): void {
    this.#forget(stream);
    stream.emit("agentRemove"); // the agent's own word for "not yours any more"
    stream.end(() => stream.destroy());
  }

  #forget(stream: Duplex): void {
    this.#idle.get(stream)?.cancel();
    this.#idle.delete(stream);
  }
}

const MAX_AGENTS = 64;

/** To one origin, unless the request asks for fewer. */
const MAX_CONNECTIONS = 256;

const MAX_IDLE = 16;

/** Below the 5 s after which common servers hang up: a request must not meet their goodbye. */
const IDLE_MS = 4_000;
