import { formatTarget } from "../../src/address/target.ts";
import { toTunnelError } from "../../src/errors.ts";
import { splice } from "../../src/relay/splice.ts";
import { dialTcp } from "../../src/transports/tcp/dial.ts";
import type { OnRequest, Request } from "../../src/tunnel/request.ts";
import type { Runtime } from "../../src/tunnel/runtime.ts";

/** Dials every target from here, without rules: the simplest thing an inbound can stand before. */
export function directDial(runtime: Runtime, seen: Request[] = []): OnRequest {
  const serve = async (request: Request): Promise<void> => {
    seen.push(request);
    const { target, signal } = request;
    try {
      const connection = await dialTcp({ runtime, to: target, signal });
      splice(request.accept(), connection, { clock: runtime.clock, onClose: () => {} });
    } catch (thrown) {
      request.reject(toTunnelError(thrown, "ERR_DIAL_FAILED", formatTarget(target)));
    }
  };
  return (request) => void serve(request);
}
