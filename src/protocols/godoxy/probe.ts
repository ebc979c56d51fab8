import { timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, ProtocolError, toTunnelError, TunnelError } from "../../errors.ts";
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
 * Asks the agent over TLS whether it serves streams, and waits until it closed. Over TLS 1.3 we are
 * connected before the agent judged our certificate, and some end a refused one in order: so we keep
 * silent for two round trips first. Who ends before it was asked anything has turned us down.
 *
 * @returns how long connecting took, ms
 * @throws TunnelError saying why not
 */
export function probeTls(openTls: OpenTls, options: ProbeOptions): Promise<number> {
  const { clock } = options.runtime;
  return bounded(options, "tls", async (signal) => {
    const from = clock.now();
    const connection = await openTls(signal);
    const { peer } = connection.info;
    const connectMs = clock.now() - from;
    const silenceMs = Math.min(Math.max(connectMs, MIN_SILENCE_MS), MAX_SILENCE_MS);
    await new Promise<void>((resolve, reject) => {
      let isAsked = false;
      const ask = clock.schedule(silenceMs, () => {
        isAsked = true;
        connection.write([encodeProbe()]);
      });
      const settle = (act: () => void): void => {
        ask.cancel();
        signal.removeEventListener("abort", onAbort);
        connection.close();
        act();
      };
      const onEnd = (): void => {
        if (isAsked) return settle(resolve);
        const text = `${peer} ended the connection before it was asked anything`;
        const error = new TunnelError("ERR_TLS", text, {
          hint: "it may have refused our certificate: look at the agent's log",
        });
        settle(() => reject(error));
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
        onEnd,
        onDrain: () => {},
        onClose: (error) => (error === undefined ? onEnd() : settle(() => reject(error))),
      });
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      connection.resume();
    });
    return connectMs;
  });
}

/** The same over DTLS. @throws TunnelError saying why not */
export function probeDtls(openDtls: OpenDtls, options: ProbeOptions): Promise<number> {
  const { clock } = options.runtime;
  return bounded(options, "dtls", async (signal) => {
    const from = clock.now();
    const connection = await openDtls(encodeProbe(), signal);
    const connectMs = clock.now() - from;
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
    return connectMs;
  });
}

async function bounded<Result>(
  { runtime, timeoutMs, signal }: ProbeOptions,
  transport: string,
  run: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  using deadline = timeoutAfter(runtime.clock, timeoutMs, () => {
    const text = `health probe over ${transport} not answered within ${timeoutMs} ms`;
    return new NetworkError("ERR_HANDSHAKE_TIMEOUT", text, {
      hint: "check the address, the port and its firewall",
    });
  });
  return await run(AbortSignal.any([deadline.signal, signal]));
}

/** Dialling takes at least two round trips, so as long again is enough. */
const MIN_SILENCE_MS = 50;
const MAX_SILENCE_MS = 1_000;
