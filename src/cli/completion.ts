import type { Command } from "commander";
import { didYouMean } from "../config/nearest.ts";
import { IMPORTERS } from "./importers.ts";
import { UsageError } from "./usage-error.ts";

/**
 * A script that completes commands, options and files in a shell. It is written from the program
 * itself, so it knows what the program knows.
 *
 * @throws UsageError for a shell we do not know
 */
export function completionScript(shell: string, program: Command): string {
  const write = WRITERS.get(shell);
  if (write !== undefined) return write(describe(program));
  const shells = [...WRITERS.keys()];
  throw new UsageError(
    `shell "${shell}" is not one of ${shells.join(", ")}${didYouMean(shell, shells)}`,
  );
}

interface CommandWords {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionWords[];
  /** Whether its arguments are files. */
  readonly takesFiles: boolean;
  /** What its first argument may be, when that is one of some words. */
  readonly kinds: readonly string[];
}

interface OptionWords {
  readonly long: string;
  readonly short: string | undefined;
  readonly description: string;
  readonly takesValue: boolean;
}

function describe(program: Command): readonly CommandWords[] {
  const optionsOf = (command: Command): OptionWords[] =>
    command.options.map(({ long, short, description, required }) => ({
      long: long ?? short ?? "",
      short: short ?? undefined,
      description,
      takesValue: required,
    }));
  const globals = optionsOf(program).filter(({ long }) => long !== "--version");
  return program.commands.map((command) => ({
    name: command.name(),
    summary: command.summary(),
    options: distinct([...[command, ...command.commands].flatMap(optionsOf), ...globals]),
    takesFiles: FILE_COMMANDS.has(command.name()),
    kinds: command.name() === "import" ? [...IMPORTERS.keys()] : command.commands.map(nameOf),
  }));
}

/** Commands of the same command share options. */
function distinct(options: readonly OptionWords[]): OptionWords[] {
  return [...new Map(options.map((option) => [option.long, option])).values()];
}

function nameOf(command: Command): string {
  return command.name();
}

function bash(commands: readonly CommandWords[]): string {
  const cases = commands.map(({ name, options, takesFiles }) => {
    const words = options.flatMap(({ long, short }) => (short ? [short, long] : [long]));
    const files = takesFiles ? ' $(compgen -f -- "$word")' : "";
    return `    ${name}) COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$word")${files}) ;;`;
  });
  const names = commands.map(({ name }) => name).join(" ");
  const kinds = commands
    .filter((command) => command.kinds.length > 0)
    .map(({ name, kinds: words }) => {
      return `    ${name}) COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$word")); return ;;`;
    });
  return `# bash completion for sluice
_sluice() {
  local word="\${COMP_WORDS[COMP_CWORD]}" command="" index
  for ((index = 1; index < COMP_CWORD; index++)); do
    case " ${names} " in
      *" \${COMP_WORDS[index]} "*) command="\${COMP_WORDS[index]}"; break ;;
    esac
  done
  case "\${COMP_WORDS[COMP_CWORD - 1]}" in
    --cert|--key|--ca|--ca-key|--out) COMPREPLY=($(compgen -f -- "$word")); return ;;
    --log-format) COMPREPLY=($(compgen -W "auto pretty json" -- "$word")); return ;;
    --log-level) COMPREPLY=($(compgen -W "debug info warn error" -- "$word")); return ;;
    --format) COMPREPLY=($(compgen -W "pem pair zip" -- "$word")); return ;;
    completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")); return ;;
    print-config) COMPREPLY=($(compgen -W "${names}" -- "$word")); return ;;
${kinds.join("\n")}
  esac
  case "$command" in
    "") COMPREPLY=($(compgen -W "${names} --help --version" -- "$word")) ;;
${cases.join("\n")}
  esac
}
complete -F _sluice sluice
`;
}

function zsh(commands: readonly CommandWords[]): string {
  const list = commands.map(({ name, summary }) => `    '${name}:${escapeQuotes(summary)}'`);
  const cases = commands.map(({ name, options, takesFiles, kinds: words }) => {
    const specs = options.map(({ long, short, description, takesValue }) => {
      const text = escapeQuotes(description).replaceAll(/[[\]:]/g, "\\$&");
      const value = takesValue ? `:value:${VALUES.get(long) ?? ""}` : "";
      const names = short === undefined ? `'*${long}` : `'*'{${short},${long}}'`;
      return `      ${names}[${text}]${value}'`;
    });
    const kinds = words.length > 0 ? [`      '2:kind:(${words.join(" ")})'`] : [];
    const rest = takesFiles ? [...kinds, "      '*:file:_files'"] : [];
    return `    ${name}) _arguments \\\n${[...specs, ...rest].join(" \\\n")} ;;`;
  });
  return `#compdef sluice
# zsh completion for sluice
_sluice() {
  local -a commands
  commands=(
${list.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe 'command' commands
    return
  fi
  case "\${words[2]}" in
${cases.join("\n")}
  esac
}
compdef _sluice sluice
`;
}

function fish(commands: readonly CommandWords[]): string {
  const lines = commands.flatMap(({ name, summary, options, takesFiles, kinds }) => [
    `complete -c sluice -n __fish_use_subcommand -a ${name} -d '${escapeFish(summary)}'`,
    ...(takesFiles ? [`complete -c sluice -n '__fish_seen_subcommand_from ${name}' -F`] : []),
    ...(kinds.length > 0
      ? [`complete -c sluice -n '__fish_seen_subcommand_from ${name}' -a '${kinds.join(" ")}'`]
      : []),
    ...options.map(({ long, short, description, takesValue }) => {
      const flags = `${short === undefined ? "" : ` -s ${short.slice(1)}`} -l ${long.slice(2)}`;
      const value = takesValue ? " -r" : "";
      return `complete -c sluice -n '__fish_seen_subcommand_from ${name}'${flags}${value} -d '${escapeFish(description)}'`;
    }),
  ]);
  return `# fish completion for sluice
complete -c sluice -f
${lines.join("\n")}
complete -c sluice -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
`;
}

/** Inside single quotes of a POSIX shell. */
function escapeQuotes(text: string): string {
  return text.replaceAll("'", `'\\''`);
}

/** Inside single quotes of fish. */
function escapeFish(text: string): string {
  return text.replaceAll(/['\\]/g, "\\$&");
}

const FILE_COMMANDS: ReadonlySet<string> = new Set([
  "run",
  "check",
  "cert",
  "print-config",
  "import",
]);

/** What zsh offers as the value of an option. */
const VALUES: ReadonlyMap<string, string> = new Map([
  ["--cert", "_files"],
  ["--key", "_files"],
  ["--ca", "_files"],
  ["--ca-key", "_files"],
  ["--out", "_files"],
  ["--format", "(pem pair zip)"],
  ["--log-format", "(auto pretty json)"],
  ["--log-level", "(debug info warn error)"],
]);

const WRITERS: ReadonlyMap<string, (commands: readonly CommandWords[]) => string> = new Map([
  ["bash", bash],
  ["zsh", zsh],
  ["fish", fish],
]);
