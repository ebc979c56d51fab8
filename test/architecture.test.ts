import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import {
  checkDefaultExports,
  checkDocs,
  checkLock,
  checkMachinePaths,
  checkNames,
  checkReadmes,
  checkReminders,
  checkSizes,
} from "./architecture/file-rules.ts";
import {
  checkCores,
  checkCycles,
  checkLayers,
  checkPackages,
  checkSpecifiers,
} from "./architecture/import-rules.ts";
import { readSources, readTracked, type Sources } from "./architecture/sources.ts";

const TOP = join(import.meta.dirname, "..");

describe("architecture", () => {
  const sources = readSources(TOP, ["src", "test", "bench", "scripts"], [".ts"]);
  const tracked = readTracked(TOP);
  const skip = tracked === undefined ? "not a git checkout" : false;

  test("lets imports point down only", () => assertNone(checkLayers(sources)));
  test("has no files that import each other in a ring", () => assertNone(checkCycles(sources)));
  test("spells imports the same everywhere", () => assertNone(checkSpecifiers(sources)));
  test("imports declared packages only", () =>
    assertNone(checkPackages(sources, declaredPackages())));
  test("keeps I/O and time out of the cores", () => assertNone(checkCores(sources)));
  test("names files after what they define", () => assertNone(checkNames(sources)));
  test("keeps source files short", () => assertNone(checkSizes(sources)));
  test("exports nothing as default", () => assertNone(checkDefaultExports(sources)));
  test("documents every export", () => assertNone(checkDocs(sources)));
  test("gives every protocol a README", () => {
    const paths = [...readSources(TOP, ["src/protocols"], [".ts", ".md"]).keys()];
    assertNone(checkReadmes(paths));
  });
  test("names no registry in the lock file", () =>
    assertNone(checkLock(readFileSync(join(TOP, "package-lock.json"), "utf8"))));
  test("has an issue for every reminder", { skip }, () =>
    assertNone(checkReminders(tracked ?? NONE)),
  );
  test("tracks no path of one machine", { skip }, () =>
    assertNone(checkMachinePaths(tracked ?? NONE)),
  );
});

describe("architecture rules", () => {
  test("find an import that points up, sideways or out", () => {
    assert.deepEqual(checkLayers(plant("src/tunnel/a.ts", 'import "../relay/splice.ts";')), [
      "src/tunnel/a.ts: imports relay: not below it",
    ]);
    assert.deepEqual(
      checkLayers(plant("src/protocols/pong/a.ts", 'import type { B } from "../vproxy/b.ts";')),
      ["src/protocols/pong/a.ts: imports protocols/vproxy: siblings never import each other"],
    );
    const offenders = {
      "src/protocols/pong/a.ts": "../../transports/tcp/dial.ts",
      "src/inbound/socks5/a.ts": "../http/b.ts",
      "src/inbound/http/a.ts": "../../outbound/direct/b.ts",
      "src/outbound/tunnel/a.ts": "../../relay/router.ts",
      "src/transports/tcp/a.ts": "../ws/dial.ts",
      "src/relay/a.ts": "../config/b.ts",
      "src/config/a.ts": "../observability/b.ts",
      "src/observability/a.ts": "../transports/tcp/dial.ts",
      "src/import/vproxy/a.ts": "../pong/b.ts",
      "src/import/pong/a.ts": "../../registry/pong.ts",
      "src/cli/a.ts": "../web/b.ts",
      "src/app.ts": "./cli/main.ts",
      "src/errors.ts": "./bytes/a.ts",
      "src/bytes/a.ts": "../clock/clock.ts",
      "src/clock/a.ts": "../../test/support/hex.ts",
      "src/relay/b.ts": "./splice.test.ts",
      "src/mystery/a.ts": "../errors.ts",
    };
    for (const [path, specifier] of Object.entries(offenders)) {
      const source = `import { b,\n  type C } from "${specifier}";`;
      assert.equal(checkLayers(plant(path, source)).length, 1, `${path} imports ${specifier}`);
    }
  });

  test("allow what the layout allows", () => {
    const allowed = {
      "src/transports/ws/a.ts": "../tls/dial.ts",
      "src/protocols/pong/a.ts": "./codec.ts",
      "src/bytes/a.ts": "../errors.ts",
      "src/observability/a.ts": "../tunnel/logger.ts",
      "src/import/vproxy/a.ts": "../../config/imported.ts",
      "src/app.ts": "./transports/tcp/dial.ts",
      "src/index.ts": "./app.ts",
      "src/tunnel/a.test.ts": "../transports/tcp/dial.ts",
    };
    for (const [path, specifier] of Object.entries(allowed)) {
      assert.deepEqual(checkLayers(plant(path, `export * from "${specifier}";`)), []);
    }
    const comment = '// import "../relay/splice.ts"\n/** like import("../relay/a.ts") */';
    assert.deepEqual(checkLayers(plant("src/tunnel/a.ts", comment)), []);
  });

  test("find a ring, also through types and dynamic imports", () => {
    const ring = new Map([
      ["src/relay/a.ts", 'import type { B } from "./b.ts";'],
      ["src/relay/b.ts", 'export const c = () => import("./c.ts");'],
      ["src/relay/c.ts", 'import { a } from "./a.ts";'],
    ]);
    assert.equal(checkCycles(ring).length, 1);
    assert.deepEqual(checkCycles(plant("src/relay/a.ts", 'import "./b.ts";')), []);
  });

  test("find misspelled imports", () => {
    assert.equal(checkSpecifiers(plant("src/a.ts", 'import net from "net";')).length, 1);
    assert.equal(checkSpecifiers(plant("test/a.ts", 'import { a } from "./a.js";')).length, 1);
    assert.deepEqual(checkSpecifiers(plant("src/a.ts", 'import net from "node:net";')), []);
  });

  test("find a package that users would not have", () => {
    const source = 'import fc from "fast-check";\nimport { x } from "@a/ws/deep";\nimport "ws";';
    const found = checkPackages(plant("src/relay/a.ts", source), new Set(["ws"]));
    assert.equal(found.length, 2);
    assert.deepEqual(checkPackages(plant("src/relay/a.test.ts", source), new Set()), []);
  });

  test("find a core that does I/O, waits or draws lots", () => {
    const core = "src/protocols/pong/session-streams.ts";
    assert.equal(checkCores(plant(core, 'import net from "node:net";')).length, 1);
    assert.equal(checkCores(plant(core, 'import { readFile } from "node:fs/promises";')).length, 1);
    assert.equal(checkCores(plant(core, "const id = `${Math.random()}`;")).length, 1);
    assert.equal(checkCores(plant("src/bytes/a.ts", "setImmediate(run);")).length, 1);
    assert.equal(checkCores(plant("src/clock/deadlines.ts", "return Date.now();")).length, 1);
    assert.equal(checkCores(plant("src/protocols/ptth/codec.ts", "await read();")).length, 1);
    assert.deepEqual(checkCores(plant("src/protocols/pong/client.ts", "await dial();")), []);
    assert.deepEqual(checkCores(plant(core, '/** No Date.now() here. */ const a = "await";')), []);
    const dodge = new Map([
      [core, 'import { jitter } from "./jitter.ts";'],
      ["src/protocols/pong/jitter.ts", "export const jitter = () => Math.random();"],
    ]);
    assert.equal(checkCores(dodge).length, 1);
  });

  test("find names of drawers and barrels", () => {
    for (const path of [
      "src/relay/utils.ts",
      "src/tunnel/types.ts",
      "test/support/helpers.ts",
      "src/relay/Router.ts",
      "src/relay/index.ts",
    ]) {
      assert.equal(checkNames(plant(path, "")).length, 1, path);
    }
    assert.equal(checkNames(plant("src/relay/a.ts", 'export { b } from "./b.ts";')).length, 1);
    assert.deepEqual(checkNames(plant("src/index.ts", 'export * from "./app.ts";')), []);
    assert.deepEqual(checkNames(plant("src/a/b-c2.test.ts", "export const from = 1;")), []);
  });

  test("find a file that grew too long", () => {
    assert.equal(checkSizes(plant("src/relay/a.ts", "\n".repeat(400))).length, 1);
    assert.deepEqual(checkSizes(plant("src/relay/a.ts", "\n".repeat(399))), []);
    assert.deepEqual(checkSizes(plant("src/relay/a.test.ts", "\n".repeat(900))), []);
  });

  test("find default exports", () => {
    assert.equal(checkDefaultExports(plant("src/a.ts", "export default class {}")).length, 1);
    assert.equal(checkDefaultExports(plant("src/a.ts", "export { a as default };")).length, 1);
    assert.deepEqual(checkDefaultExports(plant("src/a.ts", "// export default")), []);
  });

  test("find an export without documentation", () => {
    const found = (source: string): number => checkDocs(plant("src/a.ts", source)).length;
    assert.equal(found("export const a = 1;"), 1);
    assert.equal(found("// plain\nexport class A {}"), 1);
    assert.equal(found("/** */\nexport class A {}"), 1);
    assert.equal(found("/** Says it. */\n\nexport class A {}"), 1);
    assert.equal(found("/** Says it. */\nexport class A {}"), 0);
    assert.equal(found("/**\n * Says it.\n */\n// reason\nexport async function a() {}"), 0);
    const overloads = "export function a(b: 1): void;\nexport function a(b: 2): void;";
    assert.equal(found(`/** Says it. */\n${overloads}`), 0);
  });

  test("find a reminder, a path of one machine, a registry", () => {
    const reminder = ["// TO", "DO"].join("");
    assert.equal(checkReminders(plant("src/a.ts", `${reminder} later`)).length, 1);
    assert.deepEqual(checkReminders(plant("src/a.ts", `${reminder}(#12) later`)), []);
    const path = ["/ro", "ot/key.pem"].join("");
    assert.equal(checkMachinePaths(plant("docs/a.md", `see ${path}`)).length, 1);
    assert.deepEqual(checkMachinePaths(plant("docs/a.md", `https://host${path}`)), []);
    assert.equal(checkLock('"resolved": "https://registry/a.tgz"').length, 1);
    assert.deepEqual(checkLock('"integrity": "sha512-"'), []);
  });

  test("find a protocol without README", () => {
    const paths = ["src/protocols/pong/codec.ts", "src/protocols/ptth/README.md"];
    assert.deepEqual(checkReadmes(paths), ["src/protocols/pong: no README.md"]);
  });
});

function plant(path: string, source: string): Sources {
  return new Map([[path, source]]);
}

function assertNone(found: readonly string[]): void {
  if (found.length > 0) assert.fail(found.join("\n"));
}

/** Dependencies of every kind that an installation of the package brings or asks for. */
function declaredPackages(): ReadonlySet<string> {
  const manifest: unknown = JSON.parse(readFileSync(join(TOP, "package.json"), "utf8"));
  assert.ok(typeof manifest === "object" && manifest !== null);
  const kinds = ["dependencies", "optionalDependencies", "peerDependencies"];
  return new Set(kinds.flatMap((kind) => Object.keys(Reflect.get(manifest, kind) ?? {})));
}

const NONE: Sources = new Map();
