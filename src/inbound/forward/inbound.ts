import type { Target } from "../../address/target.ts";
import { clientRequest } from "../../tunnel/client-request.ts";
import type { OnConnection } from "../../tunnel/connection.ts";
import type { InboundOptions } from "../../tunnel/inbound.ts";

/** Options of a static forward. */
export interface ForwardInboundOptions extends InboundOptions {
  /** Where every client is taken. */
  readonly target: Target;
  /** Fixes the way out by name. */
  readonly via?: string | undefined;
}

/** Takes every connection to one target; what cannot be reached is a reset for the client. */
export function createForwardInbound(options: ForwardInboundOptions): OnConnection {
  const { name, target, via, onRequest } = options;
  return (connection) => {
    const request = clientRequest(connection, {
      target,
      metadata: { inbound: name, source: connection.info.peer, via },
      // `nc -N host port </dev/null` has said all it had to, and waits for a banner.
      endMeans: "half-closed",
      onReject: (_connection, error) => connection.reset(error),
    });
    onRequest(request);
  };
}
