import { posix } from "node:path";
import { codeOnly, importsOf, isBareBuiltin, isTest, packageOf, type Sources } from "./sources.ts";

/**
 * What may import what: every part of `src` with its layer. Imports point to lower layers, or stay
 * within the part.
 */
const LAYERS: Readonly<Record<string, number | undefined>> = {
  "errors.ts": 0,
  bytes: 1,
  clock: 1,
  address: 2,
  tunnel: 3,
  certificates: 4,
  protocols: 4,
  transports: 4,
  inbound: 4,
  outbound: 4,
  relay: 5,
  config: 6,
  observability: 6,
  import: 7,
  registry: 7,
  "app.ts": 8,
  cli: 9,
  web: 9,
  library: 9,
  "index.ts": 10,
};

/** Layers whose folders are parts of their own: `protocols/pong` never sees `protocols/vproxy`. */
const PLUGIN_LAYERS: ReadonlySet<string> = new Set([
  "protocols",
  "transports",
  "inbound",
  "outbound",
  "import",
]);

/** Sits high, but imports only the contracts, so that it could report on anything. */
const OBSERVABILITY_LAYER_LIMIT = 3;

/** Every import in `src` that does not point down. */
export function checkLayers(sources: Sources): string[] {
  return forEachImport(sources, (path, { specifier, file }) => {
    if (file === undefined) return undefined;
    if (!file.startsWith("src/")) return `imports ${specifier} from outside src`;
    if (isTest(file)) return `imports the test ${specifier}`;
    const [from, to] = [partOf(path), partOf(file)];
    if (from.layer === undefined) return `${from.name} is not in the layout`;
    if (from.name === to.name) return undefined;
    if (from.name.startsWith("transports/") && /^transports\/(?:tcp|tls)$/.test(to.name)) {
      return undefined;
    }
    const limit = from.name === "observability" ? OBSERVABILITY_LAYER_LIMIT + 1 : from.layer;
    if (to.layer !== undefined && to.layer < limit) return undefined;
    const why = to.layer === from.layer ? "siblings never import each other" : "not below it";
    return `imports ${to.name}: ${why}`;
  });
}

/** Every ring of files in `src` that import each other, types included. */
export function checkCycles(sources: Sources): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) found.push(`${path}: imports itself through ${trail.slice(at + 1).join(", ")}`);
    if (at >= 0 || done.has(path)) return;
    for (const { file } of importsOf(path, sources.get(path) ?? "")) {
      if (file !== undefined && sources.has(file)) visit(file, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of sources.keys()) if (isOurs(path)) visit(path, []);
  return found;
}

/** Spelling of imports: relative ones end in `.ts`, built-ins start with `node:`. */
export function checkSpecifiers(sources: Sources): string[] {
  const found: string[] = [];
  for (const [path, source] of sources) {
    for (const { specifier, file } of importsOf(path, source)) {
      if (isBareBuiltin(specifier)) found.push(`${path}: ${specifier} lacks node:`);
      if (file !== undefined && !/\.(?:ts|json)$/.test(file)) {
        found.push(`${path}: ${specifier} does not end in .ts`);
      }
    }
  }
  return found;
}

/** Every package `src` imports that the published package would not bring along. */
export function checkPackages(sources: Sources, declared: ReadonlySet<string>): string[] {
  return forEachImport(sources, (_, { specifier }) => {
    const name = packageOf(specifier);
    if (name === undefined || isBareBuiltin(specifier) || declared.has(name)) return undefined;
    return `${name} is no dependency of the published package`;
  });
}

/**
 * Cores do no I/O, know no time and draw no chance; nor does what they import from their own
 * folder, or else the rule would be dodged by moving the call next door.
 */
export function checkCores(sources: Sources): string[] {
  const cores = new Set([...sources.keys()].filter((path) => isOurs(path) && CORES.test(path)));
  for (const path of cores) {
    for (const { file } of importsOf(path, sources.get(path) ?? "")) {
      const isNeighbour = file !== undefined && posix.dirname(file) === posix.dirname(path);
      if (isNeighbour && sources.has(file)) cores.add(file);
    }
  }
  const found: string[] = [];
  for (const path of cores) {
    const source = sources.get(path) ?? "";
    for (const { specifier } of importsOf(path, source)) {
      if (IO_MODULES.test(specifier)) found.push(`${path}: a core imports ${specifier}`);
    }
    for (const match of codeOnly(source).matchAll(IMPURE)) {
      found.push(`${path}: a core uses ${match[0]}`);
    }
  }
  return found;
}

function forEachImport(
  sources: Sources,
  judge: (path: string, imported: ReturnType<typeof importsOf>[number]) => string | undefined,
): string[] {
  const found: string[] = [];
  for (const [path, source] of sources) {
    if (!isOurs(path)) continue;
    for (const imported of importsOf(path, source)) {
      const problem = judge(path, imported);
      if (problem !== undefined) found.push(`${path}: ${problem}`);
    }
  }
  return found;
}

function isOurs(path: string): boolean {
  return path.startsWith("src/") && !isTest(path);
}

/** `protocols/pong` of `src/protocols/pong/codec.ts`, and its layer. */
function partOf(path: string): { readonly name: string; readonly layer: number | undefined } {
  const [, first = "", second = ""] = path.split("/");
  return {
    name: PLUGIN_LAYERS.has(first) ? `${first}/${second}` : first,
    layer: LAYERS[first],
  };
}

const CORES =
  /^src\/(?:protocols\/[^/]+\/(?:codec|session)[^/]*|bytes\/[^/]+|clock\/deadlines)\.ts$/;

const IO_MODULES =
  /^node:(?:net|tls|dgram|dns|https?|http2|fs|timers|child_process|cluster|worker_threads|process|readline|quic|test)(?:\/|$)/;

const IMPURE =
  /\b(?:setTimeout|setInterval|setImmediate|queueMicrotask|performance|process|Date|console|fetch|async|await|Math\.random|randomBytes|randomInt|randomUUID|randomFillSync|getRandomValues)\b/g;
