import { Agent, type ClientRequest } from "node:http";
import { Duplex } from "node:stream";
import type { Target } from "../../address/target.ts";
import type { Timer } from "../../clock/clock.ts";
import { MisuseError, TunnelError } from "../../errors.ts";
import type { Connection, ConnectionInfo } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import { type ConnectionDuplex, toDuplex } from "../../tunnel/duplex.ts";
import type { Metadata, OnRequest, Request } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";

/** What a pool of connections to origins needs. */
export interface OriginPoolOptions {
  readonly runtime: Runtime;
  readonly onRequest: OnRequest;
  /** Of the client all these connections serve. */
  readonly client: ConnectionInfo;
  readonly metadata: Metadata;
}

/**
 * The connections to origins of one user on one client connection: each is a request to the router,
 * spoken through one end of a pair in memory, and kept alive for the next exchange.
 */
export class OriginPool implements Disposable {
  /** For `http.request`. */
  readonly agent: Agent;
  readonly #options: OriginPoolOptions;
  readonly #abort = new AbortController();
  /** Those kept alive have a timer; the longest idle stands first among them. */
  readonly #streams = new Map<Duplex, { readonly stream: ConnectionDuplex; idle?: Timer }>();

  constructor(options: OriginPoolOptions) {
    this.#options = options;
    // The three methods that Node documents for agents of one's own; the default ones want sockets.
    this.agent = Object.assign(new Agent({ keepAlive: true }), {
      createConnection: (
        { host, port }: { host?: string | null; port?: number | string | null },
        done: (error: Error | null, stream: Duplex) => void,
      ) => this.#open(host ?? "", Number(port), done),
      keepSocketAlive: (stream: Duplex) => this.#keep(stream),
      reuseSocket: (stream: Duplex, request: ClientRequest) => this.#reuse(stream, request),
    });
  }

  /** Ends idle connections in order and busy ones hard: their client is gone. */
  [Symbol.dispose](): void {
    const text = `client ${this.#options.client.peer} went away`;
    this.#abort.abort(new TunnelError("ERR_ABORTED", text));
    for (const { stream, idle } of this.#streams.values()) {
      if (idle === undefined) stream.destroy();
      else this.#retire(stream);
    }
  }

  #open(host: string, port: number, done: (error: Error | null, stream: Duplex) => void): void {
    const { onRequest, metadata } = this.#options;
    const { signal } = this.#abort;
    const fail = (error: TunnelError): void => done(error, new Duplex());
    if (signal.aborted) {
      fail(new TunnelError("ERR_ABORTED", "the client went away"));
      return;
    }
    const target: Target = { network: "tcp", host, port };
    onRequest(originRequest({ target, metadata, signal }, () => this.#accepted(done), fail));
  }

  #accepted(done: (error: Error | null, stream: Duplex) => void): Connection {
    const { runtime, client } = this.#options;
    const names = [client.peer, client.local] as const;
    const [near, far] = connectionPair(runtime, { transport: "http", names });
    // The default `reuseSocket` keeps the process alive for its socket; ours needs no such thing.
    const stream = Object.assign(toDuplex(near), { ref: () => {} });
    this.#streams.set(stream, { stream });
    stream.on("error", () => {}); // whoever uses it hears of it; idle, nobody needs to
    stream.once("end", () => {
      // As a socket without half-open would: the origin is done with this connection.
      if (this.#streams.get(stream)?.idle === undefined) stream.end();
      else this.#retire(stream);
    });
    stream.once("close", () => this.#forget(stream));
    stream.once("agentRemove", () => this.#forget(stream)); // upgraded: not ours any more
    if (this.#abort.signal.aborted) stream.destroy();
    done(null, stream);
    return far;
  }

  /** @returns whether the agent may keep it */
  #keep(duplex: Duplex): boolean {
    const stream = this.#streams.get(duplex)?.stream;
    if (stream === undefined || this.#abort.signal.aborted) return false;
    if (!stream.writable || stream.readableEnded) return false;
    const idle = this.#options.runtime.clock.schedule(ORIGIN_IDLE_MS, () => this.#retire(stream));
    this.#streams.delete(stream);
    this.#streams.set(stream, { stream, idle });
    const resting = [...this.#streams.values()].filter((entry) => entry.idle !== undefined);
    const [oldest] = resting;
    if (resting.length > MAX_IDLE_ORIGINS && oldest !== undefined) this.#retire(oldest.stream);
    return true;
  }

  #reuse(duplex: Duplex, request: ClientRequest): void {
    const entry = this.#streams.get(duplex);
    entry?.idle?.cancel();
    if (entry !== undefined) this.#streams.set(duplex, { stream: entry.stream });
    Agent.prototype.reuseSocket.call(this.agent, duplex, request);
  }

  /** Takes an idle connection from the agent and ends it in order. */
  #retire(stream: ConnectionDuplex): void {
    this.#forget(stream);
    stream.emit("agentRemove"); // the agent's own word for "not yours any more"
    stream.destroySoon();
  }

  #forget(stream: Duplex): void {
    this.#streams.get(stream)?.idle?.cancel();
    this.#streams.delete(stream);
  }
}

function originRequest(
  asked: Pick<Request, "target" | "metadata" | "signal">,
  onAccept: () => Connection,
  onReject: (error: TunnelError) => void,
): Request {
  let isAnswered = false;
  const answerOnce = (): void => {
    if (isAnswered) throw new MisuseError("a request is answered once");
    isAnswered = true;
  };
  return {
    ...asked,
    accept: () => {
      answerOnce();
      return onAccept();
    },
    reject: (error) => {
      answerOnce();
      onReject(error);
    },
  };
}

/** Below the 5 s after which common servers hang up: a request must not meet their goodbye. */
const ORIGIN_IDLE_MS = 4_000;

/** Per client connection and user. */
const MAX_IDLE_ORIGINS = 8;
