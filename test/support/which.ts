import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";

/**
 * The path of an installed program, or `undefined`.
 *
 * A test that needs it: `test("…", { skip: skipWithout("curl") }, …)`.
 */
export function which(program: string): string | undefined {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(directory, program);
    if (directory !== "" && isExecutableFile(path)) return path;
  }
  return undefined;
}

/** The reason to skip a test for want of programs; `false` when all of them are there. */
export function skipWithout(...programs: readonly string[]): string | false {
  const missing = programs.filter((program) => which(program) === undefined);
  return missing.length === 0 ? false : `not installed: ${missing.join(", ")}`;
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // absent, or not ours to run: both mean "not here"
  }
}
