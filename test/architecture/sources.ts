import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { join, posix } from "node:path";

/** Files by their path from the top of the repository, with `/`. */
export type Sources = ReadonlyMap<string, string>;

/** One `import`, `export … from` or `import(…)`. */
export interface Import {
  readonly specifier: string;
  /** The imported file from the top of the repository; `undefined` for packages and built-ins. */
  readonly file: string | undefined;
}

/** Every file with one of the extensions under the folders; absent folders are empty. */
export function readSources(
  top: string,
  folders: readonly string[],
  extensions: readonly string[],
): Sources {
  const sources = new Map<string, string>();
  for (const folder of folders) {
    if (!existsSync(join(top, folder))) continue;
    for (const entry of readdirSync(join(top, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !extensions.includes(posix.extname(entry.name))) continue;
      const path = join(entry.parentPath, entry.name);
      sources.set(posix.relative(top, path), readFileSync(path, "utf8"));
    }
  }
  return sources;
}

/** Every text file git tracks; `undefined` outside a git checkout. */
export function readTracked(top: string): Sources | undefined {
  let listed: string;
  try {
    listed = execFileSync("git", ["ls-files", "-z"], {
      cwd: top,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  } catch {
    return undefined; // an unpacked archive: there is nothing tracked to judge
  }
  const paths = listed.split("\0").filter((path) => path !== "" && existsSync(join(top, path)));
  const texts = paths.map((path) => [path, readFileSync(join(top, path), "utf8")] as const);
  return new Map(texts.filter(([, text]) => !text.includes("\0")));
}

/** The source with every comment blanked out; line numbers stay. */
export function withoutComments(source: string): string {
  return source.replaceAll(TOKENS, (token, regexPrefix: string | undefined) => {
    const isComment = regexPrefix === undefined && /^\/[/*]/.test(token);
    return isComment ? token.replaceAll(/[^\n]/g, " ") : token;
  });
}

/** The source with comments, strings and regular expressions blanked out. */
export function codeOnly(source: string): string {
  return source.replaceAll(TOKENS, (token) =>
    // What stands in a template's ${…} is code.
    token.startsWith("`")
      ? token.replaceAll(/\$\{([^`]*?)\}|[^\n]/g, (_, code: string | undefined) => code ?? " ")
      : token.replaceAll(/[^\n]/g, " "),
  );
}

/** Everything a file imports, types too. */
export function importsOf(path: string, source: string): Import[] {
  return [...withoutComments(source).matchAll(IMPORTS)].map((match) => {
    const specifier = match[1] ?? match[2] ?? match[3] ?? "";
    const isRelative = specifier.startsWith(".");
    return {
      specifier,
      file: isRelative ? posix.join(posix.dirname(path), specifier) : undefined,
    };
  });
}

/** The package behind a bare specifier; `undefined` for relative ones and built-ins. */
export function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith(".") || specifier.startsWith("node:")) return undefined;
  const [scope = "", name = ""] = specifier.split("/");
  return scope.startsWith("@") ? `${scope}/${name}` : scope;
}

/** Whether the specifier is a Node module spelled without `node:`. */
export function isBareBuiltin(specifier: string): boolean {
  return !specifier.startsWith("node:") && isBuiltin(specifier);
}

/** Whether rules for the product's own code apply to the file. */
export function isTest(path: string): boolean {
  return path.endsWith(".test.ts") || path.startsWith("test/");
}

/** A regular expression (after what cannot end an operand), a string, a template, a comment. */
const TOKENS =
  /(?<=[=(,:!&|?{};[]\s*)(\/)(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n])+\/[a-z]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\*[^]*?\*\/|\/\/[^\n]*/g;

const IMPORTS =
  /^\s*(?:import|export)\s(?:[^;"'`]*?\sfrom\s*)"([^"]+)"|^\s*import\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/gm;
