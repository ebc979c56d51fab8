import { toTunnelError, TunnelError } from "../../errors.ts";
import type { DatagramConnection } from "../../tunnel/datagram-connection.ts";
import type { OnPacketRequest } from "../../tunnel/request.ts";
import type { AgentContext, ClientIdentity } from "./agent-context.ts";
import { AgentSession } from "./agent-session.ts";
import { KeyBounds } from "./key-bounds.ts";
import { RareLine } from "./rare-line.ts";

/** The UDP half of an agent: each datagram connection is one session of one target, or a probe. */
export class AgentSessions {
  readonly #context: AgentContext;
  readonly #onPacketRequest: OnPacketRequest | undefined;
  readonly #bounds: KeyBounds;
  readonly #refusals: RareLine;
  readonly #sessions = new Set<AgentSession>();
  #isClosing = false;

  constructor(context: AgentContext, onPacketRequest: OnPacketRequest | undefined) {
    this.#context = context;
    this.#onPacketRequest = onPacketRequest;
    const { runtime, logger, limits } = context;
    const { maxSessions: total, maxSessionsPerKey: perKey } = limits;
    this.#bounds = new KeyBounds({ what: "udp sessions", total, perKey });
    this.#refusals = new RareLine(runtime.clock, (fields) => {
      logger.warn("udp sessions refused", fields);
    });
  }

  /** Sessions that live now, those without a header included. */
  get size(): number {
    return this.#bounds.size;
  }

  /** Takes a connection nobody owns yet. */
  accept(connection: DatagramConnection, client: ClientIdentity): void {
    if (this.#isClosing) {
      connection.close();
      return;
    }
    try {
      const leave = this.#bounds.enter(client.key);
      const session = new AgentSession(connection, {
        ...this.#context,
        client,
        onPacketRequest: this.#onPacketRequest,
        onClosed: () => {
          leave();
          this.#sessions.delete(session);
        },
      });
      this.#sessions.add(session);
      session.start();
    } catch (thrown) {
      const { message: reason, code } = toTunnelError(thrown, "ERR_LIMIT", "accept");
      const { name: inbound } = this.#context;
      this.#refusals.say({ inbound, peer: connection.info.peer, user: client.name, reason, code });
      connection.close();
    }
  }

  /** Takes no more; a moment of silence counts as the end of those that are there. */
  drain(): void {
    this.#isClosing = true;
    for (const session of this.#sessions) session.drain();
  }

  /** Ends them all. */
  end(error: TunnelError): void {
    for (const session of this.#sessions) session.close(error);
  }
}
