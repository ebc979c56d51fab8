import { toTunnelError } from "../../errors.ts";
import type { LoginGuard } from "../../tunnel/logins.ts";
import type { Hub } from "./hub.ts";
import type { Connector } from "./messages.ts";
import type { Peer, ProviderGroup } from "./peer.ts";
import type { TokenTable } from "./tokens.ts";

/** What {@link ConnectorWishes} needs. */
export interface ConnectorWishesOptions {
  readonly tokens: TokenTable;
  readonly hub: Hub;
  /** Hears of tokens that turn out to be taken: asking for many is a way to guess them. */
  readonly guard?: LoginGuard | undefined;
  /** Connectors one instance may have. @default 64 */
  readonly maxPerInstance?: number | undefined;
  /** Connectors the instances of one reverse token may have together. @default 1024 */
  readonly maxPerToken?: number | undefined;
}

/**
 * Autonomy: providers that add and remove connectors of their own, and touch nobody else's.
 *
 * Whose a connector is follows from the reverse token and the provider's instance. What an
 * instance left behind may be added anew by another instance of the same reverse token.
 *
 * Spec: linksocks 3.13, 2.5. Reference: `server.go`, `handleConnectorMessage`.
 */
export class ConnectorWishes {
  readonly #options: ConnectorWishesOptions;
  /** Numbers their names. */
  #added = 0;

  constructor(options: ConnectorWishesOptions) {
    this.#options = options;
  }

  /** Does what the peer asks for, and answers it. */
  hear(peer: Peer, wish: Connector): void {
    if (peer.role === "connector") return; // as the reference does
    const { requestId } = wish;
    const done = (outcome: Outcome): void => {
      const { error, token } = outcome;
      if (error !== undefined) {
        peer.logger.warn("connector refused", { operation: wish.operation, reason: error });
      }
      peer.send({ type: "connectorResponse", requestId, error, token });
    };
    const { group } = peer;
    const isAllowed = peer.role === "provider" && group?.reverse.autonomy === true;
    if (group === undefined || !isAllowed) {
      done({ error: "Unauthorized connector management attempt" });
    } else if (wish.operation === "add") {
      done(this.#add(peer, group, wish.token));
    } else {
      done(this.#remove(group, wish.token));
    }
  }

  #add(peer: Peer, group: ProviderGroup, secret: string): Outcome {
    const { tokens, hub, guard, maxPerInstance = 64, maxPerToken = 1_024 } = this.#options;
    if ((guard?.blockedForMs(peer.address) ?? 0) > 0) return { error: "too many failures" };
    const { reverse, instance } = group;
    const known = tokens.find(secret);
    const isOurs = known?.kind === "connector" && known.reverse === reverse;
    if (isOurs && known.instance === instance) return { token: secret };
    const hasOwner = isOurs && (hub.find(reverse, known.instance)?.providers.size ?? 1) > 0;
    const isFree = isOurs && known.origin === "provider" && !hasOwner;
    if (known !== undefined && !isFree) {
      guard?.recordFailure(peer.address);
      return { error: "connector token already exists" };
    }
    if (hub.connectorsOf(group).length >= maxPerInstance || this.#countOf(group) >= maxPerToken) {
      return { error: "too many connector tokens" };
    }
    try {
      if (known !== undefined) tokens.remove(known);
      const name = `${group.pool.name}/connector-${++this.#added}`;
      const made = { kind: "connector", name, secret, origin: "provider" } as const;
      const added = tokens.add({ ...made, reverse, instance });
      if (known?.kind === "connector") hub.move(known, added);
      peer.logger.info("connector added", { connector: name });
      return { token: added.secret };
    } catch (thrown) {
      return { error: toTunnelError(thrown, "ERR_CONFIG", "connector").message };
    }
  }

  /** Foreign tokens are as if they were not there: nothing happens, and nothing is told of them. */
  #remove({ reverse, instance }: ProviderGroup, secret: string): Outcome {
    const { tokens, hub } = this.#options;
    const token = tokens.find(secret);
    const isOurs = token?.kind === "connector" && token.reverse === reverse;
    if (isOurs && token.instance === instance && token.origin === "provider") hub.remove(token);
    return {};
  }

  #countOf({ reverse }: ProviderGroup): number {
    let count = 0;
    for (const token of this.#options.tokens) {
      if (token.kind === "connector" && token.reverse === reverse) count++;
    }
    return count;
  }
}

/** Refused with a text, or done; an added token is named. */
interface Outcome {
  readonly error?: string;
  readonly token?: string;
}
