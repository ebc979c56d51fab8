import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { TunnelError } from "../../src/errors.ts";
import { dialDtls } from "../../src/transports/dtls/dial.ts";
import type {
  DtlsClientOptions,
  DtlsServerOptions,
} from "../../src/transports/dtls/dtls-options.ts";
import { listenDtls } from "../../src/transports/dtls/listen.ts";
import { bindUdp } from "../../src/transports/udp/bind.ts";
import { systemRuntime } from "../../src/tunnel/runtime.ts";
import type { Identity } from "../support/certificates.ts";
import { DatagramRecorder } from "../support/dtls-ends.ts";
import {
  DtlsCertificates,
  opensslClient,
  opensslServer,
  SERVER_NAME,
} from "../support/openssl-dtls.ts";
import { until } from "../support/test-client.ts";
import { skipWithout } from "../support/which.ts";

const runtime = systemRuntime();
const skip = skipWithout("openssl");

/** Asks for a certificate, and insists. */
const STRICT = ["-Verify", "1", "-verify_return_error"];

if (skip !== false) {
  test("DTLS with OpenSSL", { skip });
} else {
  const certificates = new DtlsCertificates();
  after(() => certificates[Symbol.dispose]());
  describe("an OpenSSL client, our listener", () => testListener(certificates));
  describe("our dialer, an OpenSSL server", () => testDialer(certificates));
}

function testListener(certificates: DtlsCertificates): void {
  const { ca, server } = certificates;
  const dtls: DtlsServerOptions = { ...server, ca: ca.cert };
  const trust = ["-CAfile", certificates.file(ca.cert)];
  const shown = [...trust, ...show(certificates, certificates.client)];

  const echoes: readonly (readonly [string, readonly string[], DtlsServerOptions])[] = [
    ["with a certificate", shown, dtls],
    ["without one, when none is asked for", trust, { ...dtls, ca: undefined }],
    ["that does P-256 alone", [...shown, "-groups", "P-256"], dtls],
    ["that does P-384 first", [...shown, "-groups", "P-384:P-256"], dtls],
    ["that takes small datagrams only", [...shown, "-mtu", "256"], { ...dtls, mtuBytes: 256 }],
    ["of any version of DTLS", [...shown, "-dtls"], dtls],
    ["with no name to ask for", [...shown, "-noservername"], dtls],
  ];
  for (const [what, args, options] of echoes) {
    test(`echo a client ${what}`, async () => {
      await using house = await listen(options);
      await using client = opensslClient(house.port, versioned(args));
      client.process.stdin?.write("over and back\n");
      await client.waitFor(/over and back\n/);
      client.process.stdin?.end();
      await until(() => house.accepted[0]?.events[0] === "close", "it said goodbye");
      assert.deepEqual(house.errors, []);
    });
  }

  const foreign = certificates.make("client", { issuer: certificates.otherCa() });
  const refusals: readonly (readonly [string, readonly string[], RegExp, RegExp])[] = [
    ["without a certificate", trust, /shows no certificate/, /alert number 41|no certificate/i],
    [
      "with one of another CA",
      [...trust, ...show(certificates, foreign)],
      /not signed by our CA/,
      /alert unknown ca/,
    ],
    [
      "with an expired one",
      [...trust, ...show(certificates, certificates.make("client", { days: -1 }))],
      /has expired/,
      /alert certificate expired/,
    ],
    [
      "with a server's",
      [...trust, ...show(certificates, server)],
      /is not for clients/,
      /alert unsupported certificate/,
    ],
    [
      "of DTLS 1.0",
      [...shown, "-dtls1", "-cipher", "ALL:@SECLEVEL=0"],
      /DTLS 1\.2/,
      /alert protocol version/,
    ],
    ...["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "AES128-SHA"].map(
      (suite) =>
        [
          `that offers ${suite} alone`,
          [...shown, "-cipher", suite],
          /suite c02b/,
          /alert insufficient security/,
        ] as const,
    ),
    ["without our groups", [...shown, "-groups", "P-521"], /groups/, /insufficient security/],
  ];
  for (const [what, args, ours, theirs] of refusals) {
    test(`refuse a client ${what}`, async () => {
      await using house = await listen(dtls);
      await using client = opensslClient(house.port, versioned(args));
      await until(() => house.errors.length > 0, "it was refused");
      assert.match(house.errors[0]?.message ?? "", ours);
      const { stderr } = await client.exit;
      assert.match(stderr, theirs);
      assert.equal(house.accepted.length, 0);
    });
  }

  test("refuse to be taken for another server", async () => {
    await using house = await listen({
      ...dtls,
      ...certificates.make("server", { names: "DNS:x" }),
    });
    await using client = opensslClient(house.port, versioned(shown));
    assert.match((await client.exit).stderr, /hostname mismatch/i);
    assert.match(house.errors[0]?.message ?? "", /refused the handshake with alert/);
  });
}

function testDialer(certificates: DtlsCertificates): void {
  const { ca, server, client } = certificates;
  const dtls: DtlsClientOptions = { ...client, ca: ca.cert, serverName: SERVER_NAME };
  const trust = ["-CAfile", certificates.file(ca.cert)];
  const shown = [...trust, ...show(certificates, server)];
  const asking = [...shown, ...STRICT];
  const suite = ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"];

  const echoes: readonly (readonly [string, readonly string[], Partial<DtlsClientOptions>])[] = [
    ["that asks for a certificate", asking, {}],
    ["that asks for none", shown, {}],
    ["that asks for none of us, who have none", shown, { cert: undefined, key: undefined }],
    ["that does P-256 alone", [...asking, "-groups", "P-256"], {}],
    ["that does P-384 first", [...asking, "-groups", "P-384:P-256", "-serverpref"], {}],
    ["that takes small datagrams only", [...asking, "-mtu", "256"], { mtuBytes: 256 }],
    ["of any version of DTLS", [...asking, "-dtls"], {}],
    ["that does one suite", [...asking, ...suite], {}],
  ];
  for (const [what, args, options] of echoes) {
    test(`carry words to a server ${what}, and back`, async () => {
      const { child, port } = await opensslServer(versioned(args));
      await using _child = child;
      const to = { host: "127.0.0.1", port };
      const connection = await dialDtls({ to, runtime, bindUdp, dtls: { ...dtls, ...options } });
      const recorder = new DatagramRecorder(connection);
      assert.equal(connection.identity?.name, "CN=test");
      recorder.say("over\n");
      await child.waitFor(/^over$/m);
      child.process.stdin?.write("and back\n");
      await until(() => recorder.texts.includes("and back\n"), "it answered");
      connection.close();
      await child.waitFor(/DONE|shutdown|CONNECTION CLOSED/);
    });
  }

  const otherCa = certificates.otherCa();
  const bad = (options: Parameters<DtlsCertificates["make"]>[1]): readonly string[] => [
    ...trust,
    ...show(certificates, certificates.make("server", options)),
  ];
  const refusals: readonly (readonly [string, readonly string[], RegExp])[] = [
    ["of another CA", bad({ issuer: otherCa }), /not signed by our CA/],
    ["that expired", bad({ days: -1 }), /has expired/],
    ["of another name", bad({ names: "DNS:other.agent" }), /not for godoxy.agent/],
    ["with a client's certificate", [...trust, ...show(certificates, client)], /not for servers/],
    [
      "that trusts another CA",
      [...show(certificates, server), "-CAfile", certificates.file(otherCa.cert), ...STRICT],
      /refused the handshake with alert/,
    ],
    ["of DTLS 1.0", [...shown, "-dtls1", "-cipher", "ALL:@SECLEVEL=0"], /alert|DTLS 1\.2/],
    [
      "that does other suites",
      [...shown, "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
      /refused the handshake with alert 40/,
    ],
    ["without our groups", [...shown, "-groups", "P-521"], /refused the handshake with alert/],
  ];
  for (const [what, args, text] of refusals) {
    test(`refuse a server ${what}`, async () => {
      const { child, port } = await opensslServer(versioned(args));
      await using _child = child;
      const to = { host: "127.0.0.1", port };
      const error = await dialDtls({ to, runtime, bindUdp, dtls }).then(
        () => assert.fail("it was accepted"),
        (thrown: unknown) => String(thrown),
      );
      assert.match(error, text);
      assert.match(error, /127\.0\.0\.1:\d+: dtls handshake: /);
    });
  }
}

/** A listener of ours that echoes, and what became of it. */
async function listen(dtls: DtlsServerOptions) {
  const accepted: DatagramRecorder[] = [];
  const errors: TunnelError[] = [];
  const listener = await listenDtls({
    at: { host: "127.0.0.1", port: 0 },
    runtime,
    dtls,
    bindUdp,
    onHandshakeError: (error) => void errors.push(error),
    onConnection: (connection) => void accepted.push(new DatagramRecorder(connection, true)),
  });
  const port = Number(listener.address.split(":").at(-1));
  return { port, accepted, errors, [Symbol.asyncDispose]: () => listener.close() };
}

/** Says DTLS 1.2, where nothing else is said. */
function versioned(args: readonly string[]): readonly string[] {
  return args.some((arg) => arg.startsWith("-dtls")) ? args : ["-dtls1_2", ...args];
}

function show(certificates: DtlsCertificates, { cert, key }: Identity): readonly string[] {
  return ["-cert", certificates.file(cert), "-key", certificates.file(key)];
}
