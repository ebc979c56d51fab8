import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { CertificateFactory, type Identity } from "../../../test/support/certificates.ts";
import { CutLink } from "../../../test/support/cut-link.ts";
import { Recorder } from "../../../test/support/recorder.ts";
import { turns } from "../../../test/support/turns.ts";
import { skipWithout } from "../../../test/support/which.ts";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { systemClock } from "../../clock/clock.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { tlsAcceptor, type TlsAcceptorOptions } from "./accept.ts";
import { dialTlsInside } from "./dial.ts";
import type { TlsClientOptions } from "./tls-options.ts";

describe("tls inside a connection", { skip: skipWithout("openssl"), timeout: 20_000 }, () => {
  let factory: CertificateFactory;
  let ca: Identity;
  let server: Identity;

  before(() => {
    factory = new CertificateFactory();
    ca = factory.make({ isCa: true });
    server = factory.make({ issuer: ca });
  });
  after(() => factory[Symbol.dispose]());

  test("carries much each way, half-closes, and names the ends below", async () => {
    const { near, far } = await joined({ tls: server }, { ca: ca.cert });
    const block = Buffer.alloc(300_000, "question ");
    for (let count = 0; count < 5; count++) near.connection.write([Buffer.from(block)]);
    near.connection.finish();
    await far.ended();
    assert.equal(far.byteLength, 5 * block.byteLength);
    far.connection.write([Buffer.from("answer")]);
    far.connection.finish();
    await Promise.all([near.closed(), far.closed()]);
    assert.equal(near.text, "answer");
    assert.deepEqual(far.events, ["end", "close"]);
    assert.deepEqual(near.events.slice(-2), ["end", "close"]);
    assert.deepEqual({ ...near.connection.info }, { transport: "tls", local: "a", peer: "b" });
    assert.deepEqual({ ...far.connection.info }, { transport: "tls", local: "b", peer: "a" });
  });

  test("ends one side after the other without an alert where it is told to", async () => {
    const link = new CutLink(runtime);
    const [near, far] = (
      await Promise.all([
        dial(link.near, { ca: ca.cert, endsQuietly: true }),
        tlsAcceptor({ runtime, tls: { ...server, endsQuietly: true } }).accept(link.far),
      ])
    ).map((connection) => new Recorder(connection));
    assert.ok(near !== undefined && far !== undefined);
    near.connection.resume();
    far.connection.resume();
    near.connection.write([Buffer.from("question")]);
    await far.received(8);
    const { up } = link.bytes;
    near.connection.finish();
    await far.ended();
    assert.equal(link.bytes.up, up, "TLS said something");
    far.connection.write([Buffer.alloc(300_000)]);
    await near.received(300_000);
    const { down } = link.bytes;
    far.connection.finish();
    await Promise.all([near.closed(), far.closed()]);
    assert.equal(link.bytes.down, down, "TLS said something");
    assert.deepEqual(near.events, ["end", "close"]);
    assert.deepEqual(far.events, ["end", "drain", "close"]);
  });

  test("tells several handshakes at one time apart", async () => {
    const acceptor = tlsAcceptor({ runtime, tls: server });
    const joins = Array.from({ length: 8 }, async (_, index) => {
      const [a, b] = connectionPair(runtime);
      const [near, far] = await Promise.all([dial(a, { ca: ca.cert }), acceptor.accept(b)]);
      near.write([Buffer.from(`number ${index}`)]);
      const heard = new Recorder(far);
      far.resume();
      await heard.received(8);
      assert.equal(heard.text, `number ${index}`);
    });
    await Promise.all(joins);
  });

  test("passes a hard end on", async () => {
    const { near, far } = await joined({ tls: server }, { ca: ca.cert });
    near.connection.reset(new TunnelError("ERR_ABORTED", "enough"));
    await far.closed();
    assert.equal(far.events.at(-1), "close ERR_ABORTED");
  });

  test("refuses another name, and takes none", async () => {
    const acceptor = { tls: { ...server, serverName: "localhost" } };
    await joined(acceptor, { ca: ca.cert, serverName: "127.0.0.1" });
    await joined(acceptor, { ca: ca.cert, serverName: "localhost" });
    await assert.rejects(joined(acceptor, { insecure: true, serverName: "other.example" }), {
      code: "ERR_TLS",
    });
  });

  test("wants the certificate of a client where it was given a CA", async () => {
    const stranger = factory.make({});
    const friend = factory.make({ issuer: ca });
    const acceptor = { tls: { ...server, ca: ca.cert } };
    await joined(acceptor, { ca: ca.cert, ...friend });
    await assert.rejects(
      accepted(acceptor, { ca: ca.cert, ...stranger }),
      /certificate is refused/,
    );
    await assert.rejects(accepted(acceptor, { ca: ca.cert }), /certificate is missing/);
  });

  test("closes the connection of a client that says something else, and of one that leaves", async () => {
    const acceptor = tlsAcceptor({ runtime, tls: server });
    const [junk, a] = connectionPair(runtime);
    junk.write([Buffer.from("GET / HTTP/1.1\r\n\r\n")]);
    const heard = new Recorder(junk);
    junk.resume();
    await assert.rejects(acceptor.accept(a), { code: "ERR_TLS" });
    await heard.closed();
    const [leaver, b] = connectionPair(runtime);
    leaver.close();
    await assert.rejects(acceptor.accept(b), { code: "ERR_TLS" });
  });

  test("waits a bounded time", async () => {
    const clock = new ManualClock();
    const acceptor = tlsAcceptor({ runtime: { ...runtime, clock }, tls: server });
    const [mute, far] = connectionPair(runtime);
    const heard = new Recorder(mute);
    mute.resume();
    const refused = assert.rejects(acceptor.accept(far), { code: "ERR_HANDSHAKE_TIMEOUT" });
    clock.advance(10_000);
    await turns();
    await refused;
    await heard.ended();
  });

  test("reports a server nobody trusts, and is gone then", async () => {
    const [a, b] = connectionPair(runtime);
    const far = assert.rejects(tlsAcceptor({ runtime, tls: server }).accept(b));
    await assert.rejects(dial(a, {}), { code: "ERR_TLS" });
    await far;
  });
});

async function joined(
  acceptor: Omit<TlsAcceptorOptions, "runtime">,
  client: TlsClientOptions,
): Promise<{ readonly near: Recorder; readonly far: Recorder }> {
  const [a, b] = connectionPair(runtime);
  const [near, far] = await Promise.all([
    dial(a, client),
    tlsAcceptor({ ...acceptor, runtime }).accept(b),
  ]);
  const ends = { near: new Recorder(near), far: new Recorder(far) };
  near.resume();
  far.resume();
  return ends;
}

/** What the acceptor says, whatever the client makes of it. */
async function accepted(
  acceptor: Omit<TlsAcceptorOptions, "runtime">,
  client: TlsClientOptions,
): Promise<Connection> {
  const [a, b] = connectionPair(runtime);
  const dialled = dial(a, client).catch(() => undefined);
  try {
    return await tlsAcceptor({ ...acceptor, runtime }).accept(b);
  } finally {
    await dialled;
  }
}

async function dial(connection: Connection, options: TlsClientOptions): Promise<Connection> {
  const to = { host: "127.0.0.1", port: 1 };
  return await dialTlsInside(connection, { runtime, to, tls: options });
}

const runtime: Runtime = { clock: systemClock, random: () => 0.5, slabs: new SlabPool() };
