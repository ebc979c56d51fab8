import { open } from "node:fs/promises";
import { type ReadList, readHostList } from "../address/host-list.ts";
import { ConfigError, systemCode } from "../errors.ts";

/** Where a host list is. */
export interface ListSource {
  /** Relative to the working directory. */
  readonly path: string;
}

/** A list that was read, and the state of its file by which a change is seen. */
export interface ListFile extends ReadList {
  readonly stamp: string;
}

/**
 * Reads where a list is: a path, with `file:` before it or not.
 *
 * @throws ConfigError saying what is wrong
 */
export function parseListSource(text: string): ListSource {
  if (/^[a-z]+:\/\//i.test(text)) {
    throw new ConfigError(
      `"${text}" is a URL, and lists are read from files: fetch it into one (curl -o); the file is read again when it changes`,
    );
  }
  const path = text.replace(/^file:/, "");
  if (path === "") throw new ConfigError("the path of a list is empty");
  return { path };
}

/** `file:PATH`. */
export function formatListSource({ path }: ListSource): string {
  return `file:${path}`;
}

/**
 * Reads a list file.
 *
 * @throws ConfigError naming the file when it cannot be read or is too large
 */
export async function readListFile({ path }: ListSource): Promise<ListFile> {
  try {
    await using file = await open(path, "r");
    const stats = await file.stat();
    if (stats.isDirectory()) throw new ConfigError("is a directory");
    if (stats.size > MAX_LIST_BYTES) {
      throw new ConfigError(`${stats.size} bytes exceed ${MAX_LIST_BYTES}`);
    }
    const text = await file.readFile("utf8");
    return { ...readHostList(text), stamp: stampOf(stats) };
  } catch (cause) {
    const code = systemCode(cause);
    const reason =
      cause instanceof ConfigError
        ? cause.message
        : code === "ENOENT"
          ? "there is no such file"
          : String(code ?? cause);
    throw new ConfigError(`list ${path}: ${reason}`, { cause });
  }
}

/** What changes when a file is written or replaced. */
export function stampOf({
  ino,
  size,
  mtimeMs,
}: {
  readonly ino: number;
  readonly size: number;
  readonly mtimeMs: number;
}): string {
  return `${ino} ${size} ${mtimeMs}`;
}

/** The large public lists have some 3 MB. */
const MAX_LIST_BYTES = 16_777_216;
