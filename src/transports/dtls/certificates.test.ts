import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { CertificateFactory, type IdentityOptions } from "../../../test/support/certificates.ts";
import { ConfigError } from "../../errors.ts";
import { certificateFields, describeId } from "./certificate-fields.ts";
import {
  CertificateRefused,
  type CertificateRules,
  CertificateVerifier,
  identityOf,
} from "./certificates.ts";

const VECTORS = join(import.meta.dirname, "../../../test/vectors/godoxy/certs");
const NAME = "godoxy.agent";
/** All certificates of the vectors are valid from 2026-11-20T16:22:16Z. */
const THEN = Date.UTC(2026, 10, 21);

function recorded(agent: "agent-a" | "agent-b", what: "ca" | "server" | "client"): string {
  return readFileSync(join(VECTORS, agent, `${what}.pem`), "utf8");
}

function der(pem: string): Uint8Array {
  return new X509Certificate(pem).raw;
}

function judge(rules: CertificateRules, pem: string, unixMs = THEN): X509Certificate {
  return new CertificateVerifier(rules).verify([der(pem)], unixMs);
}

function refuses(
  act: () => unknown,
  { alert, says, hint = /./ }: { alert: number; says: RegExp; hint?: RegExp },
): void {
  assert.throws(act, (error) => {
    assert.ok(error instanceof CertificateRefused);
    assert.equal(error.code, "ERR_TLS");
    assert.equal(error.alert, alert);
    assert.match(error.message, says);
    assert.match(error.hint ?? "", hint);
    return true;
  });
}

const ca = recorded("agent-a", "ca");
const server: CertificateRules = { role: "server", ca, name: NAME };
const client: CertificateRules = { role: "client", ca };

describe("certificates of GoDoxy", () => {
  test("accepts the server and the client of the one CA", () => {
    const leaf = judge(server, recorded("agent-a", "server"));
    assert.equal(judge(client, recorded("agent-a", "client")).subject.includes("Client"), true);
    const { name, pin } = identityOf(leaf);
    assert.equal(name, "O=GoDoxy, OU=Server, CN=godoxy.agent");
    assert.match(pin, /^[A-Za-z0-9+/]{43}=$/);
  });

  test("refuses a certificate of another CA with the same name, by its key", () => {
    const foreign = { ...client, ca: recorded("agent-b", "ca") };
    refuses(() => judge(foreign, recorded("agent-a", "client")), {
      alert: 48,
      says: /is not signed by our CA, but by one of the same name/,
      hint: /same CA/,
    });
  });

  test("refuses a server's certificate from a client, and the other way round", () => {
    const wrong = { alert: 43, says: /is not for clients \(no clientAuth\)/ };
    refuses(() => judge(client, recorded("agent-a", "server")), wrong);
    refuses(() => judge(server, recorded("agent-a", "client")), { alert: 43, says: /serverAuth/ });
  });

  test("refuses the CA's own certificate", () => {
    refuses(() => judge(client, ca), { alert: 43, says: /digitalSignature/ });
  });

  test("refuses what is not valid yet, and what has expired, of leaf and CA", () => {
    const early = Date.UTC(2026, 10, 20, 16, 22, 15);
    refuses(() => judge(client, recorded("agent-a", "client"), early), {
      alert: 45,
      says: /client's certificate is not valid before Nov 20 16:22:16 2026/,
      hint: /clock/,
    });
    const late = Date.UTC(3026, 10, 22);
    refuses(() => judge(client, recorded("agent-a", "client"), late), {
      alert: 45,
      says: /has expired on/,
      hint: /renew/,
    });
  });

  test("refuses another name", () => {
    const other = { ...server, name: "other.agent" };
    refuses(() => judge(other, recorded("agent-a", "server")), {
      alert: 42,
      says: /is for DNS:godoxy.agent, not for other.agent/,
    });
  });

  test("refuses every key but the pinned ones, also of the right CA", () => {
    const pem = recorded("agent-a", "client");
    const { pin } = identityOf(new X509Certificate(pem));
    assert.ok(judge({ ...client, pins: ["other", pin] }, pem));
    assert.ok(judge({ role: "client", pins: [pin] }, pem));
    assert.ok(judge({ role: "client", insecure: true, ca: recorded("agent-b", "ca") }, pem));
    for (const rules of [client, { role: "client", insecure: true } as const]) {
      refuses(() => judge({ ...rules, pins: ["other"] }, pem), { alert: 42, says: /pinned key/ });
    }
  });

  test("refuses nothing at all, garbage, PEM, and bytes behind the certificate", () => {
    const verifier = new CertificateVerifier(client);
    refuses(() => verifier.verify([], THEN), {
      alert: 40,
      says: /the client shows no certificate/,
    });
    const pem = recorded("agent-a", "client");
    const trailing = Buffer.concat([der(pem), Buffer.of(0)]);
    const keyless = Buffer.from(der(pem));
    const point = keyless.indexOf(Buffer.of(0x03, 0x42, 0x00, 0x04)) + 4;
    keyless.fill(0xff, point, point + 64); // on no curve
    for (const bytes of [
      new Uint8Array(0),
      Buffer.from("junk"),
      Buffer.from(pem),
      trailing,
      keyless,
    ]) {
      refuses(() => verifier.verify([bytes], THEN), { alert: 42, says: /cannot be read/ });
    }
  });

  test("refuses to be made without something to judge by", () => {
    const says = (rules: CertificateRules, text: RegExp) =>
      assert.throws(
        () => new CertificateVerifier(rules),
        (error) => error instanceof ConfigError && text.test(error.message),
      );
    says({ role: "client" }, /which client to trust/);
    says({ role: "client", ca: "" }, /0 certificates instead of 1/);
    says({ role: "client", ca: ca + ca }, /2 certificates instead of 1/);
    says({ role: "client", ca: recorded("agent-a", "client") }, /no CA's/);
    says({ role: "client", ca: "-----BEGIN CERTIFICATE-----" }, /not a certificate/);
  });
});

describe("certificates of others", () => {
  const factory = new CertificateFactory();
  after(() => factory[Symbol.dispose]());
  const issuer = factory.make({ isCa: true });
  const rules: CertificateRules = { role: "client", ca: issuer.cert };
  const made = (options: IdentityOptions): string => factory.make({ issuer, ...options }).cert;
  const now = new X509Certificate(issuer.cert).validFromDate.getTime() + 60_000;

  test("takes a certificate that restricts nothing", () => {
    assert.ok(judge(rules, made({}), now));
    assert.ok(judge(rules, made({ extensions: ["extendedKeyUsage=anyExtendedKeyUsage"] }), now));
  });

  test("refuses an expired one", () => {
    refuses(() => judge(rules, made({ days: -1 }), now), { alert: 45, says: /has expired/ });
  });

  test("refuses keys that cannot sign as the profile wants", () => {
    refuses(() => judge(rules, made({ keyType: "rsa" }), now), { alert: 43, says: /kind rsa/ });
    const usage = ["keyUsage=critical,keyAgreement"];
    refuses(() => judge(rules, made({ extensions: usage }), now), { alert: 43, says: /sign/ });
  });

  test("refuses critical extensions nobody here knows", () => {
    const extensions = ["1.2.840.113556.99=critical,ASN1:NULL"];
    refuses(() => judge(rules, made({ extensions }), now), {
      alert: 43,
      says: /1\.2\.840\.113556\.99/,
    });
    assert.equal(describeId("551d0f"), "2.5.29.15");
  });

  test("refuses a CA with another kind of key, and one that is not its issuer by name", () => {
    const otherKind = factory.make({ isCa: true, keyType: "rsa" });
    refuses(() => judge({ ...rules, ca: otherKind.cert }, made({}), now), {
      alert: 48,
      says: /not signed by our CA/,
    });
  });

  test("reads whether a key may sign", () => {
    const fields = (usage: string) =>
      certificateFields(new X509Certificate(made({ extensions: [usage] })));
    assert.equal(fields("keyUsage=digitalSignature").mayDigitallySign, true);
    assert.equal(fields("keyUsage=keyAgreement").mayDigitallySign, false);
    assert.equal(fields("extendedKeyUsage=clientAuth").mayDigitallySign, undefined);
  });
});
