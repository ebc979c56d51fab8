import { ConfigError, toTunnelError } from "../../errors.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type {
  ApiDirectPeer,
  ApiStatus,
  ApiTarget,
  ApiToken,
  ApiTokenStatus,
  ReverseWish,
} from "./api.ts";
import type { Hub } from "./hub.ts";
import type { Peer, ProviderGroup } from "./peer.ts";
import type { ReverseToken, Token, TokenTable } from "./tokens.ts";

/** A proxy port that leads to one provider. */
export interface ProxyPort {
  readonly port: number;
  close(): Promise<void>;
}

/** A proxy port that the API asks for. */
export interface ProxyPortWish {
  /** 0: any. */
  readonly port: number;
  /** Absent: everybody who reaches the port. */
  readonly login: { readonly user: string; readonly password: string } | undefined;
  /** The way out of everything that comes in. */
  readonly via: string;
}

/** What {@link ServerApi} needs. */
export interface ServerApiOptions {
  /** In front of the names of what it makes. */
  readonly name: string;
  readonly tokens: TokenTable;
  readonly hub: Hub;
  readonly logger: Logger;
  readonly version: string;
  readonly isDirectEnabled: boolean;
  /** @throws ConfigError when the port is not to be had */
  readonly openPort: (wish: ProxyPortWish) => Promise<ProxyPort>;
}

/**
 * What the HTTP API may do to a server. Tokens of the configuration belong to the configuration:
 * they are listed by name and not removed.
 */
export class ServerApi implements ApiTarget {
  readonly #options: ServerApiOptions;
  readonly #ports = new Map<ReverseToken, ProxyPort>();
  #made = 0;

  constructor(options: ServerApiOptions) {
    this.#options = options;
  }

  addForward(secret: string): ApiToken {
    const { tokens } = this.#options;
    const name = this.#name("forward");
    return { token: tokens.add({ kind: "forward", name, origin: "api", secret }).secret };
  }

  async addReverse(wish: ReverseWish): Promise<ApiToken & { readonly port: number }> {
    const { tokens, hub, openPort, logger } = this.#options;
    const { secret, port, login, autonomy } = wish;
    if (port < 0 || port > MAX_PORT) throw new ConfigError(`cannot allocate port: ${port}`);
    const name = this.#name("reverse");
    const token = tokens.add({ kind: "reverse", name, origin: "api", autonomy, secret });
    hub.open(token);
    if (autonomy) return { token: token.secret, port: NO_PORT };
    try {
      const opened = await openPort({ port, login, via: name });
      if (tokens.find(token.secret) !== token) {
        await opened.close();
        throw new ConfigError("token was removed meanwhile");
      }
      this.#ports.set(token, opened);
      return { token: token.secret, port: opened.port };
    } catch (thrown) {
      const { message, code } = toTunnelError(thrown, "ERR_LISTEN", "port");
      hub.remove(token);
      if (code !== "ERR_LISTEN") throw thrown;
      logger.warn("port not opened", { name, reason: message });
      throw new ConfigError(`cannot allocate port: ${port}`, { cause: thrown });
    }
  }

  addConnector(secret: string, reverseSecret: string): ApiToken {
    const { tokens } = this.#options;
    const reverse = tokens.find(reverseSecret);
    const known = tokens.find(secret);
    if (reverse?.kind !== "reverse") throw new ConfigError("reverse token does not exist");
    const isSame =
      known?.kind === "connector" && known.reverse === reverse && known.instance === undefined;
    if (isSame) return { token: secret };
    const name = this.#name("connector");
    const made = { kind: "connector", name, origin: "api", reverse, secret } as const;
    return { token: tokens.add(made).secret };
  }

  async remove(secret: string): Promise<void> {
    const { tokens, hub } = this.#options;
    const token = tokens.find(secret);
    if (token === undefined) return;
    if (token.origin === "configuration") {
      throw new ConfigError("token belongs to the configuration of the server");
    }
    hub.remove(token);
    if (token.kind !== "reverse") return;
    const port = this.#ports.get(token);
    this.#ports.delete(token);
    await port?.close();
  }

  status(): ApiStatus {
    const { version, isDirectEnabled, hub } = this.#options;
    const peers = isDirectEnabled ? [...hub.peers].map(directPeer) : [];
    const direct = { enabled: isDirectEnabled, ...(peers.length > 0 && { peers }) };
    return { version, tokens: this.#tokens(), direct };
  }

  /** Closes the ports it opened. */
  async close(): Promise<void> {
    const ports = [...this.#ports.values()];
    this.#ports.clear();
    await Promise.all(ports.map((port) => port.close()));
  }

  /** Every token but connectors, which stand with their reverse token; each instance by itself. */
  #tokens(): ApiTokenStatus[] {
    const { tokens, hub } = this.#options;
    const clients = new Map<Token | undefined, number>();
    for (const { token } of hub.peers) clients.set(token, (clients.get(token) ?? 0) + 1);
    const connectors = new Map<ProviderGroup | undefined, string[]>();
    for (const token of tokens) {
      if (token.kind !== "connector") continue;
      const group = hub.find(token.reverse, token.instance);
      const own = connectors.get(group) ?? [];
      own.push(shown(token));
      connectors.set(group, own);
    }
    const status: ApiTokenStatus[] = [];
    for (const token of tokens) {
      if (token.kind === "forward") {
        const count = clients.get(token) ?? 0;
        status.push({ token: shown(token), type: "forward", clients_count: count });
      } else if (token.kind === "reverse") {
        const port = this.#ports.get(token)?.port ?? NO_PORT;
        for (const group of hub.groupsOf(token)) {
          const { instance, providers } = group;
          const own = connectors.get(group);
          status.push({
            token: instance ?? shown(token),
            type: "reverse",
            clients_count: providers.size,
            port: instance === undefined ? port : NO_PORT,
            ...(own && { connector_tokens: own }),
          });
        }
      }
    }
    return status;
  }

  #name(kind: Token["kind"]): string {
    return `${this.#options.name}/${kind}-${++this.#made}`;
  }
}

/** Secrets of the configuration stay there. */
function shown({ origin, name, secret }: Token): string {
  return origin === "configuration" ? name : secret;
}

function directPeer({ id, role, token, group, direct }: Peer): ApiDirectPeer {
  const { isCapable, updatedAt, status, capabilities, rendezvous } = direct;
  const session = (status ?? capabilities ?? rendezvous)?.sessionId;
  const internal = role === "provider" ? group?.instance : undefined;
  return {
    client_id: id,
    internal_token: internal ?? (token === undefined ? "" : shown(token)),
    role: role === "provider" ? "reverse" : role,
    ...(token?.kind === "connector" && { reverse_token: shown(token.reverse) }),
    supports_direct: isCapable,
    ...(updatedAt && { updated_at: updatedAt.toISOString().replace(/\.\d+/, "") }),
    ...(session !== undefined && { last_session_id: session }),
    ...(status !== undefined && { last_direct_state: status.status }),
  };
}

const MAX_PORT = 65_535;

/** What the wire says where there is no port. */
const NO_PORT = -1;
