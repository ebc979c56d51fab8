import { readFile } from "node:fs/promises";
import { CommanderError } from "commander";
import { checkText, formatFileProblem } from "../config/check.ts";
import { checkLists } from "../config/check-lists.ts";
import type { Config, ConfigInput } from "../config/config.ts";
import { didYouMean } from "../config/nearest.ts";
import {
  type GlobalFlags,
  loadConfig,
  problemOf,
  readConfigFile,
  readConfigText,
} from "../config/load.ts";
import { ConfigError, type ErrorCode, TunnelError } from "../errors.ts";
import { completionScript } from "./completion.ts";
import { startDemoTarget } from "./demo-target.ts";
import { freePort } from "./free-port.ts";
import { connectInput, pingInput, provideInput, serveInput, upInput } from "./inputs.ts";
import { type CliIo, ExitCode } from "./io.ts";
import { type Actions, buildProgram, type TableFlags } from "./program.ts";
import { printError } from "./print-error.ts";
import { runImport } from "./run-import.ts";
import { UsageError } from "./usage-error.ts";
import { writeConfig } from "./write-config.ts";

/** Runs one command line. @returns what the process should exit with */
export async function runCli(argv: readonly string[], io: CliIo): Promise<ExitCode> {
  let code: ExitCode = ExitCode.ok;
  const starter: Sink = async (config, flags, epilogue) => {
    // Only what runs needs all of it; help, checks and completion answer sooner without.
    const { runApp } = await import("./run-app.ts");
    code = await runApp(config, io, { json: flags.json, epilogue });
  };
  const checker: Actions["check"] = async (files) => {
    code = await checkFiles(files, io);
  };
  const pinger: Actions["ping"] = async (url, flags, globals) => {
    checkGlobals(globals);
    const { runPing } = await import("./run-ping.ts");
    code = await runPing(loadConfig(pingInput(url), globals, io.env), { io, flags });
  };
  const importer: Actions["import"] = async (kind, inputs, flags) => {
    code = await runImport(kind, inputs, flags, io);
  };
  try {
    const actions = { ...commands(io, starter), check: checker, import: importer, ping: pinger };
    await parse(argv, actions, io);
    return code;
  } catch (thrown) {
    return report(thrown, io);
  }
}

/** What is done with the configuration a command stands for. */
type Sink = (config: Config, flags: TableFlags, epilogue?: string) => Promise<void>;

async function parse(argv: readonly string[], actions: Actions, io: CliIo): Promise<void> {
  const program = buildProgram(actions, io, await readVersion());
  if (argv.length === 0) {
    io.stdout.write(program.helpInformation());
    throw new UsageError("which command?");
  }
  await program.parseAsync([...argv], { from: "user" });
}

/** Every command, ending in a configuration that goes to the sink. */
function commands(io: CliIo, sink: Sink): Actions {
  const act = async (
    input: ConfigInput,
    flags: TableFlags,
    globals: GlobalFlags,
    epilogue?: string,
  ): Promise<void> => {
    checkGlobals(globals);
    await sink(loadConfig(input, globals, io.env), flags, epilogue);
  };
  return {
    async up(flags, globals) {
      const target = await startDemoTarget();
      try {
        const proxy = flags.dynamic?.[0] ?? String(await freePort(DEFAULT_PROXY_PORT));
        const tunnelPort = await freePort(0);
        const input = upInput({ tunnelPort, proxy, allow: [target.address] });
        await act(input, flags, globals, upEpilogue(proxy, target.address, io));
      } finally {
        target.close();
      }
    },
    serve: async (urls, flags, globals) => act(serveInput(urls, flags), flags, globals),
    connect: async (urls, flags, globals) => {
      const usesStdio = flags.forward?.some((forward) => forward.startsWith("-:")) ?? false;
      // A ProxyCommand shares the terminal with what it serves: only warnings belong there.
      const level = usesStdio && io.env["SLUICE_LOG_LEVEL"] === undefined ? "warn" : undefined;
      const logLevel = globals.logLevel ?? level;
      await act(connectInput(urls, flags), flags, { ...globals, logLevel });
    },
    provide: async (urls, flags, globals) => act(provideInput(urls, flags), flags, globals),
    run: async (file, flags, globals) =>
      act(await readConfigFile(file ?? defaultFile(io), io.stdin), flags, globals),
    check: () => Promise.resolve(),
    import: () => Promise.resolve(),
    ping: () => Promise.resolve(),
    cert: {
      make: async (kind, flags) => {
        const { makeCertificate } = await import("./cert.ts");
        await makeCertificate(kind, flags, io);
      },
      show: async (path, flags) => {
        const { showCertificates } = await import("./cert.ts");
        await showCertificates(path, flags, io);
      },
    },
    printConfig: async (words, globals) => {
      const { argv } = impliedRun(words);
      await parse([...argv, ...globalArguments(globals)], commands(io, printer(io)), io);
    },
    completion: (shell, program) => {
      io.stdout.write(completionScript(shell, program));
      return Promise.resolve();
    },
  };
}

/** Prints instead of running. */
function printer(io: CliIo): Sink {
  return (config) => Promise.resolve(writeConfig(config, io));
}

/** A command line without a command is one of `run`: a file, or nothing. */
function impliedRun(words: readonly string[]): { readonly argv: readonly string[] } {
  const [first] = words;
  if (first === undefined || first.startsWith("-")) return { argv: ["run", ...words] };
  if (RUNNABLE.has(first)) return { argv: words };
  if (first.includes("/") || first.includes(".")) return { argv: ["run", ...words] };
  const known = [...RUNNABLE].join(", ");
  const guess = didYouMean(first, RUNNABLE);
  throw new UsageError(`print-config: "${first}" is no file and not one of ${known}${guess}`);
}

function globalArguments({ logFormat, logLevel, grace }: GlobalFlags): string[] {
  return [
    ...(logFormat === undefined ? [] : ["--log-format", logFormat]),
    ...(logLevel === undefined ? [] : ["--log-level", logLevel]),
    ...(grace === undefined ? [] : ["--grace", grace]),
  ];
}

function checkGlobals(globals: GlobalFlags): void {
  for (const [name, flag] of GLOBAL_FLAGS) {
    const text = globals[name];
    const wrong = text === undefined ? undefined : problemOf(name, text);
    if (wrong !== undefined) throw new UsageError(`${flag}: ${wrong}`);
  }
}

/** Prints every problem of every file. */
async function checkFiles(files: readonly string[], io: CliIo): Promise<ExitCode> {
  let code: ExitCode = ExitCode.ok;
  for (const path of files.length === 0 ? [defaultFile(io)] : files) {
    const { name, text } = await readConfigText(path, io.stdin);
    const { config, problems } = checkText(text);
    const lines = problems.map((problem) => formatFileProblem(name, problem));
    if (config !== undefined) lines.push(...(await checkLists(config)));
    for (const line of lines) io.stdout.write(`${line}\n`);
    if (lines.length === 0) io.stdout.write(`${name}: ok\n`);
    else code = ExitCode.configuration;
  }
  return code;
}

function upEpilogue(proxy: string, target: string, { env }: CliIo): string {
  const at = /:/.test(proxy) ? proxy : `127.0.0.1:${proxy}`;
  // Where a proxy is usual, curl is told to leave loopback out, which would leave the tunnel out.
  const isExcluded = (env["NO_PROXY"] ?? env["no_proxy"] ?? "") !== "";
  const direct = isExcluded ? "--noproxy '' " : "";
  return `
Try it, in another terminal:
  curl ${direct}--socks5-hostname ${at} http://${target}/
  curl ${direct}-x http://${at} http://example.com/
Ctrl-C ends it.
`;
}

function defaultFile({ env }: CliIo): string {
  const file = env["SLUICE_CONFIG"];
  return file === undefined || file === "" ? "sluice.yaml" : file;
}

function report(thrown: unknown, io: CliIo): ExitCode {
  if (thrown instanceof CommanderError) {
    return thrown.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
  }
  if (thrown instanceof UsageError) {
    io.stderr.write(`sluice: ${thrown.message}\nhint: sluice --help\n`);
    return ExitCode.usage;
  }
  if (thrown instanceof ConfigError && /^[^\s:]+:\d+:\d+: /.test(thrown.message)) {
    // Problems with their places, one per line, as editors and people expect them.
    io.stderr.write(`${thrown.message}\n`);
    return ExitCode.configuration;
  }
  if (!(thrown instanceof TunnelError)) throw thrown;
  printError(thrown, io);
  return EXIT_CODES.get(thrown.code) ?? ExitCode.notStarted;
}

async function readVersion(): Promise<string> {
  // Two folders up from here, both in `src` and in `dist`.
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  const { version }: { version?: unknown } = { ...Object(JSON.parse(text)) };
  return String(version);
}

const DEFAULT_PROXY_PORT = 1080;

const EXIT_CODES: ReadonlyMap<ErrorCode, ExitCode> = new Map([
  ["ERR_CONFIG", ExitCode.configuration],
  ["ERR_CREDENTIAL", ExitCode.configuration],
  ["ERR_REFUSED_FOR_GOOD", ExitCode.refused],
] as const);

/** Commands that end in a configuration. */
const RUNNABLE: ReadonlySet<string> = new Set(["up", "serve", "connect", "provide", "run"]);

const GLOBAL_FLAGS = [
  ["logFormat", "--log-format"],
  ["logLevel", "--log-level"],
  ["grace", "--grace"],
] as const;
