import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import {
  type CertificateOptions,
  issueCertificate,
  makeAuthority,
} from "../../src/certificates/authority.ts";
import type { PemPair } from "../../src/certificates/pem-pair.ts";
import { type ChildResult, run, start } from "../support/child-process.ts";
import { GodoxyHouse } from "../support/godoxy-house.ts";
import { listening, lowPort } from "../support/low-port.ts";
import { sluice } from "../support/sluice-process.ts";
import { skipWithout } from "../support/which.ts";

const DAY_MS = 86_400_000;

/** Certificates that are not right, and what our client says of them. */
const SERVERS: readonly (readonly [what: string, options: Partial<CertificateOptions>, RegExp])[] =
  [
    ["one that ended", { now: new Date(Date.now() - 10 * DAY_MS), days: 1 }, /has expired/],
    ["one that is for later", { now: new Date(Date.now() + 10 * DAY_MS) }, /not valid yet/],
    ["one for another name", { name: "other.example" }, /for another name/],
  ];

describe("godoxy over TLS, OpenSSL's tools at the other end", {
  skip: skipWithout("openssl"),
  timeout: 120_000,
}, () => {
  const scope = new AsyncDisposableStack();
  let house: GodoxyHouse;

  before(async () => {
    house = scope.use(await GodoxyHouse.start());
  });
  after(async () => await scope.disposeAsync());

  const save = (name: string, pair: PemPair): string[] => {
    writeFileSync(house.file(`${name}.pem`), pair.cert);
    writeFileSync(house.file(`${name}.key`), pair.key);
    return ["-cert", house.file(`${name}.pem`), "-key", house.file(`${name}.key`)];
  };

  /** What our client says of `openssl s_server` with these flags. */
  const pingServer = async (flags: readonly string[]): Promise<ChildResult> => {
    const port = await lowPort();
    const own = ["s_server", "-accept", `127.0.0.1:${port}`, "-quiet"];
    await using server = start("openssl", [...own, ...flags], { keepsStdinOpen: true });
    await listening(port, server);
    const url = house.url().replace(`:${house.port}`, `:${port}`);
    return await sluice(["ping", `${url}&udp=off`]);
  };

  for (const [what, options, says] of SERVERS) {
    test(`our client refuses a server that shows ${what}`, async () => {
      const pair = issueCertificate(house.ca, "server", {
        now: new Date(),
        ...options,
      });
      const { code, stderr } = await pingServer([...save("odd", pair), ...ALPN]);
      assert.equal(code, 3);
      assert.match(stderr, says);
    });
  }

  test("our client refuses a server of another CA, by its key", async () => {
    const other = makeAuthority({ now: new Date() });
    const pair = issueCertificate(other, "server", { now: new Date() });
    const { code, stderr } = await pingServer([...save("foreign", pair), ...ALPN]);
    assert.equal(code, 3);
    assert.match(stderr, /tls handshake: .*(not trusted|signature)/);
  });

  test("our client wants the server to know its streams, and nothing older than TLS 1.2", async () => {
    const own = ["-cert", house.file("server.pem"), "-key", house.file("server.key")];
    assert.match((await pingServer(own)).stderr, /knows no GoDoxy streams/);
    const old = await pingServer([...own, ...ALPN, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert.equal(old.code, 3);
    assert.match(old.stderr, /tls handshake/);
  });

  /** What `openssl s_client` hears from our agent, and that no stream came of it. */
  const visit = async (flags: readonly string[]): Promise<string> => {
    const own = ["s_client", "-connect", `127.0.0.1:${house.port}`, "-servername", "godoxy.agent"];
    const { stdout, stderr } = await run("openssl", [...own, ...ALPN, ...flags], {
      input: "x".repeat(300),
    });
    return stdout + stderr;
  };

  test("our agent lets in who shows a certificate of its CA, over TLS 1.2 and 1.3", async () => {
    const own = ["-cert", house.file("client.pem"), "-key", house.file("client.key")];
    for (const [flag, version] of [
      ["-tls1_2", "TLSv1.2"],
      ["-tls1_3", "TLSv1.3"],
    ] as const) {
      const said = await visit([...own, flag]);
      assert.match(said, new RegExp(`New, ${version.replace(".", "\\.")}`));
      assert.match(said, /ALPN protocol: godoxy-agent-stream\/1/);
    }
    await house.agent.waitFor(/version/, { on: "stderr" }); // 300 times x is no header
  });

  test("our agent speaks nothing older, and to nobody without a certificate", async () => {
    const own = ["-cert", house.file("client.pem"), "-key", house.file("client.key")];
    for (const flag of ["-tls1_1", "-tls1"]) {
      const said = await visit([...own, flag, "-cipher", "ALL:@SECLEVEL=0"]);
      assert.match(said, /Cipher is \(NONE\)/);
    }
    await visit([]);
    await house.agent.waitFor(/did not return a certificate|certificate is missing/, {
      on: "stderr",
    });
  });

  test("our agent refuses a client certificate that ended", async () => {
    const pair = issueCertificate(house.ca, "client", {
      now: new Date(Date.now() - 10 * DAY_MS),
      days: 1,
    });
    await visit(save("ended", pair));
    await house.agent.waitFor(/refused: cert has expired/, { on: "stderr" });
  });
});

const ALPN = ["-alpn", "godoxy-agent-stream/1"];
