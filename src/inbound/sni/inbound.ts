import { clientRequest } from "../../tunnel/client-request.ts";
import type { OnConnection } from "../../tunnel/connection.ts";
import { Handshakes, type HandshakesOptions } from "../../tunnel/handshakes.ts";
import type { InboundOptions } from "../../tunnel/inbound.ts";
import { readAskedHost } from "./asked-host.ts";

/**
 * Serves clients that know nothing of a proxy, whose names were made to lead here: each connection
 * goes on, as it is, to the host it asks for by itself. There is no login.
 *
 * Spec: vproxy 5.7 "direct relay". Reference: vproxy `websocks/relay`.
 */
export function createSniInbound(options: InboundOptions & HandshakesOptions): OnConnection {
  const { name, onRequest } = options;
  const handshakes = new Handshakes("sni", options);
  return (connection) => {
    handshakes.serve(connection, async (read) => {
      const { host, port } = await read("the host it asks for", readAskedHost);
      const request = clientRequest(connection, {
        target: { network: "tcp", host, port },
        metadata: { inbound: name, source: connection.info.peer },
        endMeans: "half-closed",
        onReject: (_connection, error) => connection.reset(error),
      });
      onRequest(request);
    });
  };
}
