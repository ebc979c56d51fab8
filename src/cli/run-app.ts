import { MessageChannel } from "node:worker_threads";
import { type App, startApp } from "../app.ts";
import { type Clock, timeoutAfter } from "../clock/clock.ts";
import type { Config } from "../config/config.ts";
import { createLogger } from "../observability/logger.ts";
import type { Logger } from "../tunnel/logger.ts";
import { systemRuntime } from "../tunnel/runtime.ts";
import { type CliIo, ExitCode, isColored } from "./io.ts";
import { printError } from "./print-error.ts";
import { startupJson, startupTable } from "./startup-table.ts";
import { closableStdout, joinStreams } from "./stdio.ts";

/** How a running command shows itself. */
export interface RunOptions {
  /** Prints the table as JSON. */
  readonly json?: boolean | undefined;
  /** Printed below the table. */
  readonly epilogue?: string | undefined;
}

/**
 * Starts a configuration, prints the table, and runs until a signal comes, the peer refuses for
 * good, or the stream on standard input and output ends.
 *
 * @throws ConfigError when it cannot start
 */
export async function runApp(config: Config, io: CliIo, options: RunOptions): Promise<ExitCode> {
  const usesStdio = config.inbounds.some(
    (inbound) => inbound.kind === "forward" && inbound.listen === "stdio",
  );
  const logger = commandLogger(config, io);
  const runtime = systemRuntime();
  const tunnelSettled = Promise.withResolvers<void>();
  using _ = keepAlive();
  // Signals count from the first moment: a start that hangs can be interrupted like any other.
  const signals = new SignalQueue(io);
  try {
    const app = await Promise.race([
      startApp(config, {
        runtime,
        logger,
        env: io.env,
        stdio: usesStdio ? joinStreams(io.stdin, closableStdout()) : undefined,
        onTunnel: ({ state }) => {
          if (state === "up" || state === "down") tunnelSettled.resolve();
        },
      }),
      signals.next(),
    ]);
    if (typeof app === "string") return ExitCode.ok;
    if (!usesStdio) {
      if (app.tunnels().length > 0) await atMost(runtime.clock, TABLE_WAIT_MS, tunnelSettled);
      const state = { listeners: app.listeners, tunnels: app.tunnels(), now: new Date() };
      io.stdout.write(options.json ? startupJson(state) : startupTable(state));
      if (options.epilogue !== undefined && !options.json) io.stdout.write(options.epilogue);
    }
    return await untilEnd(app, { config, io, logger, signals });
  } finally {
    signals.stop();
  }
}

/** A logger on standard error, in the format the configuration and the terminal ask for. */
export function commandLogger({ log }: Config, { stderr, env }: CliIo): Logger {
  const byOutput = stderr.isTTY === true ? "pretty" : "json";
  return createLogger({
    format: log.format === "auto" ? byOutput : log.format,
    level: log.level,
    isColored: isColored(stderr, env),
    write: (line) => void stderr.write(line),
  });
}

interface Running {
  readonly config: Config;
  readonly io: CliIo;
  readonly logger: Logger;
  readonly signals: SignalQueue;
}

async function untilEnd(app: App, { config, io, logger, signals }: Running): Promise<ExitCode> {
  const end = await Promise.race([
    signals.next(),
    app.refused.then((error) => ({ code: ExitCode.refused, error })),
    app.stdioEnded.then((error) => ({
      code: error === undefined ? ExitCode.ok : ExitCode.notStarted,
      error,
    })),
  ]);
  if (typeof end !== "string") {
    if (end.error !== undefined) printError(end.error, io);
    await app.close(0);
    return end.code;
  }
  const { grace } = config;
  const streams = app.streams().length;
  logger.info("shutting down", { signal: end, streams, graceMs: grace });
  // A second signal does not wait for anything.
  await Promise.race([app.close(grace), signals.next()]);
  return ExitCode.ok;
}

/** Hands out signals one by one. */
class SignalQueue {
  #next = Promise.withResolvers<string>();
  readonly stop: () => void;

  constructor(io: CliIo) {
    this.stop = io.onSignal((signal) => {
      this.#next.resolve(signal);
    });
  }

  /** The next signal that nobody has waited for yet. */
  async next(): Promise<string> {
    const { promise } = this.#next;
    const signal = await promise;
    if (this.#next.promise === promise) this.#next = Promise.withResolvers();
    return signal;
  }
}

async function atMost(
  clock: Clock,
  timeoutMs: number,
  { promise }: { readonly promise: Promise<void> },
): Promise<void> {
  using timeout = timeoutAfter(clock, timeoutMs, () => new Error("enough"));
  const { signal } = timeout;
  await Promise.race([
    promise,
    new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    }),
  ]);
}

/** Our timers do not keep the process alive, and a tunnel that waits to be dialled is only timers. */
function keepAlive(): Disposable {
  const { port1, port2 } = new MessageChannel();
  port1.on("message", () => {}); // listening is what keeps the process alive
  return {
    [Symbol.dispose]: () => {
      port1.close();
      port2.close();
    },
  };
}

/** How long the table waits for a tunnel that is being dialled, to show how that went. */
const TABLE_WAIT_MS = 1_500;
