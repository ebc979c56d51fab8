import { randomUUID } from "node:crypto";
import { lstat, open, rename, rm } from "node:fs/promises";
import { ConfigError, systemCode } from "../errors.ts";

/** A file that a command makes. */
export interface NewFile {
  readonly path: string;
  readonly content: string | Uint8Array;
  /** Whether nobody but its owner may read it. */
  readonly isSecret: boolean;
}

/**
 * Writes files that are not there yet, all of them or none; with `force` also in the place of others.
 * Nobody ever sees one half written.
 *
 * @throws ConfigError naming the file
 */
export async function writeNewFiles(
  files: readonly NewFile[],
  { force }: { readonly force: boolean },
): Promise<void> {
  if (!force) {
    for (const { path } of files) if (await exists(path)) throw alreadyThere(path);
  }
  const made: string[] = [];
  try {
    for (const file of files) {
      const path = force ? `${file.path}.${randomUUID()}` : file.path;
      await write(file, path, made);
    }
    if (!force) return;
    for (const [index, { path }] of files.entries()) {
      await naming(path, async () => await rename(made[index] ?? "", path));
    }
  } catch (thrown) {
    await Promise.all(made.map((path) => rm(path, { force: true })));
    throw thrown;
  }
}

async function write(
  { path, content, isSecret }: NewFile,
  at: string,
  made: string[],
): Promise<void> {
  await naming(path, async () => {
    // Made anew, so that nobody has it open already, and its mode counts from the first byte on.
    await using file = await open(at, "wx", isSecret ? SECRET_MODE : PUBLIC_MODE);
    made.push(at);
    await file.writeFile(content);
    await file.sync();
  });
}

async function naming(path: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (cause) {
    const code = systemCode(cause);
    if (code === "EEXIST") throw alreadyThere(path, cause);
    throw new ConfigError(
      `${path} cannot be written: ${REASONS.get(code ?? "") ?? String(cause)}`,
      {
        cause,
      },
    );
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    // Whatever else is wrong shows when it is written.
    return false;
  }
}

function alreadyThere(path: string, cause?: unknown): ConfigError {
  return new ConfigError(`${path} is there already; nothing was written`, {
    cause,
    hint: "give --force to replace it, or --out for another name",
  });
}

const SECRET_MODE = 0o600;
const PUBLIC_MODE = 0o644;

const REASONS: ReadonlyMap<string, string> = new Map([
  ["ENOENT", "there is no such directory"],
  ["ENOTDIR", "there is no such directory"],
  ["EACCES", "permission denied"],
  ["EROFS", "permission denied"],
  ["EISDIR", "it is a directory"],
]);
