import { timeoutAfter } from "../../clock/clock.ts";
import { formatTarget, type Target } from "../../address/target.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import { clientRequest } from "../../tunnel/client-request.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { OnRequest, Request } from "../../tunnel/request.ts";
import type { AgentContext, ClientIdentity } from "./agent-context.ts";
import { isProbe } from "./header.ts";
import { readHeader } from "./header-reader.ts";
import { targetOf } from "./header-target.ts";
import { KeyBounds } from "./key-bounds.ts";
import { RareLine } from "./rare-line.ts";
import { WatchedConnection } from "./watched-connection.ts";

/** The TCP half of an agent: each connection is one stream, or a probe. */
export class AgentStreams {
  readonly #context: AgentContext;
  readonly #onRequest: OnRequest;
  readonly #bounds: KeyBounds;
  readonly #refusals: RareLine;
  /** Those without a header yet. */
  readonly #early = new Set<Connection>();
  readonly #streams = new Set<Connection>();
  #isClosing = false;

  constructor(context: AgentContext, onRequest: OnRequest) {
    this.#context = context;
    this.#onRequest = onRequest;
    const { runtime, logger, limits } = context;
    const { maxStreams: total, maxStreamsPerKey: perKey } = limits;
    this.#bounds = new KeyBounds({ what: "streams", total, perKey });
    this.#refusals = new RareLine(runtime.clock, (fields) =>
      logger.warn("streams refused", fields),
    );
  }

  /** Connections that live now, those without a header included. */
  get size(): number {
    return this.#bounds.size;
  }

  /** Takes a connection, paused and without a handler, its own from now on. */
  accept(connection: Connection, client: ClientIdentity): void {
    if (this.#isClosing) {
      connection.reset(new TunnelError("ERR_SHUTDOWN", "shutting down"));
      return;
    }
    let leave: () => void;
    try {
      leave = this.#bounds.enter(client.key);
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_LIMIT", "accept");
      this.#refusals.say({ ...this.#who(connection, client), ...reasonOf(error) });
      // Hard: what waits for the peer's own end would be a flood of its own.
      connection.reset(error);
      return;
    }
    void this.#serve(connection, client, leave);
  }

  /** Takes no more and ends those without a header; @returns those that carry a stream. */
  stop(): ReadonlySet<Connection> {
    this.#isClosing = true;
    for (const connection of this.#early) connection.close();
    return this.#streams;
  }

  async #serve(connection: Connection, client: ClientIdentity, leave: () => void): Promise<void> {
    const { runtime, logger, limits } = this.#context;
    const startedAt = runtime.clock.now();
    this.#early.add(connection);
    try {
      const header = await readHeader(connection, { runtime, timeoutMs: limits.headerTimeoutMs });
      if (isProbe(header)) {
        logger.debug("health probe", this.#who(connection, client));
        connection.close();
        leave();
      } else {
        this.#ask(connection, { client, leave, target: targetOf(header, "tcp") });
      }
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_PROTOCOL", "godoxy header");
      leave();
      connection.close();
      if (!this.#isClosing) this.#logFailure(connection, client, { startedAt, error });
    } finally {
      this.#early.delete(connection);
    }
  }

  #ask(
    connection: Connection,
    asked: { readonly client: ClientIdentity; readonly leave: () => void; readonly target: Target },
  ): void {
    const { client, leave, target } = asked;
    const { name, runtime, logger, limits } = this.#context;
    const deadline = timeoutAfter(runtime.clock, limits.dialTimeoutMs, () => {
      const text = `${formatTarget(target)} not reached within ${limits.dialTimeoutMs} ms`;
      return new NetworkError("ERR_DIAL_TIMEOUT", text);
    });
    const request = clientRequest(connection, {
      target,
      metadata: { inbound: name, source: connection.info.peer, user: client.name },
      onReject: (refused, error) => {
        const to = formatTarget(target);
        logger.debug("stream refused", { ...this.#who(refused, client), to, ...reasonOf(error) });
        refused.close();
      },
      // It may have said all it has to: the answer comes all the same.
      endMeans: "half-closed",
    });
    const answered: Request = {
      target,
      metadata: request.metadata,
      signal: AbortSignal.any([request.signal, deadline.signal]),
      accept: () => {
        deadline[Symbol.dispose]();
        const stream: Connection = new WatchedConnection(request.accept(), () => {
          this.#streams.delete(stream);
          leave();
        });
        this.#streams.add(stream);
        return stream;
      },
      reject: (error) => {
        deadline[Symbol.dispose]();
        leave();
        request.reject(error);
      },
    };
    this.#onRequest(answered);
  }

  #who({ info }: Connection, { name: user }: ClientIdentity): Readonly<Record<string, unknown>> {
    return { inbound: this.#context.name, peer: info.peer, user };
  }

  #logFailure(
    connection: Connection,
    client: ClientIdentity,
    { startedAt, error }: { readonly startedAt: number; readonly error: TunnelError },
  ): void {
    const { logger, runtime } = this.#context;
    const fields = {
      ...this.#who(connection, client),
      phase: "header",
      ...reasonOf(error),
      elapsedMs: Math.round(runtime.clock.now() - startedAt),
    };
    if (error.code === "ERR_ABORTED") logger.debug("godoxy client left", fields);
    else logger.warn("godoxy header refused", fields);
  }
}

function reasonOf({ message, code, hint }: TunnelError): Readonly<Record<string, unknown>> {
  return { reason: message, code, hint };
}
