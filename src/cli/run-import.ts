import { formatImportNote, type Imported } from "../config/imported.ts";
import { readConfigText } from "../config/load.ts";
import { didYouMean } from "../config/nearest.ts";
import { parseConfig } from "../config/parse-config.ts";
import { ConfigError } from "../errors.ts";
import { type Importer, IMPORTERS } from "./importers.ts";
import { type CliIo, ExitCode } from "./io.ts";
import { printError } from "./print-error.ts";
import { UsageError } from "./usage-error.ts";
import { writeConfig } from "./write-config.ts";

/** Flags of `import`. */
export interface ImportFlags {
  readonly inlineSecrets?: boolean;
  readonly wholeLabels?: boolean;
}

/**
 * Prints the configuration that another program's comes down to, and on standard error what is not
 * the same.
 *
 * @throws UsageError when the command line is wrong
 */
export async function runImport(
  kind: string,
  inputs: readonly string[],
  flags: ImportFlags,
  io: CliIo,
): Promise<ExitCode> {
  const importer = IMPORTERS.get(kind);
  if (importer === undefined) {
    const kinds = [...IMPORTERS.keys()];
    const guess = didYouMean(kind, kinds);
    throw new UsageError(`import: "${kind}" is not one of ${kinds.join(", ")}${guess}`);
  }
  const found = await convert(importer, { kind, inputs }, flags, io);
  if (found === undefined) return ExitCode.usage;
  const { name, imported } = found;
  for (const note of imported.notes) io.stderr.write(`${formatImportNote(name, note)}\n`);
  const head = `# Made from ${name.replaceAll(/\s+/g, " ")} by sluice import ${kind}.\n`;
  writeConfig(parseConfig(imported.input), io, head);
  return ExitCode.ok;
}

/** What was made of the input; `undefined` when it could not be read, and why was printed. */
async function convert(
  importer: Importer,
  { kind, inputs }: { readonly kind: string; readonly inputs: readonly string[] },
  { inlineSecrets = false, wholeLabels = false }: ImportFlags,
  io: CliIo,
): Promise<{ readonly name: string; readonly imported: Imported } | undefined> {
  const options = { inlineSecrets, wholeLabels, home: io.env["HOME"] };
  const [first = "", ...more] = inputs;
  if (importer.takes === "file" && more.length > 0) {
    throw new UsageError(`import ${kind}: wants one file, and got ${inputs.length}`);
  }
  try {
    if (importer.takes === "words") {
      // A command line in quotes is one word.
      const words = more.length === 0 ? first.trim().split(/\s+/) : inputs;
      const name = `${kind} command line`;
      return { name, imported: await importer.convert(words, { ...options, name }) };
    }
    const { name, text } = await readConfigText(first, io.stdin);
    return { name, imported: await importer.convert(text, { ...options, name }) };
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
    if (/:\d+:\d+: /.test(thrown.message)) io.stderr.write(`${thrown.message}\n`);
    else printError(thrown, io);
    return undefined;
  }
}
