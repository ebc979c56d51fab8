import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { type App, startApp } from "../app.ts";
import { timeoutAfter } from "../clock/clock.ts";
import type { Config } from "../config/config.ts";
import { SYSTEMS } from "../config/systems.ts";
import type { TunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError, NetworkError, toTunnelError, TunnelError } from "../errors.ts";
import { dialTcp } from "../transports/tcp/dial.ts";
import type { LogFields, Logger } from "../tunnel/logger.ts";
import { type Runtime, systemRuntime } from "../tunnel/runtime.ts";
import { type CliIo, ExitCode } from "./io.ts";
import { printError } from "./print-error.ts";

/** Flags of `ping`. */
export interface PingFlags {
  readonly json?: boolean;
}

/** One step toward the far side. */
interface Phase {
  readonly name: "dns" | "tcp" | "tunnel" | "probe";
  readonly ms: number;
  /** What was found: the address, the tunnel's state. */
  readonly detail: string;
}

/**
 * Goes the way to a peer step by step, and prints how long each took, until one fails: its error
 * comes with what to try. Logs in like `connect`, and asks for no target.
 */
export async function runPing(
  config: Config,
  { io, flags }: { readonly io: CliIo; readonly flags: PingFlags },
): Promise<ExitCode> {
  const entry = Object.values(config.connect)[0];
  if (entry === undefined) throw new ConfigError("ping needs a tunnel URL");
  const runtime = systemRuntime();
  const phases: Phase[] = [];
  const walk = async (phase: Phase["name"], go: () => Promise<string>): Promise<void> => {
    const from = runtime.clock.now();
    const detail = await go();
    const ms = Math.round((runtime.clock.now() - from) * 100) / 100;
    phases.push({ name: phase, ms, detail });
    if (flags.json !== true) {
      io.stdout.write(`${phase.padEnd(8)}${`${ms.toFixed(1)} ms`.padStart(11)}  ${detail}\n`);
    }
  };
  let failure: TunnelError | undefined;
  try {
    using deadline = timeoutAfter(runtime.clock, PING_MS, () => {
      return new NetworkError("ERR_DIAL_TIMEOUT", `no answer within ${PING_MS / 1000} s`);
    });
    await approach(config, entry.url, { runtime, signal: deadline.signal, walk });
  } catch (thrown) {
    failure = toTunnelError(thrown, "ERR_TUNNEL_DOWN", entry.url.host);
  }
  if (flags.json === true) {
    const error = failure && { code: failure.code, message: failure.message, hint: failure.hint };
    io.stdout.write(`${JSON.stringify({ phases, error })}\n`);
  } else if (failure !== undefined) {
    printError(failure, io);
  }
  if (failure === undefined) return ExitCode.ok;
  return failure.code === "ERR_REFUSED_FOR_GOOD" ? ExitCode.refused : ExitCode.notStarted;
}

interface Way {
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
  readonly walk: (phase: Phase["name"], go: () => Promise<string>) => Promise<void>;
}

async function approach(config: Config, url: TunnelUrl, way: Way): Promise<void> {
  const { runtime, signal, walk } = way;
  const { system, transport, host, port, options } = url;
  // A proxy resolves and connects for us.
  if (options.proxy === undefined) {
    if (isIP(host) === 0) await walk("dns", async () => await resolve(host));
    if (SYSTEMS[system].transports[transport]?.isUdp === false) {
      await walk("tcp", async () => {
        const connection = await dialTcp({ runtime, to: { host, port }, signal });
        const { peer } = connection.info;
        connection.close();
        return peer;
      });
    }
  }
  const settled = Promise.withResolvers<string>();
  const hints = new HintLogger();
  let app: App | undefined;
  try {
    await walk("tunnel", async () => {
      app = await startApp(config, {
        runtime,
        logger: hints,
        onTunnel: ({ state, detail }) => {
          if (state === "up" || state === "idle") settled.resolve(`${state}: ${detail}`);
          if (state === "down") {
            settled.reject(new NetworkError("ERR_TUNNEL_DOWN", detail, { hint: hints.last }));
          }
        },
      });
      const refused = app.refused.then((error) => Promise.reject(error));
      return await Promise.race([settled.promise, refused, whenAborted(signal)]);
    });
    const tunnel = app?.tunnel(Object.keys(config.connect)[0] ?? "");
    if (tunnel?.probe !== undefined) {
      await walk("probe", async () => {
        await tunnel.probe?.({ signal });
        return tunnel.status().detail;
      });
    }
  } finally {
    await app?.close(0);
  }
}

/** Keeps what the log says to try. */
class HintLogger implements Logger {
  last: string | undefined;

  warn(_message: string, { hint }: LogFields = {}): void {
    if (typeof hint === "string") this.last = hint;
  }

  error(message: string, fields?: LogFields): void {
    this.warn(message, fields);
  }

  debug(): void {}
  info(): void {}

  child(): Logger {
    return this;
  }
}

async function resolve(host: string): Promise<string> {
  try {
    const found = await lookup(host, { all: true });
    return found.map(({ address }) => address).join(", ");
  } catch (cause) {
    throw new NetworkError("ERR_DNS", `${host}: dns: the name does not resolve`, {
      cause,
      hint: "check the spelling, and the resolver of this machine",
    });
  }
}

async function whenAborted(signal: AbortSignal): Promise<never> {
  return await new Promise((_, reject) => {
    signal.addEventListener(
      "abort",
      () => reject(toTunnelError(signal.reason, "ERR_TUNNEL_DOWN", "ping")),
      {
        once: true,
      },
    );
  });
}

/** For all steps together. */
const PING_MS = 15_000;
