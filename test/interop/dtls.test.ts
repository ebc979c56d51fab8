import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { TunnelError } from "../../src/errors.ts";
import { dialDtls } from "../../src/transports/dtls/dial.ts";
import { listenDtls } from "../../src/transports/dtls/listen.ts";
import { bindUdp } from "../../src/transports/udp/bind.ts";
import { systemRuntime } from "../../src/tunnel/runtime.ts";
import type { Identity } from "../support/certificates.ts";
import { DatagramRecorder } from "../support/dtls-ends.ts";
import { type Impairment, LossyUdp } from "../support/lossy-udp.ts";
import { DtlsCertificates, SERVER_NAME } from "../support/openssl-dtls.ts";
import { until } from "../support/test-client.ts";
import { skipWithout } from "../support/which.ts";
import { DtlsPeer } from "./dtls-peer.ts";

const CLEAN: Impairment = { loss: 0, duplication: 0, reordering: 0, lateMs: 0 };
const BAD: Impairment = { loss: 0.2, duplication: 0.05, reordering: 0.05, lateMs: 30 };
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8];
const PATIENCE_MS = 60_000;

const runtime = systemRuntime();
const skip = skipWithout("openssl");
const peer = skip === false ? await DtlsPeer.build() : skip;

/** How the two ends meet. */
interface Meeting {
  readonly impairment?: Impairment;
  readonly seed?: number;
  /** Flags of the peer's program. */
  readonly settings?: readonly string[];
  readonly mtuBytes?: number;
  /** What the client shows. */
  readonly client?: Identity;
}

if (typeof peer === "string") {
  test("DTLS interop", { skip: peer });
} else {
  const certificates = new DtlsCertificates();
  after(() => {
    certificates[Symbol.dispose]();
    peer[Symbol.dispose]();
  });
  const foreign = certificates.make("client", { issuer: certificates.otherCa() });
  const ways = [
    ["our client, a pion server", (how: Meeting) => askThem(peer, certificates, how)],
    ["a pion client, our server", (how: Meeting) => letThemAsk(peer, certificates, how)],
  ] as const;
  for (const [title, meet] of ways) {
    describe(title, { timeout: 600_000 }, () => {
      test("exchange records", () => meet({}));
      test("on P-256", () => meet({ settings: ["-p256"] }));
      test("in small datagrams", () => meet({ settings: ["-mtu", "300"], mtuBytes: 300 }));
      for (const seed of SEEDS) {
        const settings = ["-interval", "200ms"];
        test(`with a fifth of all datagrams lost, seed ${seed}`, () =>
          meet({ impairment: BAD, seed, settings }));
      }
      test("not with a certificate of another CA", () =>
        assert.rejects(meet({ client: foreign }), /alert|certificate/i));
    });
  }
}

/** Our end against a server of theirs. */
async function askThem(
  program: DtlsPeer,
  certificates: DtlsCertificates,
  { impairment = CLEAN, seed, settings = [], mtuBytes, client }: Meeting,
): Promise<void> {
  const shown = shownBy(certificates, certificates.server);
  const { child, port: to } = await program.serve([...shown, ...settings]);
  await using _child = child;
  await using link = await LossyUdp.start(to, impairment, seed);
  const { cert, key } = client ?? certificates.client;
  const connection = await dialDtls({
    to: { host: "127.0.0.1", port: link.port },
    runtime,
    bindUdp,
    dtls: { cert, key, ca: certificates.ca.cert, serverName: SERVER_NAME, mtuBytes },
    handshakeTimeoutMs: PATIENCE_MS,
  });
  const recorder = new DatagramRecorder(connection);
  for (const word of ["one", "two", "x".repeat(8_155)]) {
    const again = setInterval(() => recorder.say(word), 100);
    recorder.say(word);
    try {
      await until(() => recorder.texts.includes(word), "it came back");
    } finally {
      clearInterval(again);
    }
  }
  connection.close();
  assert.deepEqual(recorder.events, ["close"]);
  if (impairment === CLEAN) await child.waitFor(/session ended/);
}

/** A client of theirs against our end. */
async function letThemAsk(
  program: DtlsPeer,
  certificates: DtlsCertificates,
  { impairment = CLEAN, seed, settings = [], mtuBytes, client }: Meeting,
): Promise<void> {
  const errors: TunnelError[] = [];
  const accepted: DatagramRecorder[] = [];
  const { cert, key } = certificates.server;
  await using listener = await listenDtls({
    at: { host: "127.0.0.1", port: 0 },
    runtime,
    bindUdp,
    dtls: { cert, key, ca: certificates.ca.cert, mtuBytes, handshakeTimeoutMs: PATIENCE_MS },
    onHandshakeError: (error) => void errors.push(error),
    onConnection: (connection) => void accepted.push(new DatagramRecorder(connection, true)),
  });
  const port = Number(listener.address.split(":").at(-1));
  await using link = await LossyUdp.start(port, impairment, seed);
  const shown = shownBy(certificates, client ?? certificates.client);
  const { code, stdout, stderr } = await program.ask(link.port, [...shown, ...settings]);
  for (const { connection } of accepted) connection.close();
  if (code !== 0) throw new Error(`${stderr}${errors.map(({ message }) => message).join("\n")}`);
  assert.match(stdout, /^echoed 3$/m);
  assert.equal(accepted.length, 1);
  assert.equal(accepted[0]?.connection.identity?.name, "CN=test");
}

/** What the peer's program is told of certificates. */
function shownBy(certificates: DtlsCertificates, { cert, key }: Identity): readonly string[] {
  const ca = certificates.file(certificates.ca.cert);
  return ["-ca", ca, "-cert", certificates.file(cert), "-key", certificates.file(key)];
}
