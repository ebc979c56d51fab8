import { readdir, readFile, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Fragment, foldFragments, parseFragmentName } from "./fold-fragments.ts";

/** Folds `changes/` into `CHANGELOG.md`: `npm run release-notes -- 0.2.0 [2026-12-01]`. */
async function main(top: string, [version, date]: readonly string[]): Promise<number> {
  if (version === undefined || !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version)) {
    console.error("usage: npm run release-notes -- <version> [date]");
    return 2;
  }
  const folder = join(top, "changes");
  const names = (await readdir(folder)).filter((name) => name !== "README.md").toSorted();
  const fragments: Fragment[] = [];
  const problems: string[] = [];
  for (const name of names) {
    const kind = parseFragmentName(name);
    const text = (await readFile(join(folder, name), "utf8")).trim();
    if (kind === undefined)
      problems.push(`changes/${name}: not <slug>.<kind>.md, see changes/README.md`);
    else if (text === "") problems.push(`changes/${name}: says nothing`);
    else fragments.push({ kind, text });
  }
  if (fragments.length === 0) problems.push("changes/: nothing to release");
  if (problems.length > 0) {
    console.error(problems.join("\n"));
    return 1;
  }
  const path = join(top, "CHANGELOG.md");
  const day = date ?? new Date().toISOString().slice(0, 10);
  await writeFile(
    path,
    foldFragments(await readFile(path, "utf8"), fragments, { version, date: day }),
  );
  for (const name of names) await unlink(join(folder, name));
  console.log(`CHANGELOG.md: ${fragments.length} changes in ${version}; changes/ is empty again`);
  return 0;
}

const top = process.env["SLUICE_RELEASE_TOP"] ?? fileURLToPath(new URL("..", import.meta.url));
process.exitCode = await main(top, process.argv.slice(2));
