import assert from "node:assert/strict";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { LogRecorder } from "../../test/support/log-recorder.ts";
import { manualRuntime } from "../../test/support/test-client.ts";
import { ConfigError } from "../errors.ts";
import { issueCertificate, makeAuthority } from "./authority.ts";
import type { CertificateMaterial } from "./material.ts";
import type { PemPair } from "./pem-pair.ts";
import { CertificateWatch } from "./watch.ts";

describe("watched certificates", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-watch-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const ca = makeAuthority({ now: new Date() });
  const issue = (): PemPair => issueCertificate(ca, "server", { now: new Date() });

  const put = async ({ cert, key }: PemPair): Promise<void> => {
    await writeFile(join(folder, "cert.pem"), cert);
    await writeFile(join(folder, "key.pem"), key);
  };

  const make = () => {
    const runtime = manualRuntime();
    const logger = new LogRecorder();
    const changes: CertificateMaterial[] = [];
    const paths = ["cert.pem", "key.pem"].map((name) => join(folder, name));
    const watch = new CertificateWatch({
      runtime,
      logger,
      paths,
      load: async () => {
        const [cert, key] = await Promise.all(paths.map((path) => readFile(path, "utf8")));
        return { ca: ca.cert, cert, key };
      },
      onChange: (material) => void changes.push(material),
    });
    return { watch, changes, logger, clock: runtime.clock };
  };

  test("are given when they change, by writing or by others in their place", async () => {
    const [first, second, third] = [issue(), issue(), issue()];
    await put(first);
    const { watch, changes, logger } = make();
    assert.deepEqual(await watch.open(), { ca: ca.cert, ...first });
    await watch.refresh();
    assert.deepEqual(changes, []);
    await put(second);
    await watch.refresh();
    assert.deepEqual(changes, [{ ca: ca.cert, ...second }]);
    await writeFile(join(folder, "new"), third.key);
    await rename(join(folder, "new"), join(folder, "key.pem"));
    await writeFile(join(folder, "new"), third.cert);
    await rename(join(folder, "new"), join(folder, "cert.pem"));
    await Promise.all([watch.refresh(), watch.refresh()]);
    assert.deepEqual(changes.at(-1), { ca: ca.cert, ...third });
    assert.equal(changes.length, 2);
    assert.equal(logger.lines.length, 2);
    assert.match(
      logger.text,
      /^info certificates read again \{"files":".*cert\.pem, .*key\.pem"\}/,
    );
    watch.close();
  });

  test("stay as they were when the new ones are broken, which is said once", async () => {
    const [first, second] = [issue(), issue()];
    await put(first);
    const { watch, changes, logger } = make();
    await watch.open();
    const broken: readonly (readonly [() => Promise<void>, RegExp])[] = [
      [() => put({ ...first, cert: second.cert }), /key does not belong to the certificate"/],
      [() => put({ ...first, cert: "" }), /cert holds no certificate"/],
      [() => put({ ...first, cert: first.cert.replace("MII", "XX") }), /that cannot be read"/],
      [
        () => put({ ...first, key: first.key.slice(0, 60) }),
        /key holds a key that cannot be read"/,
      ],
      [() => rm(join(folder, "key.pem")), /ENOENT/],
    ];
    for (const [index, [breakIt, reason]] of broken.entries()) {
      await breakIt();
      await watch.refresh();
      await watch.refresh();
      assert.equal(logger.lines.length, index + 1);
      assert.match(logger.lines[index] ?? "", /^warn certificates stay as they were /);
      assert.match(logger.lines[index] ?? "", reason);
      assert.ok(!logger.text.includes(first.key.slice(40, 60)));
    }
    assert.deepEqual(changes, []);
    await put(second);
    await watch.refresh();
    assert.deepEqual(changes, [{ ca: ca.cert, ...second }]);
    watch.close();
  });

  test("that are as before are no news, however often they are written", async () => {
    const pair = issue();
    await put(pair);
    const { watch, changes, logger } = make();
    await watch.open();
    await rm(join(folder, "key.pem"));
    await put(pair);
    await watch.refresh();
    assert.deepEqual([changes, logger.lines], [[], []]);
    watch.close();
  });

  test("are looked at every five seconds until the end", async () => {
    await put(issue());
    const { watch, changes, clock } = make();
    await watch.open();
    const second = issue();
    await put(second);
    clock.advance(4_999);
    await watch.refresh();
    assert.equal(changes.length, 1);
    await put(issue());
    clock.advance(1);
    // Joins the look that the clock began.
    await watch.refresh();
    assert.equal(changes.length, 2);
    watch.close();
    await put(issue());
    clock.advance(60_000);
    await watch.refresh();
    assert.equal(changes.length, 2);
  });

  test("must be sound at the start", async () => {
    await put({ ...issue(), key: issue().key });
    await assert.rejects(make().watch.open(), ConfigError);
  });

  test("that their user cannot take stay as they were", async () => {
    await put(issue());
    const logger = new LogRecorder();
    const watch = new CertificateWatch({
      runtime: manualRuntime(),
      logger,
      paths: [join(folder, "cert.pem")],
      load: async () => ({ cert: await readFile(join(folder, "cert.pem"), "utf8") }),
      onChange: () => {
        throw new Error("no shared cipher");
      },
    });
    await watch.open();
    await put(issue());
    await watch.refresh();
    assert.match(logger.text, /^warn certificates stay as they were .*no shared cipher"\}$/);
    watch.close();
  });
});
