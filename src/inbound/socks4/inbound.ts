import { toTunnelError, TunnelError } from "../../errors.ts";
import { clientRequest } from "../../tunnel/client-request.ts";
import type { Connection, OnConnection } from "../../tunnel/connection.ts";
import { Handshakes } from "../../tunnel/handshakes.ts";
import type { HandshakeInboundOptions } from "../../tunnel/inbound.ts";
import { Command, encodeReply, readRequest, Reply, type Socks4Request } from "./codec.ts";
import { REPLY_OF } from "./reply-of.ts";

/** Options of a SOCKS4 inbound. With `logins` it refuses everybody: SOCKS4 has no password. */
export type Socks4InboundOptions = HandshakeInboundOptions;

/** Serves SOCKS4 and SOCKS4a, CONNECT only. The user id is a claim, and is not believed. */
export function createSocks4Inbound(options: Socks4InboundOptions): OnConnection {
  const inbound = new Socks4Inbound(options);
  return (connection) => inbound.serve(connection);
}

class Socks4Inbound {
  readonly #options: Socks4InboundOptions;
  readonly #handshakes: Handshakes;

  constructor(options: Socks4InboundOptions) {
    this.#options = options;
    this.#handshakes = new Handshakes("socks4", options);
  }

  serve(connection: Connection): void {
    this.#handshakes.serve(connection, async (read) => {
      try {
        this.#carryOut(connection, await read("request", readRequest));
      } catch (thrown) {
        const error = toTunnelError(thrown, "ERR_PROTOCOL", "request");
        connection.write([encodeReply(REPLY_OF[error.code])]);
        throw error;
      }
    });
  }

  #carryOut(connection: Connection, { command, host, port }: Socks4Request): void {
    const { name, onRequest, logins } = this.#options;
    if (logins !== undefined) {
      throw new TunnelError("ERR_AUTH", "a password is required, and SOCKS4 has none", {
        hint: "use SOCKS5 or HTTP with user and password",
      });
    }
    if (command !== Command.connect) {
      const what = command === Command.bind ? "BIND" : `command ${command}`;
      throw new TunnelError("ERR_COMMAND_UNSUPPORTED", `${what} is not supported`, {
        hint: "use CONNECT",
      });
    }
    const request = clientRequest(connection, {
      target: { network: "tcp", host, port },
      metadata: { inbound: name, source: connection.info.peer },
      endMeans: "gone",
      onAccept: () => void connection.write([encodeReply(Reply.granted)]),
      onReject: (_connection, error) => {
        connection.write([encodeReply(REPLY_OF[error.code])]);
        connection.close();
      },
    });
    onRequest(request);
  }
}
