import { toTunnelError, TunnelError } from "../../errors.ts";
import { clientRequest } from "../../tunnel/client-request.ts";
import type { Connection, OnConnection } from "../../tunnel/connection.ts";
import { Handshakes, type ReadPhase } from "../../tunnel/handshakes.ts";
import type { HandshakeInboundOptions } from "../../tunnel/inbound.ts";
import {
  Command,
  encodeAuthStatus,
  encodeMethod,
  encodeReply,
  Method,
  readCredentials,
  readGreeting,
  readRequest,
  Reply,
  type Socks5Request,
} from "./codec.ts";
import { REPLY_OF } from "./reply-of.ts";
import { associate } from "./udp-association.ts";

/**
 * Options of a SOCKS5 inbound. With `logins` every client has to name itself; with
 * `onPacketRequest` and `bindUdp` there is UDP ASSOCIATE.
 */
export interface Socks5InboundOptions extends HandshakeInboundOptions {
  /** Ends an association without datagrams for this long, ms; 0: never. @default 300000 */
  readonly udpIdleTimeoutMs?: number | undefined;
}

/** Serves SOCKS5: RFC 1928 with no authentication or RFC 1929; CONNECT and UDP ASSOCIATE. */
export function createSocks5Inbound(options: Socks5InboundOptions): OnConnection {
  const inbound = new Socks5Inbound(options);
  return (connection) => inbound.serve(connection);
}

class Socks5Inbound {
  readonly #options: Socks5InboundOptions;
  readonly #handshakes: Handshakes;

  constructor(options: Socks5InboundOptions) {
    this.#options = options;
    this.#handshakes = new Handshakes("socks5", options);
  }

  serve(connection: Connection): void {
    this.#handshakes.serve(connection, async (read) => {
      const user = await this.#authenticate(connection, read);
      try {
        await this.#carryOut(connection, await read("request", readRequest), user);
      } catch (thrown) {
        const error = toTunnelError(thrown, "ERR_PROTOCOL", "request");
        connection.write([encodeReply(REPLY_OF[error.code])]);
        throw error;
      }
    });
  }

  /** @returns the user's name; `undefined` where nobody has to say it */
  async #authenticate(connection: Connection, read: ReadPhase): Promise<string | undefined> {
    const { logins } = this.#options;
    const { methods } = await read("greeting", readGreeting);
    const method = logins === undefined ? Method.none : Method.userPassword;
    if (!methods.includes(method)) {
      connection.write([encodeMethod(Method.noneAcceptable)]);
      const hint = logins === undefined ? "connect without a user name" : "send user and password";
      const text = `offers authentication ${methods.join(", ")}, and ${method} is asked for`;
      throw new TunnelError("ERR_AUTH", text, { hint });
    }
    connection.write([encodeMethod(method)]);
    if (logins === undefined) return undefined;
    const { user, password } = await read("authentication", readCredentials);
    const denial = logins.check(connection.info.peer, user, password);
    connection.write([encodeAuthStatus(denial === undefined)]);
    if (denial !== undefined) throw denial;
    return user;
  }

  async #carryOut(
    connection: Connection,
    request: Socks5Request,
    user: string | undefined,
  ): Promise<void> {
    switch (request.command) {
      case Command.connect:
        this.#connect(connection, request, user);
        return;
      case Command.bind:
        throw unsupported("BIND");
      case Command.udpAssociate:
        await this.#associate(connection, request, user);
        return;
      default:
        throw unsupported(`command ${request.command}`);
    }
  }

  async #associate(
    connection: Connection,
    { port }: Socks5Request,
    user: string | undefined,
  ): Promise<void> {
    const { bindUdp, onPacketRequest } = this.#options;
    if (bindUdp === undefined || onPacketRequest === undefined) {
      throw unsupported("UDP ASSOCIATE");
    }
    const { udpIdleTimeoutMs = DEFAULT_UDP_IDLE_TIMEOUT_MS } = this.#options;
    const options = { ...this.#options, bindUdp, onPacketRequest, udpIdleTimeoutMs };
    await associate(connection, { port, user }, options);
  }

  #connect(connection: Connection, { host, port }: Socks5Request, user: string | undefined): void {
    const { name, onRequest } = this.#options;
    const request = clientRequest(connection, {
      target: { network: "tcp", host, port },
      metadata: { inbound: name, source: connection.info.peer, user },
      endMeans: "gone",
      onAccept: () => void connection.write([encodeReply(Reply.succeeded)]),
      onReject: (_connection, error) => {
        connection.write([encodeReply(REPLY_OF[error.code])]);
        connection.close();
      },
    });
    onRequest(request);
  }
}

function unsupported(command: string): TunnelError {
  return new TunnelError("ERR_COMMAND_UNSUPPORTED", `${command} is not supported`, {
    hint: "use CONNECT",
  });
}

/** Longer than games and calls pause, shorter than forgotten ports matter. */
const DEFAULT_UDP_IDLE_TIMEOUT_MS = 300_000;
