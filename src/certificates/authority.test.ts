import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { CertificateFactory } from "../../test/support/certificates.ts";
import { VECTOR_TIME, vectorText } from "../../test/support/godoxy-certificates.ts";
import { shakeHands } from "../../test/support/mutual-tls.ts";
import { ConfigError } from "../errors.ts";
import { type CertificateRole, issueCertificate, makeAuthority } from "./authority.ts";
import { type CertificateFacts, factsOf, parseCertificate } from "./certificate-facts.ts";
import type { PemPair } from "./pem-pair.ts";

const NOW = new Date("2026-11-20T16:22:16.789Z");
const THOUSAND_YEARS = 365_000;

describe("certificates in GoDoxy's profile", () => {
  const openssl = opensslSkip();

  test("differ from the original's in key, serial number, signature and days alone", () => {
    const made = makeAll({ now: NOW, days: THOUSAND_YEARS });
    for (const [name, { cert }] of Object.entries(made)) {
      const original = skeleton(vectorText("agent-a", `${name}.pem`));
      assert.deepEqual(skeleton(cert), original, name);
    }
  });

  test("have keys in SEC 1, as the original's", () => {
    const [original, ours] = [
      vectorText("agent-a", "server.key"),
      makeAll({ now: NOW }).server.key,
    ];
    assert.match(ours, /^-----BEGIN EC PRIVATE KEY-----\n[^-]*\n-----END EC PRIVATE KEY-----\n$/);
    const shape = (pem: string) =>
      der(pem)
        .toString("hex")
        .replace(/^(.{14}).{64}(.{32}).*$/, "$1 $2");
    assert.equal(shape(ours), shape(original));
    assert.equal(ours.length, original.length);
  });

  test("say what they were told to", () => {
    const { ca, server, client } = makeAll({ now: NOW });
    assert.deepEqual(facts(ca), {
      subject: "O=GoDoxy, CN=godoxy.agent",
      issuer: "O=GoDoxy, CN=godoxy.agent",
      names: [],
      notBefore: new Date("2026-11-20T16:22:16Z"),
      notAfter: new Date("2036-11-17T16:22:16Z"),
      usages: ["keyCertSign", "cRLSign"],
      isCa: true,
      keyType: "EC prime256v1",
    });
    assert.deepEqual(facts(server), {
      subject: "O=GoDoxy, OU=Server, CN=godoxy.agent",
      issuer: "O=GoDoxy, CN=godoxy.agent",
      names: ["DNS:godoxy.agent"],
      notBefore: new Date("2026-11-20T16:22:16Z"),
      notAfter: new Date("2029-02-22T16:22:16Z"),
      usages: ["digitalSignature", "serverAuth"],
      isCa: false,
      keyType: "EC prime256v1",
    });
    assert.deepEqual(facts(client).usages, ["digitalSignature", "clientAuth"]);
    assert.equal(facts(client).subject, "O=GoDoxy, OU=Client, CN=godoxy.agent");
    const names = ["a.example", "10.0.0.5", "::1", "agent.example"];
    const named = issueCertificate(ca, "server", { now: NOW, name: "agent.example", names });
    assert.deepEqual(facts(named).names, [
      "DNS:agent.example",
      "DNS:a.example",
      "IP Address:10.0.0.5",
      "IP Address:0:0:0:0:0:0:0:1",
    ]);
  });

  test("have positive serial numbers of up to 128 bits, without leading zeros", () => {
    const serial = (bytes: readonly number[]) =>
      new X509Certificate(
        makeAuthority({
          now: NOW,
          random: (length) => Uint8Array.from({ length }, (_, index) => bytes[index] ?? 1),
        }).cert,
      ).serialNumber;
    assert.equal(serial([0xff]), "FF010101010101010101010101010101");
    assert.equal(serial([0, 0, 0x7f]), "7F01010101010101010101010101");
    assert.notEqual(
      new X509Certificate(makeAuthority({ now: NOW }).cert).serialNumber,
      new X509Certificate(makeAuthority({ now: NOW }).cert).serialNumber,
    );
  });

  test("never outlive their CA", () => {
    const ca = makeAuthority({ now: NOW, days: 10 });
    const server = issueCertificate(ca, "server", { now: new Date("2026-11-25T00:00:00Z") });
    assert.deepEqual(facts(server).notAfter, new Date("2026-11-30T16:22:16Z"));
  });

  test("are signed by a CA the original made, too", () => {
    const ca = { cert: vectorText("agent-a", "ca.pem"), key: vectorText("agent-a", "ca.key") };
    const { cert } = issueCertificate(ca, "client", { now: VECTOR_TIME });
    const [ours, theirs] = [parseCertificate(cert), parseCertificate(ca.cert)];
    assert.ok(ours.checkIssued(theirs));
    assert.ok(ours.verify(theirs.publicKey));
  });

  describe("as OpenSSL sees them", { skip: openssl }, () => {
    let folder = "";
    before(() => {
      folder = mkdtempSync(join(tmpdir(), "sluice-authority-"));
    });
    after(() => rmSync(folder, { recursive: true }));
    const put = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };

    for (const days of [825, THOUSAND_YEARS]) {
      test(`are verified, each for its purpose alone, when valid for ${days} days`, () => {
        const { ca, server, client } = makeAll({ now: NOW, days });
        const foreign = makeAuthority({ now: NOW, days });
        const verify = (cert: string, authority: PemPair, purpose: string) =>
          spawnSync("openssl", [
            "verify",
            "-attime",
            String(Math.floor(NOW.getTime() / 1000) + 60),
            "-purpose",
            purpose,
            "-verify_hostname",
            "godoxy.agent",
            "-CAfile",
            put("ca.pem", authority.cert),
            put("leaf.pem", cert),
          ]).status === 0;
        assert.ok(verify(server.cert, ca, "sslserver"));
        assert.ok(verify(client.cert, ca, "sslclient"));
        assert.ok(!verify(server.cert, ca, "sslclient"));
        assert.ok(!verify(client.cert, ca, "sslserver"));
        assert.ok(!verify(server.cert, foreign, "sslserver"));
      });
    }

    test("print as the profile has it", () => {
      const { ca, server } = makeAll({ now: NOW, days: THOUSAND_YEARS });
      const print = (pem: string) =>
        execFileSync("openssl", ["x509", "-noout", "-text", "-in", put("x.pem", pem)], {
          encoding: "utf8",
        }).replaceAll(/\s+/g, " ");
      assert.match(print(ca.cert), /Subject: O = GoDoxy, CN = godoxy.agent /);
      assert.match(
        print(ca.cert),
        /X509v3 extensions: X509v3 Key Usage: critical Certificate Sign, CRL Sign X509v3 Basic Constraints: critical CA:TRUE, pathlen:0 X509v3 Subject Key Identifier: (?:[0-9A-F]{2}:){19}[0-9A-F]{2} Signature Algorithm: ecdsa-with-SHA256/,
      );
      assert.match(print(server.cert), /Not After : .* 3026 GMT/);
      assert.match(
        print(server.cert),
        /X509v3 extensions: X509v3 Key Usage: critical Digital Signature X509v3 Extended Key Usage: TLS Web Server Authentication X509v3 Subject Alternative Name: DNS:godoxy.agent Signature Algorithm: ecdsa-with-SHA256/,
      );
      const asn1 = execFileSync("openssl", ["asn1parse", "-in", put("x.pem", server.cert)]);
      assert.match(asn1.toString(), /UTCTIME +:261120162216Z\n.*GENERALIZEDTIME +:3026\d{10}Z/);
    });

    test("have keys it can read", () => {
      const { client } = makeAll({ now: NOW });
      const text = execFileSync(
        "openssl",
        ["ec", "-in", put("k.pem", client.key), "-noout", "-text"],
        {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"],
        },
      );
      assert.match(text, /NIST CURVE: P-256/);
    });
  });

  test("are what both ends of Node's TLS accept, for their role alone", async () => {
    const { ca, server, client } = makeAll({ now: new Date() });
    const end = (pair: PemPair, authority = ca) => ({ ca: authority.cert, ...pair });
    assert.equal(await shakeHands(end(server), end(client)), "godoxy.agent");
    assert.match(await shakeHands(end(client), end(client)), /unsuitable certificate purpose/);
    assert.notEqual(await shakeHands(end(server), end(server)), "godoxy.agent");
    const foreign = makeAuthority({ now: new Date() });
    assert.notEqual(await shakeHands(end(server), end(client, foreign)), "godoxy.agent");
    assert.notEqual(await shakeHands(end(server, foreign), end(client)), "godoxy.agent");
  });
});

describe("a CA that cannot sign", () => {
  const ca = makeAuthority({ now: NOW });
  const { cert, key } = issueCertificate(ca, "server", { now: NOW });
  const table: readonly (readonly [string, PemPair, RegExp])[] = [
    ["that is none", { cert, key }, /^CA certificate may not sign others/],
    [
      "with another's key",
      { cert: ca.cert, key },
      /^CA key does not belong to the CA certificate$/,
    ],
    ["without certificate", { cert: "x", key }, /^CA certificate file holds no certificate$/],
    ["without key", { cert: ca.cert, key: ca.cert }, /^CA key file holds no private key$/],
    [
      "with a broken certificate",
      { cert: ca.cert.replace("MII", "AAA"), key },
      /^CA certificate file holds a certificate that cannot be read$/,
    ],
    [
      "with a broken key",
      { cert: ca.cert, key: ca.key.replace("MHc", "AAA") },
      /^CA key file holds a key that cannot be read$/,
    ],
    [
      "that expired",
      makeAuthority({ now: new Date(0), days: 1 }),
      /^CA certificate expired at 1970-01-02/,
    ],
  ];
  for (const [what, authority, message] of table) {
    test(`is refused: one ${what}`, () => {
      assert.throws(
        () => issueCertificate(authority, "server", { now: NOW }),
        isConfigError(message),
      );
    });
  }

  test("is refused: one with RSA", { skip: opensslSkip() }, () => {
    using factory = new CertificateFactory();
    const rsa = factory.make({ isCa: true, keyType: "rsa", days: 2 });
    assert.throws(
      () => issueCertificate(rsa, "server", { now: new Date() }),
      isConfigError(/^CA key is not on the curve P-256/),
    );
  });
});

describe("what no certificate can say", () => {
  for (const [options, message] of [
    [{ days: 0 }, /^0 is no whole number of days from 1 to 365000$/],
    [{ days: 1.5 }, /^1.5 is no whole number/],
    [{ days: 365_001 }, /^365001 is no whole number/],
    [{ name: "a b" }, /^"a b" is no host name and no IP address$/],
    [{ name: "" }, /^"" is no host name/],
    [{ name: `${"a".repeat(60)}.example` }, /^name of 68 characters exceeds 64/],
    [{ names: ["ok", "a,DNS:b"] }, /^"a,DNS:b" is no host name/],
  ] as const) {
    test(`is refused: ${JSON.stringify(options).slice(0, 60)}`, () => {
      const ca = makeAuthority({ now: NOW });
      assert.throws(
        () => issueCertificate(ca, "server", { now: NOW, ...options }),
        isConfigError(message),
      );
    });
  }
});

function makeAll(options: { readonly now: Date; readonly days?: number }): {
  readonly ca: PemPair;
  readonly server: PemPair;
  readonly client: PemPair;
} {
  const ca = makeAuthority(options);
  const issue = (role: CertificateRole) => issueCertificate(ca, role, options);
  return { ca, server: issue("server"), client: issue("client") };
}

function facts({ cert }: PemPair): Omit<CertificateFacts, "pin"> {
  const { pin, ...others } = factsOf(parseCertificate(cert));
  assert.match(pin, /^[A-Za-z0-9+/]{43}=$/);
  return others;
}

/** The DER without what must differ: serial number, end of validity, key, identifier, signature. */
function skeleton(pem: string): string {
  return der(pem)
    .toString("hex")
    .replace(/^3082.{4}3082.{4}(a003020102)02(?:10|1100|0f).{30,32}(?=300a06)/, "$1 ")
    .replace(/180f.{30}/, " notAfter ")
    .replace(/034200.{130}/, " key ")
    .replace(/0414.{40}(?=300a)/, " identifier ")
    .replace(/(300a06082a8648ce3d040302)03.*$/, "$1");
}

function der(pem: string): Buffer {
  return Buffer.from(pem.replaceAll(/-----[^-]+-----/g, ""), "base64");
}

function isConfigError(message: RegExp): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof ConfigError, String(thrown));
    assert.match(thrown.message, message);
    return true;
  };
}

function opensslSkip(): string | false {
  return spawnSync("openssl", ["version"]).error === undefined ? false : "openssl is not installed";
}
