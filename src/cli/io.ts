import type { Readable } from "node:stream";
import type { Environment } from "../config/load.ts";

/** Where a command writes text. */
export interface TextOutput {
  readonly isTTY?: boolean | undefined;
  write(text: string): unknown;
}

/** Everything a command touches of its process. */
export interface CliIo {
  readonly stdin: Readable;
  readonly stdout: TextOutput;
  readonly stderr: TextOutput;
  readonly env: Environment;
  /** Calls back at each SIGINT and SIGTERM; the returned function stops that. */
  onSignal(callback: (signal: string) => void): () => void;
}

/** What a command ends with. */
export const ExitCode = {
  ok: 0,
  /** The configuration, a credential or a combination of flags cannot work. */
  configuration: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** A port is taken, a permission is missing, a stream on standard input and output failed. */
  notStarted: 3,
  /** The peer refused us for good. */
  refused: 4,
} as const;

/** One of {@link ExitCode}. */
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** The real process. */
export function processIo(): CliIo {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    onSignal(callback) {
      process.on("SIGINT", callback).on("SIGTERM", callback);
      return () => void process.off("SIGINT", callback).off("SIGTERM", callback);
    },
  };
}

/** Whether text for people may be coloured there. */
export function isColored(output: TextOutput, env: Environment): boolean {
  return output.isTTY === true && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
}
