import { ConfigError } from "../errors.ts";
import type { Config } from "./config.ts";
import { readListFile } from "./list-file.ts";

/** What is wrong with the host lists that routes name: `FILE:LINE: what`, or `list FILE: what`. */
export async function checkLists({ routes }: Config): Promise<string[]> {
  const paths = new Set(routes.flatMap(({ list = [] }) => list.map(({ path }) => path)));
  const found: string[] = [];
  for (const path of paths) {
    try {
      const { problems, problemCount } = await readListFile({ path });
      found.push(...problems.map(({ line, message }) => `${path}:${line}: ${message}`));
      const more = problemCount - problems.length;
      if (more > 0) found.push(`${path}: ${more} more lines like that`);
    } catch (thrown) {
      if (!(thrown instanceof ConfigError)) throw thrown;
      found.push(thrown.message);
    }
  }
  return found;
}
