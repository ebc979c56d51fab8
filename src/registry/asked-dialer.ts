import type { Target } from "../address/target.ts";
import type { Connection } from "../tunnel/connection.ts";
import { connectionPair } from "../tunnel/connection-pair.ts";
import type { Metadata, OnRequest } from "../tunnel/request.ts";
import type { Runtime } from "../tunnel/runtime.ts";

/**
 * Dials targets by asking the relay, as a peer's stream would: rules, policy, limits and log lines
 * are the same.
 *
 * @returns a dialer that rejects with the relay's reason
 */
export function askedDialer(
  onRequest: OnRequest,
  { runtime, metadata }: { readonly runtime: Runtime; readonly metadata: Metadata },
): (target: Target, signal: AbortSignal) => Promise<Connection> {
  return async (target, signal) =>
    await new Promise((resolve, reject) => {
      onRequest({
        target,
        metadata,
        signal,
        accept: () => {
          const [ours, theirs] = connectionPair(runtime, {
            transport: "memory",
            names: [metadata.inbound, metadata.source],
          });
          resolve(ours);
          return theirs;
        },
        reject,
      });
    });
}
