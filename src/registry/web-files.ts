import { open, realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import { ConfigError, systemCode } from "../errors.ts";
import type { WebFile } from "../protocols/vproxy/websocks/send-page.ts";
import type { WebFiles } from "../protocols/vproxy/websocks/web.ts";

/**
 * The files below a folder. Links are followed as long as they stay below it.
 *
 * @throws ConfigError when it is no folder
 */
export async function openWebFiles(folder: string): Promise<WebFiles> {
  const root = await rootOf(folder);
  return {
    async find(path) {
      const file = await realpath(join(root, path)).catch(() => undefined);
      if (file === undefined || (file !== root && !file.startsWith(below(root)))) return undefined;
      const found = await stat(file).catch(() => undefined);
      if (found?.isDirectory()) return "folder";
      return found?.isFile() ? new DiskFile(file, found.size) : undefined;
    },
  };
}

/** One file; what it grows while it is sent is not sent. */
class DiskFile implements WebFile {
  readonly byteLength: number;
  readonly #path: string;

  constructor(path: string, byteLength: number) {
    this.#path = path;
    this.byteLength = byteLength;
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    if (this.byteLength === 0) return;
    const handle = await open(this.#path);
    // Ends the handle with the iteration, however that ends.
    yield* handle.createReadStream({ end: this.byteLength - 1 });
  }
}

async function rootOf(folder: string): Promise<string> {
  try {
    const root = await realpath(folder);
    if ((await stat(root)).isDirectory()) return root;
    throw new ConfigError(`webroot ${folder} is no directory`);
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const why = systemCode(cause) === "ENOENT" ? "there is no such directory" : String(cause);
    throw new ConfigError(`webroot ${folder} cannot be read: ${why}`, { cause });
  }
}

function below(root: string): string {
  return root.endsWith(sep) ? root : `${root}${sep}`;
}
