import { Command, CommanderError, Option } from "commander";
import type { GlobalFlags } from "../config/load.ts";
import { didYouMean } from "../config/nearest.ts";
import type { ConnectFlags, ProvideFlags, ServeFlags } from "./inputs.ts";
import { addCertCommand, type CertActions } from "./cert-command.ts";
import { IMPORTERS } from "./importers.ts";
import type { CliIo } from "./io.ts";
import type { ImportFlags } from "./run-import.ts";
import type { PingFlags } from "./run-ping.ts";

/** What the commands do; the program only reads the command line. */
export interface Actions {
  up(flags: UpFlags, globals: GlobalFlags): Promise<void>;
  serve(
    urls: readonly string[],
    flags: ServeFlags & TableFlags,
    globals: GlobalFlags,
  ): Promise<void>;
  connect(
    urls: readonly string[],
    flags: ConnectFlags & TableFlags,
    globals: GlobalFlags,
  ): Promise<void>;
  provide(
    urls: readonly string[],
    flags: ProvideFlags & TableFlags,
    globals: GlobalFlags,
  ): Promise<void>;
  run(file: string | undefined, flags: TableFlags, globals: GlobalFlags): Promise<void>;
  check(files: readonly string[]): Promise<void>;
  ping(url: string, flags: PingFlags, globals: GlobalFlags): Promise<void>;
  readonly cert: CertActions;
  printConfig(command: readonly string[], globals: GlobalFlags): Promise<void>;
  import(kind: string, inputs: readonly string[], flags: ImportFlags): Promise<void>;
  completion(shell: string, program: Command): Promise<void>;
}

/** Flags of every command that prints a table. */
export interface TableFlags {
  readonly json?: boolean;
}

/** Flags of `up`. */
export interface UpFlags extends TableFlags {
  readonly dynamic?: readonly string[];
}

/** The whole command line. It throws {@link CommanderError} instead of ending the process. */
export function buildProgram(actions: Actions, io: CliIo, version: string): Command {
  const program = new Command("sluice");
  program
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, "sluice: ")),
      getOutHelpWidth: () => HELP_WIDTH,
      getErrHelpWidth: () => HELP_WIDTH,
    })
    .configureHelp({ subcommandTerm: (command) => command.name(), showGlobalOptions: true })
    .helpCommand(false)
    .usage("COMMAND [ARGUMENTS] [OPTIONS]")
    .description("Carries TCP through any network, over the tunnel systems people already run.")
    .option("--log-format <FORMAT>", "auto, pretty or json (SLUICE_LOG_FORMAT)")
    .option("--log-level <LEVEL>", "debug, info, warn or error (SLUICE_LOG_LEVEL)")
    .option("--grace <TIME>", "for running streams at the end; 10s (SLUICE_GRACE)")
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help; also COMMAND --help")
    .addHelpText("after", "Try it: sluice up. Reference: docs/configuration.md");
  const globals = (): GlobalFlags => program.opts<GlobalFlags>();

  const up = program
    .command("up")
    .usage("[OPTIONS]")
    .summary("try it: both ends here, and a curl line to paste")
    .description("Runs both ends of a pong tunnel on loopback, and a proxy into it.")
    .addOption(
      listOption("-D, --dynamic <PORT>", "[bind:]port of the proxy; 1080 or the next free one"),
    )
    .addOption(jsonOption())
    .action((flags: UpFlags) => actions.up(flags, globals()));
  examples(up, ["sluice up", "sluice up -D 9000"]);

  const serve = program
    .command("serve")
    .argument("<URL...>", "tunnel URL; we listen on its host and port")
    .usage("URL... [OPTIONS]")
    .summary("listen for peers and dial targets for them")
    .description("Listens for the peers of a tunnel and dials the targets they ask for.")
    .addOption(listOption("--client <NAME=ID>", "who may connect; ID may be env:NAME, file:PATH"))
    .option("--anonymous", "let everybody in")
    .addOption(listOption("--provider <NAME=TOKEN>", "linksocks: who dials; a way out"))
    .addOption(listOption("--connector <SPEC>", "linksocks: NAME@PROVIDER=TOKEN, who uses it"))
    .option("--autonomy", "linksocks: providers name their connectors")
    .option("--api-key <SECRET>", "linksocks: HTTP API for tokens, with this key")
    .option("--cert <FILE>", "our certificate chain, PEM")
    .option("--key <FILE>", "its key, PEM")
    .addOption(listOption("--allow <PATTERN>", "open a target that is denied by default"))
    .addOption(listOption("--deny <PATTERN>", "never dial these targets"));
  addDoors(serve);
  serve.action((urls: string[], flags: ServeFlags & TableFlags) =>
    actions.serve(urls, flags, globals()),
  );
  examples(serve, [
    "sluice serve pong+tcp://:8443 --client alice=env:ALICE_ID",
    "sluice serve pong+wss://:443/api --client a=file:a.id --cert c.pem --key k.pem",
    "sluice serve pong+tcp://127.0.0.1:8443 --anonymous --allow 127.0.0.1:8080",
    "sluice serve linksocks+ws://:8765 --provider office=env:OFFICE -D 1080",
    "sluice serve vproxy+kcp://:18686 --client alice=env:ALICE",
    "sluice serve 'kcptun+kcp://:20010?target=10.0.0.5:22'",
  ]);

  const connect = program
    .command("connect")
    .argument("<URL...>", "tunnel URL, or NAME=URL to route by")
    .usage("[NAME=]URL... [OPTIONS]")
    .summary("dial a tunnel and use the far side's network")
    .description("Dials a tunnel, and opens local doors into the far side's network.");
  addDoors(connect);
  connect
    .addOption(listOption("--route <PATTERN=VIA>", "send targets via a tunnel, direct or block"))
    .action((urls: string[], flags: ConnectFlags & TableFlags) =>
      actions.connect(urls, flags, globals()),
    );
  examples(connect, [
    "sluice connect pong+tls://env:ID@host:443 -D 1080",
    "sluice connect pong+wss://file:id@host/api -L 2200:bogus:22 -L /tmp/db:db:5432",
    "ssh -o ProxyCommand='sluice connect pong+tls://env:ID@host -L -:%h:%p' bogus",
    "sluice connect websocks:kcp://alice:env:ALICE@host:18686 -D 1080",
    "sluice connect kcptun+kcp://host:20010 -L 2200",
    "sluice connect a=pong+tls://env:A@a b=pong+tls://env:B@b -D 1080 --route .b=b",
  ]);

  const provide = program
    .command("provide")
    .argument("<URL...>", "tunnel URL")
    .usage("URL... [OPTIONS]")
    .summary("dial a tunnel and lend our network to the far side")
    .description("Dials a tunnel, and dials what the far side asks for. pong has no such role.")
    .addOption(listOption("--allow <PATTERN>", "open a target that is denied by default"))
    .addOption(listOption("--deny <PATTERN>", "never dial these targets"))
    .addOption(jsonOption())
    .action((urls: string[], flags: ProvideFlags & TableFlags) =>
      actions.provide(urls, flags, globals()),
    );
  examples(provide, [
    "sluice provide linksocks+wss://env:TOKEN@host/socket --allow 127.0.0.1:8080",
  ]);

  const run = program
    .command("run")
    .argument("[FILE]", "SLUICE_CONFIG or sluice.yaml by default; -: stdin")
    .usage("[FILE] [OPTIONS]")
    .summary("run everything a configuration file says")
    .description("Runs everything a configuration file says, several tunnels at once.")
    .addOption(jsonOption())
    .action((file: string | undefined, flags: TableFlags) => actions.run(file, flags, globals()));
  examples(run, ["sluice run", "sluice run /etc/sluice.yaml --log-format json"]);

  const check = program
    .command("check")
    .argument("[FILE...]", "SLUICE_CONFIG or sluice.yaml by default; -: stdin")
    .usage("[FILE...]")
    .summary("print all problems of a configuration file")
    .description("Prints every problem as file:line:column: path: what is wrong.")
    .action((files: string[]) => actions.check(files));
  examples(check, ["sluice check", "sluice check a.yaml b.yaml"]);

  const ping = program
    .command("ping")
    .argument("<URL>", "tunnel URL, as for connect")
    .usage("URL [OPTIONS]")
    .summary("time each step of the way to a peer")
    .description("Resolves, connects and logs in, and says where it ends and what to try.")
    .addOption(jsonOption())
    .action((url: string, flags: PingFlags) => actions.ping(url, flags, globals()));
  examples(ping, [
    "sluice ping pong+tls://env:ID@host:443",
    "sluice ping --json linksocks+wss://env:TOKEN@host/socket",
  ]);

  addCertCommand(program, actions.cert);

  const print = program
    .command("print-config")
    .argument("[COMMAND...]", "a command with its arguments, or a file")
    .usage("[COMMAND...]")
    .allowUnknownOption()
    .summary("print the file that a command line stands for")
    .description("Prints the YAML that a command line stands for, for `sluice run`.")
    .action((words: string[]) => actions.printConfig(words, globals()));
  examples(print, [
    "sluice print-config connect pong+tls://env:ID@host -D 1080 > sluice.yaml",
    "sluice print-config run sluice.yaml",
  ]);

  const importer = program
    .command("import")
    .argument("<KIND>", [...IMPORTERS.keys()].join(", "))
    .argument("<INPUT...>", "a file, -: stdin; for vproxy-server the words of its command line")
    .usage("KIND INPUT... [OPTIONS]")
    .summary("convert another program's configuration")
    .description(
      "Prints the YAML another program's configuration comes down to, and on standard\nerror everything that is not the same, with the reason and what to do.",
    )
    .option("--inline-secrets", "write passwords out, instead of references to them")
    .option("--whole-labels", "vproxy: suffix ab.com matches x.ab.com, but not xab.com")
    .action((kind: string, inputs: string[], flags: ImportFlags) =>
      actions.import(kind, inputs, flags),
    );
  examples(importer, [
    "sluice import vproxy agent.conf > sluice.yaml && sluice check sluice.yaml",
    "sluice import vproxy - --inline-secrets < ~/.vproxy/vpws-agent.conf",
    "sluice import vproxy-server -- listen 18686 auth alice:secret kcp",
  ]);

  const completion = program
    .command("completion")
    .argument("<SHELL>", "bash, zsh or fish")
    .usage("bash|zsh|fish")
    .summary("print a completion script for a shell")
    .description("Prints a script that completes commands and options.")
    .action((shell: string) => actions.completion(shell, program));
  examples(completion, [
    "sluice completion bash > /etc/bash_completion.d/sluice",
    'sluice completion zsh > "${fpath[1]}/_sluice"',
    "sluice completion fish > ~/.config/fish/completions/sluice.fish",
  ]);
  return program;
}

/** Whether a commander error is help or a version that was asked for. */
export function isAnswer(error: CommanderError): boolean {
  return error.exitCode === 0;
}

/** ` (did you mean "x"?)` for a word that is one of the commands, nearly. */
export function nearestCommand(program: Command, word: string): string {
  return didYouMean(
    word,
    program.commands.map((command) => command.name()),
  );
}

function addDoors(command: Command): void {
  command
    .addOption(listOption("-D, --dynamic <PORT>", "SOCKS5, SOCKS4a and HTTP proxy on [bind:]port"))
    .addOption(
      listOption(
        "-L, --forward <SPEC>",
        "LISTEN:HOST:PORT[/udp]; LISTEN is [bind:]port, path or -",
      ),
    )
    .addOption(listOption("-H, --http <PORT>", "HTTP proxy alone on [bind:]port"))
    .addOption(listOption("--user <NAME:PASSWORD>", "login for -D and -H; or NAME:env:VARIABLE"))
    .option("--pac", "-D and -H serve /proxy.pac for browsers")
    .addOption(jsonOption());
}

/** An option that may be given many times. */
function listOption(flags: string, description: string): Option {
  const collect = (text: string, before: readonly string[] = []): readonly string[] => [
    ...before,
    text,
  ];
  return new Option(flags, description).argParser(collect);
}

function jsonOption(): Option {
  return new Option("--json", "print the start-up table as JSON");
}

function examples(command: Command, lines: readonly string[]): void {
  command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`);
}

const HELP_WIDTH = 80;
