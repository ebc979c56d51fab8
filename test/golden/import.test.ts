import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { runCli } from "../../src/cli/run-cli.ts";
import { checkText } from "../../src/config/check.ts";
import { fakeIo } from "../support/fake-io.ts";

const VECTORS = join(import.meta.dirname, "..", "vectors", "import");

/** What a command line prints. */
async function run(
  words: readonly string[],
  stdin = "",
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const io = fakeIo({ HOME: "/home/alice" }, stdin);
  const code = await runCli(["import", ...words], io);
  return { code, ...io.printed };
}

describe("imported configurations", () => {
  for (const kind of ["vproxy"]) {
    const folder = join(VECTORS, kind);
    const names = readdirSync(folder).filter((name) => name.endsWith(".conf"));
    for (const name of names) {
      const file = join(folder, name);
      const read = (ending: string): string =>
        readFileSync(file.replace(/\.conf$/, ending), "utf8");

      test(`${kind}/${name} is what it was`, async () => {
        const { code, out, err } = await run([kind, "-"], read(".conf"));
        assert.equal(code, 0);
        assert.equal(out, read(".yaml"));
        assert.equal(err, read(".txt"));
      });

      for (const flags of [[], ["--whole-labels"], ["--inline-secrets"]]) {
        test(`${kind}/${name} ${flags.join(" ")} passes sluice check`, async () => {
          const { out } = await run([kind, "-", ...flags], read(".conf"));
          assert.deepEqual(checkText(out).problems, []);
        });
      }
    }
  }

  test("of vproxy's server are what its words say", async () => {
    const words =
      "listen 18686 auth alice:pa%ss,bob:w@rd,c~d:x ssl certpem a.pem,b.pem keypem k.pem " +
      "domain h.example redirectport 80 webroot /srv/www kcp uot.port 9 uot.nic eth1 quic quic-listen 444";
    const { code, out, err } = await run(["vproxy-server", "--", ...words.split(" ")]);
    assert.equal(code, 0);
    assert.equal(
      out,
      `# Made from vproxy-server command line by sluice import vproxy-server.
serve:
  - url: vproxy+tls://0.0.0.0:18686?domain=h.example&webroot=/srv/www&redirect=80
    clients:
      alice:
        id: env:VPROXY_PASSWORD_ALICE
      bob:
        id: env:VPROXY_PASSWORD_BOB
    anonymous: false
    cert: file:a-chain.pem
    key: file:k.pem
    allow: []
    deny: []
  - url: vproxy+kcp+tls://0.0.0.0:18686?domain=h.example&health=off
    clients:
      alice:
        id: env:VPROXY_PASSWORD_ALICE
      bob:
        id: env:VPROXY_PASSWORD_BOB
    anonymous: false
    cert: file:a-chain.pem
    key: file:k.pem
    allow: []
    deny: []
`,
    );
    assert.match(err, /left out: auth: user "c~d": names here have/);
    assert.match(err, /left out: quic: /);
    assert.match(err, /left out: uot.port: /);
    assert.match(err, /to do: certpem: .*\n {2}instead: make it: cat a.pem b.pem > a-chain.pem/);
    assert.doesNotMatch(out + err, /pa%ss|w@rd/);
    assert.deepEqual(checkText(out).problems, []);
  });

  test("of vproxy's server pass sluice check, whatever their words", async () => {
    const lines = [
      "listen 1 auth a:b",
      "kcp auth a:b listen 65535",
      "listen 443 auth a:b,a.b:c,a-b:d ssl pkcs12 my.p12 pkcs12pswd x",
      "listen 443 auth a:b ssl certpem c.pem keypem k.pem redirectport 80 kcp",
      "listen 80 auth a:b webroot . domain h.example redirectport 81",
    ];
    for (const line of lines) {
      for (const flags of [[], ["--inline-secrets"]]) {
        const { code, out, err } = await run(["vproxy-server", ...flags, "--", line]);
        assert.equal(code, 0, err);
        assert.deepEqual(checkText(out).problems, [], line);
      }
    }
  });
});
