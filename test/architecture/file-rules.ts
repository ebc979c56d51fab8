import { posix } from "node:path";
import { codeOnly, isTest, type Sources, withoutComments } from "./sources.ts";

/** Names: kebab-case, after the one thing in the file; no drawers, no barrels. */
export function checkNames(sources: Sources): string[] {
  const found: string[] = [];
  for (const [path, source] of sources) {
    const name = posix.basename(path);
    if (!/^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test)?\.ts$/.test(name)) {
      found.push(`${path}: not kebab-case`);
    }
    if (/^(?:utils?|helpers?|common|misc|shared|types|constants)\.ts$/.test(name)) {
      found.push(`${path}: name it after the one thing it defines`);
    }
    if (path === "src/index.ts") continue;
    if (name === "index.ts") found.push(`${path}: only src/index.ts is a barrel`);
    if (/^export\s[^;="'`]*\sfrom\s*"/m.test(withoutComments(source))) {
      found.push(`${path}: re-exports; only src/index.ts does`);
    }
  }
  return found;
}

/** Files of `src` that should have been split. */
export function checkSizes(sources: Sources): string[] {
  return [...sources]
    .filter(([path]) => path.startsWith("src/") && !isTest(path))
    .map(([path, source]) => ({ path, lines: source.split("\n").length - 1 }))
    .filter(({ lines }) => lines >= MAX_LINES)
    .map(({ path, lines }) => `${path}: ${lines} lines, split before ${MAX_LINES}`);
}

/** Default exports anywhere. */
export function checkDefaultExports(sources: Sources): string[] {
  return [...sources]
    .filter(([, source]) => /^\s*export\s+default\b|\bas\s+default\b/m.test(codeOnly(source)))
    .map(([path]) => `${path}: default export`);
}

/** Exported declarations of `src` without a doc comment. */
export function checkDocs(sources: Sources): string[] {
  const found: string[] = [];
  for (const [path, source] of sources) {
    if (!path.startsWith("src/") || isTest(path)) continue;
    const lines = source.split("\n");
    for (const [index, line] of lines.entries()) {
      const [, name] = EXPORTED.exec(line) ?? [];
      if (name !== undefined && !isDocumented(lines, index, name)) {
        found.push(`${path}:${index + 1}: ${name} has no doc comment`);
      }
    }
  }
  return found;
}

/** Promises to do something later that no issue remembers. */
export function checkReminders(sources: Sources): string[] {
  return eachLine(sources, (line) =>
    REMINDER.test(line) && !/#\d+/.test(line) ? "a reminder without an issue number" : undefined,
  );
}

/** Paths that exist only on the machine they were written on. */
export function checkMachinePaths(sources: Sources): string[] {
  return eachLine(sources, (line) => {
    const path = MACHINE_PATH.exec(line)?.[0];
    return path === undefined ? undefined : `${path} is a path of one machine`;
  });
}

/** Download addresses in the lock file: they name whatever registry its writer used. */
export function checkLock(lock: string): string[] {
  return [...lock.matchAll(/"resolved":\s*"[a-z+]+:[^"]*"/g)].map(
    (match) => `package-lock.json: ${match[0]}`,
  );
}

/** Protocol folders without their README. */
export function checkReadmes(paths: readonly string[]): string[] {
  const folders = new Set(
    paths.flatMap((path) => /^src\/protocols\/[^/]+(?=\/)/.exec(path)?.[0] ?? []),
  );
  return [...folders]
    .filter((folder) => !paths.includes(`${folder}/README.md`))
    .map((folder) => `${folder}: no README.md`);
}

function isDocumented(lines: readonly string[], index: number, name: string): boolean {
  let above = index - 1;
  // A lint comment with its reason may stand between.
  while (/^\s*\/\//.test(lines[above] ?? "")) above--;
  const previous = lines[above] ?? "";
  if (previous.endsWith("*/")) {
    let start = above;
    while (start > 0 && !/^\s*\/\*/.test(lines[start] ?? "")) start--;
    const comment = lines.slice(start, above + 1).join(" ");
    return comment.trimStart().startsWith("/**") && /[a-z]{2}/i.test(comment);
  }
  // The first of several overloads speaks for all.
  return previous.endsWith(";") && EXPORTED.exec(previous)?.[1] === name;
}

function eachLine(sources: Sources, judge: (line: string) => string | undefined): string[] {
  const found: string[] = [];
  for (const [path, source] of sources) {
    for (const [index, line] of source.split("\n").entries()) {
      const problem = judge(line);
      if (problem !== undefined) found.push(`${path}:${index + 1}: ${problem}`);
    }
  }
  return found;
}

const MAX_LINES = 400;

const EXPORTED =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:function\*?|class|interface|type|const|let|enum|namespace) (\w+)/;

// Spelled so that they do not find themselves.
const REMINDER = /\b(?:TO[D]O|FIX[M]E|XX[X])\b/;
const MACHINE_PATH = /(?<![\w.~-])\/(?:wor[k]|roo[t])\/[\w.-]+/;
