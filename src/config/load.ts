import { open } from "node:fs/promises";
import { ConfigError, systemCode } from "../errors.ts";
import { checkText, formatFileProblem } from "./check.ts";
import type { Config, ConfigInput } from "./config.ts";
import { parseConfig } from "./parse-config.ts";
import { formatProblem, toProblems } from "./problem.ts";
import { graceSchema, logSchema } from "./schema.ts";

/** The environment, as `process.env` has it. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What flags can say about any command, as text; the command line checked it already. */
export interface GlobalFlags {
  readonly logFormat?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly grace?: string | undefined;
}

/**
 * The configuration of a command: flags over environment over what the command or file says.
 *
 * @throws ConfigError with every problem, one per line
 */
export function loadConfig(
  input: ConfigInput,
  flags: GlobalFlags,
  environment: Environment,
): Config {
  const fallback = fromEnvironment(environment);
  const format = flags.logFormat ?? fallback.logFormat;
  const level = flags.logLevel ?? fallback.logLevel;
  const grace = flags.grace ?? fallback.grace;
  const log = { ...Object(input["log"]), ...(format && { format }), ...(level && { level }) };
  return parseConfig({ ...input, log, ...(grace && { grace }) });
}

/**
 * Reads and checks a configuration file, `-` for standard input.
 *
 * @throws ConfigError with every problem as `file:line:column: …`, one per line
 */
export async function readConfigFile(
  path: string,
  stdin: AsyncIterable<Uint8Array | string>,
): Promise<ConfigInput> {
  const { name, text } = await readConfigText(path, stdin);
  const { input, problems } = checkText(text);
  if (problems.length === 0) return { ...Object(input) };
  const lines = problems.map((problem) => formatFileProblem(name, problem));
  throw new ConfigError(lines.join("\n"));
}

/**
 * The text of a configuration file, `-` for standard input, and its name for messages.
 *
 * @throws ConfigError when it cannot be read
 */
export async function readConfigText(
  path: string,
  stdin: AsyncIterable<Uint8Array | string>,
): Promise<{ readonly name: string; readonly text: string }> {
  if (path === "-") return { name: "stdin", text: await readAll(stdin) };
  return { name: path, text: await readText(path) };
}

/** Environment variables that set what a flag can set, and the flag. */
export const ENVIRONMENT_FLAGS: ReadonlyMap<string, keyof GlobalFlags> = new Map([
  ["SLUICE_LOG_FORMAT", "logFormat"],
  ["SLUICE_LOG_LEVEL", "logLevel"],
  ["SLUICE_GRACE", "grace"],
] as const);

function fromEnvironment(environment: Environment): GlobalFlags {
  const flags: Partial<Record<keyof GlobalFlags, string>> = {};
  for (const [variable, flag] of ENVIRONMENT_FLAGS) {
    const value = environment[variable];
    if (value === undefined || value === "") continue;
    const wrong = problemOf(flag, value);
    if (wrong !== undefined) throw new ConfigError(`environment variable ${variable}: ${wrong}`);
    flags[flag] = value;
  }
  return flags;
}

/** What is wrong with the text of a flag, or `undefined`. */
export function problemOf(flag: keyof GlobalFlags, text: string): string | undefined {
  const result = {
    grace: () => graceSchema.safeParse(text, { reportInput: true }),
    logFormat: () => logSchema.safeParse({ format: text }, { reportInput: true }),
    logLevel: () => logSchema.safeParse({ level: text }, { reportInput: true }),
  }[flag]();
  if (result.success) return undefined;
  const [first] = toProblems(result.error.issues, () => []);
  return first === undefined ? undefined : formatProblem({ ...first, path: [] });
}

async function readText(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    if ((await file.stat()).isDirectory()) throw new ConfigError(`${path} is a directory`);
    return await readAll(file.createReadStream({ autoClose: false }));
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const code = systemCode(cause);
    const reason = code === "ENOENT" ? "there is no such file" : (code ?? String(cause));
    throw new ConfigError(`${path}: ${reason}`, { cause });
  }
}

async function readAll(source: AsyncIterable<Uint8Array | string>): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of source) {
    const bytes = Buffer.from(chunk);
    length += bytes.byteLength;
    if (length > MAX_FILE_BYTES) {
      throw new ConfigError(`configuration exceeds ${MAX_FILE_BYTES} bytes`);
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}

const MAX_FILE_BYTES = 1_048_576;
