import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";

/** How to run a program in a test. */
export interface ChildOptions {
  readonly cwd?: string | undefined;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /** Written to its stdin, which then ends. Without it stdin is empty. */
  readonly input?: string | Uint8Array | undefined;
  /** Leaves stdin open: `child.process.stdin` is the test's to write and to end. */
  readonly keepsStdinOpen?: boolean | undefined;
  /** Killed after this. @default 20000 */
  readonly deadlineMs?: number | undefined;
}

/** How a program ended. */
export interface ChildResult {
  /** The exit code; 128 + the signal's number when a signal ended it, as shells say it. */
  readonly code: number;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A program a test started. `await using` ends it with the test, whatever happens: first SIGTERM,
 * then SIGKILL.
 */
export class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  /** Resolves when it ended, with all it printed; rejects when it could not be started. */
  readonly exit: Promise<ChildResult>;
  readonly #command: string;
  readonly #printed = { stdout: new Output(), stderr: new Output() };
  readonly #deadline: NodeJS.Timeout;
  #isOver = false;

  constructor(command: string, args: readonly string[], options: ChildOptions = {}) {
    const { cwd, env, input, keepsStdinOpen, deadlineMs = DEFAULT_DEADLINE_MS } = options;
    this.#command = [command, ...args].join(" ");
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.process = child;
    child.stdin.on("error", () => {}); // it may end without reading: its exit code tells
    if (keepsStdinOpen !== true) child.stdin.end(input);
    child.stdout.on("data", (chunk: Buffer) => this.#printed.stdout.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => this.#printed.stderr.push(chunk));
    this.#deadline = setTimeout(() => child.kill("SIGKILL"), deadlineMs);
    this.exit = new Promise((resolve, reject) => {
      child.once("error", (cause) => {
        this.#over();
        reject(new Error(`cannot start ${this.#command}`, { cause }));
      });
      child.once("close", (code, signal) => {
        this.#over();
        const { stdout, stderr } = this;
        resolve({ code: code ?? 128 + signalNumber(signal), signal, stdout, stderr });
      });
    });
    this.exit.catch(() => {}); // reported to whoever awaits it
  }

  /** Everything printed so far. */
  get stdout(): string {
    return this.#printed.stdout.text;
  }

  get stderr(): string {
    return this.#printed.stderr.text;
  }

  /**
   * The first match in what it printed or will print, also across chunks.
   *
   * @throws Error with everything printed, when it ends or `deadlineMs` pass without a match
   */
  async waitFor(
    pattern: RegExp,
    { on = "stdout", deadlineMs = DEFAULT_WAIT_MS }: WaitOptions = {},
  ): Promise<RegExpExecArray> {
    const output = this.#printed[on];
    const found = Promise.withResolvers<RegExpExecArray>();
    const fail = (why: string): void => {
      const printed = `stdout:\n${this.stdout}\nstderr:\n${this.stderr}`;
      found.reject(new Error(`${this.#command}: ${why}, no ${pattern} on ${on}\n${printed}`));
    };
    const look = (): void => {
      const match = pattern.exec(output.text);
      if (match !== null) found.resolve(match);
      else if (this.#isOver) fail("it ended");
    };
    output.onPush.add(look);
    const timer = setTimeout(() => fail(`${deadlineMs} ms passed`), deadlineMs);
    this.exit.then(look, () => fail("it did not start"));
    look();
    try {
      return await found.promise;
    } finally {
      clearTimeout(timer);
      output.onPush.delete(look);
    }
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    this.process.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.process.kill("SIGTERM");
    const stubborn = setTimeout(() => this.process.kill("SIGKILL"), TERM_GRACE_MS);
    await this.exit.catch(() => undefined); // it never ran: nothing is left either
    clearTimeout(stubborn);
  }

  #over(): void {
    this.#isOver = true;
    clearTimeout(this.#deadline);
  }
}

/** Where and how long {@link Child.waitFor} looks. */
export interface WaitOptions {
  /** @default "stdout" */
  readonly on?: "stdout" | "stderr" | undefined;
  /** @default 10000 */
  readonly deadlineMs?: number | undefined;
}

/** Starts a program. Always hold it with `await using`. */
export function start(
  command: string,
  args: readonly string[] = [],
  options: ChildOptions = {},
): Child {
  return new Child(command, args, options);
}

/** Runs a program to its end; the exit code is the caller's to judge. */
export async function run(
  command: string,
  args: readonly string[] = [],
  options: ChildOptions = {},
): Promise<ChildResult> {
  await using child = start(command, args, options);
  return await child.exit;
}

class Output {
  readonly onPush = new Set<() => void>();
  #chunks: Buffer[] = [];

  get text(): string {
    return Buffer.concat(this.#chunks).toString();
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    for (const listener of this.onPush) listener();
  }
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : constants.signals[signal];
}

const DEFAULT_DEADLINE_MS = 20_000;
const DEFAULT_WAIT_MS = 10_000;

/** How long a program may take to end after SIGTERM. */
const TERM_GRACE_MS = 2_000;
