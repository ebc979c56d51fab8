import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { describe, test } from "node:test";
import { CertificateFactory } from "../../../test/support/certificates.ts";
import { recordedPem } from "../../../test/support/dtls-pair.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { readOwnCertificate, subjectOf } from "./own-certificate.ts";

describe("own certificate", () => {
  test("is read leaf first, with what else is in the file", () => {
    const [leaf, ca] = [recordedPem("agent-a", "server.pem"), recordedPem("agent-a", "ca.pem")];
    const key = recordedPem("agent-a", "server.key");
    const own = readOwnCertificate(Buffer.from(`${leaf}\n${ca}`), Buffer.from(key));
    assertBytes([...own.chain], [new X509Certificate(leaf).raw, new X509Certificate(ca).raw]);
    assert.equal(own.key.type, "private");
  });

  test("that cannot work is refused in words", () => {
    using factory = new CertificateFactory();
    const rsa = factory.make({ keyType: "rsa" });
    const cert = recordedPem("agent-a", "server.pem");
    const key = recordedPem("agent-a", "server.key");
    const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (const [certificate, secret, says] of [
      ["nothing", key, /no certificate in it/],
      [broken, key, /cert: cannot be read/],
      [cert, "nothing", /key: cannot be read/],
      [cert, recordedPem("agent-a", "client.key"), /do not belong together/],
      [rsa.cert, rsa.key, /not an EC key on P-256/],
    ] as const) {
      assert.throws(() => readOwnCertificate(certificate, secret), {
        name: "ConfigError",
        code: "ERR_CREDENTIAL",
        message: says,
      });
    }
  });

  test("names its subject in DER", () => {
    assertBytes(
      subjectOf(recordedPem("agent-a", "ca.pem")),
      hex("3028310f300d060355040a1306476f446f7879311530130603550403130c676f646f78792e6167656e74"),
    );
  });
});
