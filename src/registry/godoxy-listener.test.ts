import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import type tls from "node:tls";
import { CertificateFactory, type Identity } from "../../test/support/certificates.ts";
import { ApiHouse, HttpReader, readAll } from "../../test/support/godoxy-api-house.ts";
import { Recorder } from "../../test/support/recorder.ts";
import { turns } from "../../test/support/turns.ts";
import { skipWithout } from "../../test/support/which.ts";
import { SlabPool } from "../bytes/slab-pool.ts";
import { systemClock } from "../clock/clock.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import { ConfigError } from "../errors.ts";
import { STREAM_ALPN } from "./godoxy-listener.ts";

describe("an agent's port", { skip: skipWithout("openssl"), timeout: 20_000 }, () => {
  let factory: CertificateFactory;
  let ca: Identity;
  let server: Identity;
  let client: Identity;

  before(() => {
    factory = new CertificateFactory();
    ca = factory.make({ isCa: true });
    server = factory.make({ issuer: ca, names: "DNS:godoxy.agent" });
    client = factory.make({ issuer: ca });
  });
  after(() => factory[Symbol.dispose]());

  const open = (listen: Parameters<typeof ApiHouse.open>[0] = {}): Promise<ApiHouse> =>
    ApiHouse.open({ ...listen, listen: { tls: { ...server, ca: ca.cert }, ...listen.listen } });

  const asClient = (options: tls.ConnectionOptions = {}): tls.ConnectionOptions => ({
    ca: ca.cert,
    ...client,
    ...options,
  });

  const stream = { ALPNProtocols: [STREAM_ALPN] };

  test("hands streams over with who opened them, and everything else to HTTP", async () => {
    await using house = await open();
    const socket = await house.connect(asClient(stream));
    assert.equal(socket.alpnProtocol, STREAM_ALPN);
    await until(() => house.streams.length > 0);
    const [opened] = house.streams;
    assert.ok(opened);
    assert.deepEqual(opened.identity, { name: "CN=test", pin: factory.pin(client) });
    assert.equal(opened.connection.info.transport, "tls");
    const heard = new Recorder(opened.connection);
    opened.connection.resume();
    socket.write("payload");
    await heard.received(7);
    socket.destroy();
    const http = await house.connect(asClient({ ALPNProtocols: ["http/1.1"] }));
    http.write("GET /godoxy/agent/info HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.match((await new HttpReader(http).next()).start, / 200 /);
    assert.equal(house.streams.length, 1);
    http.destroy();
  });

  test("takes pinned keys alone where it has pins", async () => {
    const other = factory.make({ issuer: ca });
    await using house = await open({ listen: { pins: [factory.pin(client)] } });
    const refused = house.dial(asClient({ ...stream, ...other }));
    assert.equal((await readAll(refused)).byteLength, 0);
    assert.equal(house.streams.length, 0);
    assert.ok(house.log.text.includes(factory.pin(other)));
    const welcome = await house.connect(asClient(stream));
    await until(() => house.streams.length === 1);
    welcome.destroy();
  });

  test("changes its certificate under everybody's feet, and keeps a good one", async () => {
    const renewed = factory.make({ issuer: ca, names: "DNS:godoxy.agent" });
    await using house = await open();
    const early = await house.connect(asClient());
    const reader = new HttpReader(early);
    assert.ok(house.listener.replaceCertificate.length === 2);
    assert.throws(() => house.listener.replaceCertificate(renewed.cert, server.key), ConfigError);
    assert.throws(() => house.listener.replaceCertificate("", ""), ConfigError);
    const between = await house.connect(asClient());
    assert.equal(pinOf(between), pinOf(early));
    house.listener.replaceCertificate(renewed.cert, renewed.key);
    const late = await house.connect(asClient());
    assert.notEqual(pinOf(late), pinOf(early));
    early.write("GET /godoxy/agent/info HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.match((await reader.next()).start, / 200 /);
    const nobody = house.dial({ ca: ca.cert, cert: undefined, key: undefined });
    assert.equal((await readAll(nobody)).byteLength, 0, "clients are still asked for theirs");
    for (const socket of [early, between, late]) socket.destroy();
  });

  test("resumes sessions with the certificate still in force", async () => {
    await using house = await open({ listen: { pins: [factory.pin(client)] } });
    const first = await house.connect(asClient(stream));
    first.resume();
    const [session] = await once(first, "session");
    first.destroy();
    const second = await house.connect(asClient({ ...stream, session: Buffer.from(session) }));
    assert.ok(second.isSessionReused());
    await until(() => house.streams.length === 2);
    assert.equal(house.streams[1]?.identity.pin, factory.pin(client));
    second.destroy();
  });

  test("ends handshakes that take too long, and the oldest when there are too many", async () => {
    const clock = new ManualClock();
    const runtime = { clock, random: () => 0.5, slabs: new SlabPool() };
    await using house = await open({ listen: { runtime, maxHandshakes: 2 } });
    const mute = [await house.connectRaw(), await house.connectRaw()];
    await until(() => clock.pending === 2);
    mute.push(await house.connectRaw());
    assert.equal((await readAll(mute[0] ?? assert.fail())).byteLength, 0);
    assert.match(house.log.text, /too many are in progress/);
    await until(() => clock.pending === 2);
    clock.advance(10_000);
    for (const socket of mute.slice(1)) await readAll(socket);
    assert.match(house.log.text, /tls handshake not complete within 10000 ms/);
  });

  test("closes HTTP connections that say nothing, and bounds all of them", async () => {
    const clock = new ManualClock();
    const runtime = { clock, random: () => 0.5, slabs: new SlabPool() };
    await using house = await open({ api: { runtime }, listen: { maxConnections: 2 } });
    const silent = await house.connect(asClient());
    const other = await house.connect(asClient());
    const turnedAway = await house.connectRaw();
    assert.equal((await readAll(turnedAway)).byteLength, 0);
    await until(() => clock.pending === 2);
    clock.advance(10_000);
    for (const socket of [silent, other]) assert.equal((await readAll(socket)).byteLength, 0);
    assert.match(house.log.text, /request head not complete within 10000 ms/);
  });

  test("tells who forgot TLS, whatever the method", async () => {
    await using house = await open();
    for (const start of [
      "GET / HTTP/1.1\r\n\r\n",
      "POST /x HTTP/1.1\r\n\r\n",
      "CONNECT a:1 HTTP/1.1\r\n\r\n",
    ]) {
      const socket = await house.connectRaw();
      socket.write(start);
      const answer = (await readAll(socket)).toString();
      assert.match(answer, /^HTTP\/1\.0 400 Bad Request\r\n\r\nClient sent an HTTP request/);
    }
    const socket = await house.connectRaw();
    socket.write("SSH-2.0-x\r\n");
    assert.doesNotMatch((await readAll(socket)).toString("latin1"), /HTTP/);
  });
});

function pinOf(socket: tls.TLSSocket): string | undefined {
  return socket.getPeerX509Certificate()?.fingerprint256;
}

async function until(isSo: () => boolean): Promise<void> {
  const startedAt = systemClock.now();
  while (!isSo() && systemClock.now() - startedAt < 5_000) await turns(1);
  assert.ok(isSo());
}
