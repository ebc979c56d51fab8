import { Readable } from "node:stream";
import type { CliIo } from "../../src/cli/io.ts";

/** A process to run commands in, and what they printed. */
export interface FakeIo extends CliIo {
  readonly printed: { out: string; err: string };
  /** Sends a signal to the command. */
  signal(name: string): void;
}

/** Makes a process out of nothing: no terminal, its own environment and standard input. */
export function fakeIo(env: Record<string, string> = {}, stdin = ""): FakeIo {
  const printed = { out: "", err: "" };
  const callbacks = new Set<(signal: string) => void>();
  return {
    env,
    printed,
    stdin: Readable.from(stdin === "" ? [] : [Buffer.from(stdin)]),
    stdout: { write: (text) => void (printed.out += text) },
    stderr: { write: (text) => void (printed.err += text) },
    onSignal: (callback) => {
      callbacks.add(callback);
      return () => void callbacks.delete(callback);
    },
    signal: (name) => {
      for (const callback of callbacks) callback(name);
    },
  };
}
