import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, ProtocolError, toTunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { DatagramConnection } from "../../tunnel/datagram-connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { encodeProbe } from "./header.ts";

/** Opens a TLS connection to the agent, paused and without a handler. */
export type OpenTls = (signal: AbortSignal) => Promise<Connection>;

/** Opens a DTLS session with the agent whose first record is `greeting`. */
export type OpenDtls = (greeting: Uint8Array, signal: AbortSignal) => Promise<DatagramConnection>;

/** Bounds of one probe. */
export interface ProbeOptions {
  readonly runtime: Runtime;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Asks the agent over TLS whether it serves streams, and waits until it closed: over TLS 1.3 a
 * refused certificate shows only then.
 *
 * @throws TunnelError saying why not
 */
export function probeTls(openTls: OpenTls, options: ProbeOptions): Promise<void> {
  return bounded(options, "tls", async (signal) => {
    const connection = await openTls(signal);
    const { peer } = connection.info;
    await new Promise<void>((resolve, reject) => {
      const settle = (act: () => void): void => {
        signal.removeEventListener("abort", onAbort);
        connection.close();
        act();
      };
      const onAbort = (): void => {
        settle(() => reject(toTunnelError(signal.reason, "ERR_ABORTED", "probe")));
      };
      connection.attach({
        onData: () => {
          const error = new ProtocolError(`${peer} answered a health probe with data`, {
            hint: "check that this is the port of a GoDoxy agent",
          });
          settle(() => reject(error));
        },
        onEnd: () => settle(resolve),
        onDrain: () => {},
        onClose: (error) => settle(() => (error === undefined ? resolve() : reject(error))),
      });
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      connection.write([encodeProbe()]);
      connection.resume();
    });
  });
}

/** The same over DTLS. @throws TunnelError saying why not */
export function probeDtls(openDtls: OpenDtls, options: ProbeOptions): Promise<void> {
  return bounded(options, "dtls", async (signal) => {
    const connection = await openDtls(encodeProbe(), signal);
    const { peer } = connection.info;
    await new Promise<void>((resolve, reject) => {
      const settle = (act: () => void): void => {
        signal.removeEventListener("abort", onAbort);
        connection.close();
        act();
      };
      const onAbort = (): void => {
        settle(() => reject(toTunnelError(signal.reason, "ERR_ABORTED", "probe")));
      };
      connection.attach({
        onDatagram: () => {
          const error = new ProtocolError(`${peer} answered a health probe with data`);
          settle(() => reject(error));
        },
        onClose: (error) => settle(() => (error === undefined ? resolve() : reject(error))),
      });
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
    });
  });
}

async function bounded(
  { runtime, timeoutMs, signal }: ProbeOptions,
  transport: string,
  run: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  using deadline = timeoutAfter(runtime.clock, timeoutMs, () => {
    const text = `health probe over ${transport} not answered within ${timeoutMs} ms`;
    return new NetworkError("ERR_HANDSHAKE_TIMEOUT", text, {
      hint: "check the address, the port and its firewall",
    });
  });
  await run(AbortSignal.any([deadline.signal, signal]));
}
