import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { type Clock, timeoutAfter } from "../clock/clock.ts";
import { ConfigError, systemCode } from "../errors.ts";
import type { Credential } from "./credential.ts";
import { Secret } from "./secret.ts";

/** What resolving needs from outside. */
export interface ResolveOptions {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For errors: `client "alice"`, `key of serve[0]`. */
  readonly what: string;
  readonly signal?: AbortSignal | undefined;
  /** How long a command may run. @default 10000 */
  readonly commandTimeoutMs?: number | undefined;
  /** Largest secret, in bytes. @default 65536 */
  readonly maxBytes?: number | undefined;
  /** Whether the text may have several lines (PEM). @default false */
  readonly isMultiline?: boolean | undefined;
}

/**
 * Fetches the secret a credential stands for. Blanks and line ends around it are cut off.
 *
 * @throws ConfigError (`ERR_CREDENTIAL`) naming the variable, file or command, and what is wrong
 */
export async function resolveCredential(
  credential: Credential,
  options: ResolveOptions,
): Promise<Secret> {
  if (credential.kind === "literal") return credential.secret;
  const { maxBytes = DEFAULT_MAX_BYTES, isMultiline = false } = options;
  const source = describe(credential);
  const raw = await read(credential, { ...options, maxBytes });
  const text = raw.trim();
  if (text === "") throw failure(options, `${source} is empty`);
  if (Buffer.byteLength(text) > maxBytes) {
    throw failure(options, `${source} exceeds ${maxBytes} bytes`);
  }
  if (!isMultiline && /[\r\n]/.test(text)) {
    throw failure(options, `${source} has ${text.split(/\r?\n/).length} lines, want one`);
  }
  return new Secret(text);
}

/** The name of the source without anything secret: `environment variable TOKEN`. */
function describe(credential: Exclude<Credential, { kind: "literal" }>): string {
  switch (credential.kind) {
    case "env":
      return `environment variable ${credential.name}`;
    case "file":
      return `file ${resolve(credential.path)}`;
    case "cmd":
      return `command "${credential.command}"`;
  }
}

type Bounded = ResolveOptions & { readonly maxBytes: number };

async function read(
  credential: Exclude<Credential, { kind: "literal" }>,
  options: Bounded,
): Promise<string> {
  switch (credential.kind) {
    case "env": {
      const value = options.env[credential.name];
      if (value !== undefined) return value;
      throw failure(options, `environment variable ${credential.name} is not set`);
    }
    case "file":
      return await readBounded(resolve(credential.path), options);
    case "cmd":
      return await runCommand(credential.command, options);
  }
}

async function readBounded(path: string, options: Bounded): Promise<string> {
  try {
    await using file = await open(path, "r");
    const stats = await file.stat();
    if (stats.isDirectory()) throw failure(options, `${path} is a directory`);
    // One byte more than allowed, so that pipes and growing files are bounded too.
    const buffer = Buffer.allocUnsafe(options.maxBytes + 1);
    let length = 0;
    while (length < buffer.byteLength) {
      const { bytesRead } = await file.read(buffer, length, buffer.byteLength - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length > options.maxBytes) {
      throw failure(options, `file ${path} exceeds ${options.maxBytes} bytes`);
    }
    return buffer.toString("utf8", 0, length);
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    throw failure(options, `file ${path} cannot be read: ${fileReason(cause)}`, cause);
  }
}

async function runCommand(command: string, options: Bounded): Promise<string> {
  const { clock, commandTimeoutMs = DEFAULT_COMMAND_TIMEOUT_MS } = options;
  using timeout = timeoutAfter(clock, commandTimeoutMs, () =>
    failure(options, `command "${command}" did not end within ${commandTimeoutMs} ms`),
  );
  const signal = AbortSignal.any([timeout.signal, ...(options.signal ? [options.signal] : [])]);
  signal.throwIfAborted();
  return await new Promise<string>((resolvePromise, reject) => {
    // Its own process group, so that what the shell started can be ended with it.
    const child = spawn(command, {
      shell: true,
      detached: process.platform !== "win32",
      stdio: ["ignore", "pipe", "pipe"],
    });
    const stop = (error: Error): void => {
      signal.removeEventListener("abort", onAbort);
      killGroup(child.pid);
      child.stdout.destroy();
      child.stderr.destroy();
      reject(error);
    };
    const onAbort = (): void => {
      const reason: unknown = signal.reason;
      stop(reason instanceof Error ? reason : new Error(String(reason)));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    const output: Buffer[] = [];
    let length = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      output.push(chunk);
      length += chunk.byteLength;
      if (length <= options.maxBytes) return;
      stop(failure(options, `command "${command}" printed more than ${options.maxBytes} bytes`));
    });
    let complaint = "";
    child.stderr.on("data", (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(0, MAX_COMPLAINT_LENGTH);
    });
    child.on("error", (cause) => {
      stop(failure(options, `command "${command}" cannot be run: ${cause.message}`, cause));
    });
    child.on("close", (code, killedBy) => {
      signal.removeEventListener("abort", onAbort);
      if (code === 0) {
        resolvePromise(Buffer.concat(output).toString());
        return;
      }
      const how = code === null ? `was ended by ${killedBy}` : `failed with exit code ${code}`;
      const said = complaint.trim() === "" ? "" : `: ${complaint.trim().split("\n").join(" / ")}`;
      reject(failure(options, `command "${command}" ${how}${said}`));
    });
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(process.platform === "win32" ? pid : -pid, "SIGKILL");
  } catch {
    // It ended by itself in the meantime.
  }
}

function failure({ what }: ResolveOptions, text: string, cause?: unknown): ConfigError {
  return new ConfigError(`${what}: ${text}`, { code: "ERR_CREDENTIAL", cause });
}

function fileReason(cause: unknown): string {
  const code = systemCode(cause);
  if (code === "ENOENT") return "there is no such file";
  if (code === "EACCES") return "permission denied";
  return code ?? String(cause);
}

const DEFAULT_MAX_BYTES = 65_536;
const DEFAULT_COMMAND_TIMEOUT_MS = 10_000;

/** Enough of a command's stderr to see what went wrong. */
const MAX_COMPLAINT_LENGTH = 300;
