import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { describe, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  DatagramRecorder,
  VECTOR_CLIENT,
  VECTOR_SERVER,
  vectorPem,
} from "../../../test/support/dtls-ends.ts";
import { manualRuntime, until } from "../../../test/support/test-client.ts";
import { UdpNetwork } from "../../../test/support/udp-network.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { ConfigError, type TunnelError } from "../../errors.ts";
import type { BindUdp } from "../../tunnel/datagrams.ts";
import { systemRuntime } from "../../tunnel/runtime.ts";
import { bindUdp } from "../udp/bind.ts";
import { DtlsClientSession } from "./client-session.ts";
import { dialDtls } from "./dial.ts";
import type { DtlsClientOptions, DtlsServerOptions } from "./dtls-options.ts";
import { type DtlsListenLimits, listenDtls } from "./listen.ts";

const HERE = { host: "192.0.2.9", port: 700 };

interface HouseOptions {
  readonly limits?: Partial<DtlsListenLimits>;
  readonly dtls?: Partial<DtlsServerOptions>;
  readonly seed?: number;
}

/** A listener on a network in memory that echoes what it hears. */
async function house({ limits, dtls, seed }: HouseOptions = {}) {
  const runtime = manualRuntime();
  const network = new UdpNetwork(runtime.clock, seed);
  const accepted: DatagramRecorder[] = [];
  const errors: TunnelError[] = [];
  const listener = await listenDtls({
    at: HERE,
    runtime,
    dtls: { ...VECTOR_SERVER, ...dtls },
    bindUdp: network.bindUdp,
    limits,
    onHandshakeError: (error) => void errors.push(error),
    onConnection: (connection) => void accepted.push(new DatagramRecorder(connection, true)),
  });
  const dial = async (
    client: Partial<DtlsClientOptions> = {},
    bind: BindUdp = network.bindUdp,
  ): Promise<DatagramRecorder> => {
    const dialling = dialDtls({
      to: HERE,
      runtime,
      bindUdp: bind,
      dtls: { ...VECTOR_CLIENT, ...client },
    });
    dialling.catch(() => {}); // reported to whoever awaits it
    await network.pass(client.handshakeTimeoutMs ?? 1_000);
    return new DatagramRecorder(await dialling);
  };
  return { runtime, network, listener, accepted, errors, dial };
}

type House = Awaited<ReturnType<typeof house>>;

/** A client without a socket: what it sends goes where the test wants it to. */
function loneClient() {
  const session = new DtlsClientSession(VECTOR_CLIENT, 0);
  const [first] = session.start(0).datagrams;
  return { session, first: first ?? assert.fail("nothing was sent") };
}

/** What the listener sent to an address so far. */
function sentTo({ network }: House, { host, port }: HostPort): Uint8Array[] {
  return network.sent
    .filter(({ from, to }) => from.port === HERE.port && to.host === host && to.port === port)
    .map(({ data }) => data);
}

/** Goes as far as the cookie, and stays away then. @returns whether the listener went on */
function beginAndLeave(place: House, from: HostPort): boolean {
  const { session, first } = loneClient();
  place.network.inject(first, from, HERE);
  const [request] = sentTo(place, from).slice(-1);
  const [second] = session.receive(request ?? assert.fail("no cookie"), 0).datagrams;
  const before = sentTo(place, from).length;
  place.network.inject(second ?? assert.fail("no second hello"), from, HERE);
  return sentTo(place, from).length > before;
}

function stranger(index: number): HostPort {
  return { host: `198.51.${(index >>> 8) & 0xff}.${index & 0xff}`, port: 1_024 + (index >>> 16) };
}

function pinOf(pem: string): string {
  return new X509Certificate(pem).fingerprint256;
}

describe("dtls listener", () => {
  test("gives each address a session of its own, and says who is there", async () => {
    const { network, accepted, dial, errors } = await house();
    const [one, two] = [await dial(), await dial()];
    one.say("one");
    two.say("");
    two.say("two");
    await network.pass(100);
    assert.deepEqual([one.texts, two.texts], [["one"], ["", "two"]]);
    assert.equal(accepted.length, 2);
    const { info, identity } = accepted[0]?.connection ?? assert.fail();
    assert.equal(info.local, "192.0.2.9:700");
    assert.equal(info.peer, one.connection.info.local);
    assert.equal(identity?.name, "O=GoDoxy, OU=Client, CN=godoxy.agent");
    assert.match(identity.pin, /^[A-Za-z0-9+/]{43}=$/);
    assert.equal(one.connection.identity?.name, "O=GoDoxy, OU=Server, CN=godoxy.agent");
    assert.notEqual(pinOf(vectorPem("agent-a", "client.pem")), identity.pin);
    assert.deepEqual(errors, []);
  });

  test("delivers what came with the handshake, and ends in order both ways", async () => {
    const place = await house();
    const { network, accepted, dial } = place;
    const one = await dial({ greeting: Buffer.from("greeting") });
    await network.pass(100);
    assert.deepEqual(accepted[0]?.texts, ["greeting"]);
    one.connection.close();
    one.connection.close();
    await network.pass(100);
    assert.deepEqual([one.events, accepted[0]?.events], [["close"], ["close"]]);
    const two = await dial();
    accepted[1]?.connection.close();
    await network.pass(100);
    assert.deepEqual(two.events, ["close"]);
    assert.equal(network.bound, 1);
    assert.equal(place.runtime.clock.pending, 0);
  });

  test("keeps some of what comes before there is a handler, and drops the rest", async () => {
    const runtime = manualRuntime();
    const network = new UdpNetwork(runtime.clock);
    const held: Parameters<Parameters<typeof listenDtls>[0]["onConnection"]>[0][] = [];
    const common = { runtime, bindUdp: network.bindUdp };
    const onConnection = (connection: (typeof held)[number]): void => void held.push(connection);
    await listenDtls({ ...common, at: HERE, dtls: VECTOR_SERVER, onConnection });
    const dialling = dialDtls({ ...common, to: HERE, dtls: VECTOR_CLIENT });
    await network.pass(500);
    const client = new DatagramRecorder(await dialling);
    for (let index = 0; index < 100; index++) client.say(`early ${index}`);
    await network.pass(500);
    client.connection.close();
    await network.pass(500);
    const late = new DatagramRecorder(held[0] ?? assert.fail("no connection"));
    assert.equal(late.datagrams.length, 64);
    assert.equal(late.texts[63], "early 63");
    assert.equal(late.connection.dropped, 36);
    assert.deepEqual(late.events, ["close"]);
  });

  test("finishes handshakes when a fifth of all datagrams is lost", async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { network, dial, accepted } = await house({
        seed,
        dtls: { handshakeTimeoutMs: 60_000 },
      });
      network.weather = { loss: 0.2, duplicates: 0.05, jitterMs: 30 };
      await dial({ handshakeTimeoutMs: 60_000 });
      assert.equal(accepted.length, 1, `seed ${seed}`);
    }
  });

  test("asks for a cookie again when it is another address's, or an old one", async () => {
    const place = await house();
    const { session, first } = loneClient();
    place.network.inject(first, stranger(1), HERE);
    const [request] = sentTo(place, stranger(1));
    const [second] = session.receive(request ?? assert.fail(), 0).datagrams;
    place.network.inject(second ?? assert.fail(), stranger(2), HERE);
    assert.deepEqual(
      sentTo(place, stranger(2)).map(({ byteLength }) => byteLength),
      [48],
    );
    await place.network.pass(180_000);
    place.network.inject(second ?? assert.fail(), stranger(1), HERE);
    assert.equal(sentTo(place, stranger(1)).at(-1)?.byteLength, 48);
    await place.network.pass(100);
    assert.equal(place.runtime.clock.pending, 0, "no state");
  });

  test("answers no datagram with a longer one, and junk not at all", async () => {
    const place = await house();
    const { first } = loneClient();
    for (let length = 0; length < first.byteLength; length++) {
      place.network.inject(first.subarray(0, length), stranger(3), HERE);
    }
    const bent = Uint8Array.from(first);
    for (const [at, value] of JUNK) {
      bent[at] = value;
      place.network.inject(bent, stranger(3), HERE);
      bent.set(first);
    }
    assert.deepEqual(sentTo(place, stranger(3)), []);
    place.network.inject(first, stranger(3), HERE);
    assert.ok((sentTo(place, stranger(3))[0]?.byteLength ?? 999) < first.byteLength);
  });

  test("lets only so many begin at one time, of one address and of all, until they are too late", async () => {
    const place = await house({ limits: { maxHalfOpen: 5, maxHalfOpenPerSource: 2 } });
    const at = (host: number, port: number) => ({ host: `203.0.113.${host}`, port });
    const begun = [at(1, 1), at(1, 2), at(1, 3), at(2, 1), at(2, 2), at(3, 1), at(4, 1)].map(
      (from) => beginAndLeave(place, from),
    );
    assert.deepEqual(begun, [true, true, false, true, true, true, false]);
    assert.match(
      place.errors[0]?.message ?? "",
      /turned away: 1 with too many unfinished ones from/,
    );
    await place.network.pass(10_000);
    const late = place.errors.filter(({ code }) => code === "ERR_HANDSHAKE_TIMEOUT");
    assert.equal(late.length, 5);
    assert.match(late[0]?.message ?? "", /^203\.0\.113\.1:1: dtls handshake: /);
    assert.equal(place.runtime.clock.pending, 0);
    assert.ok(beginAndLeave(place, at(1, 3)));
  });

  test("counts a /64 of IPv6 as one address", async () => {
    const place = await house({ limits: { maxHalfOpenPerSource: 1 } });
    assert.ok(beginAndLeave(place, { host: "2001:db8::1", port: 1 }));
    assert.ok(!beginAndLeave(place, { host: "2001:db8::2", port: 1 }));
    assert.ok(beginAndLeave(place, { host: "2001:db8:0:1::1", port: 1 }));
  });

  test("ends sessions beyond what one client may have, and beyond all", async () => {
    for (const limits of [{ maxSessionsPerClient: 1 }, { maxSessions: 1 }]) {
      const { network, dial, errors, accepted } = await house({ limits });
      const first = await dial();
      const second = await dial({ handshakeTimeoutMs: 500 }).catch((error: unknown) => error);
      await network.pass(100);
      assert.equal(accepted.length, 1);
      assert.equal(errors[0]?.code, "ERR_LIMIT");
      assert.match(errors[0]?.message ?? "", /sessions|of this client/);
      if (second instanceof DatagramRecorder) assert.deepEqual(second.events, ["close"]);
      first.connection.close();
      await network.pass(100);
      await dial();
      assert.equal(accepted.length, 2);
    }
  });

  test("gives the place of a live session to a peer that began anew, once that is proven", async () => {
    const place = await house();
    const { network, dial, accepted } = place;
    const samePort: BindUdp = (options) =>
      network.bindUdp({ ...options, at: { host: "192.0.2.1", port: 5_000 } });
    const old = await dial({}, samePort);
    const from = { host: "192.0.2.1", port: 5_000 };
    assert.ok(beginAndLeave(place, from), "a second handshake begins beside it");
    old.say("still there");
    await network.pass(100);
    assert.deepEqual(old.texts, ["still there"]);
    await network.pass(20_000);
    assert.deepEqual(accepted[0]?.events, [], "what was not finished changed nothing");
    const anew = await dial({}, samePort);
    assert.deepEqual(accepted[0]?.events, ["close ERR_CONNECTION_RESET"]);
    assert.match(accepted[0].error?.message ?? "", /began another session/);
    anew.say("anew");
    await network.pass(100);
    assert.deepEqual([anew.texts, accepted[1]?.texts], [["anew"], ["anew"]]);
    assert.equal(place.runtime.clock.pending, 0);
  });

  test("lets no forged datagram end a live session", async () => {
    const place = await house();
    const { network, dial, accepted } = place;
    const client = await dial();
    const from = { host: "192.0.2.1", port: 40_001 };
    assert.equal(client.connection.info.local, "192.0.2.1:40001");
    const forged = [
      "15 fefd 0000000000000001 0002 0228", // a fatal alert
      "15 fefd 0000000000000002 0002 0100", // close_notify
      "17 fefd 0000000000000003 0003 616263", // plain data
      "15 fefd 0001000000000009 0002 0100", // what is not sealed
      "14 fefd 0000000000000004 0001 01",
    ].map((text) => Buffer.from(text.replaceAll(" ", ""), "hex"));
    for (const data of [...forged, loneClient().first]) {
      network.inject(data, from, HERE);
      network.inject(data, HERE, from);
    }
    client.say("alive");
    await network.pass(100);
    assert.deepEqual([client.texts, accepted[0]?.texts], [["alive"], ["alive"]]);
    assert.deepEqual([client.events, accepted[0]?.events], [[], []]);
  });

  test("tells why a client is refused", async () => {
    const { dial, errors, accepted } = await house();
    const foreign = {
      cert: vectorPem("agent-b", "client.pem"),
      key: vectorPem("agent-b", "client.key"),
    };
    await assert.rejects(dial(foreign), /192\.0\.2\.9:700: dtls handshake: .*48 unknown ca/);
    await assert.rejects(dial({ cert: undefined, key: undefined }), /dtls handshake: .*41/);
    assert.equal(accepted.length, 0);
    assert.match(
      errors[0]?.message ?? "",
      /192\.0\.2\.1:40001: dtls handshake: .*not signed by our/,
    );
    assert.match(errors[0]?.hint ?? "", /same CA/);
    assert.match(errors[1]?.message ?? "", /the client shows no certificate/);
  });

  test("accepts nobody after its end, and frees the port behind the last session", async () => {
    const place = await house();
    const { network, dial, listener, accepted } = place;
    const client = await dial();
    assert.ok(beginAndLeave(place, stranger(1)));
    await listener.close();
    await listener.close();
    await assert.rejects(dial({ handshakeTimeoutMs: 500 }), { code: "ERR_HANDSHAKE_TIMEOUT" });
    client.say("alive");
    await network.pass(100);
    assert.deepEqual(client.texts, ["alive"]);
    assert.equal(network.bound, 2);
    accepted[0]?.connection.close();
    await network.pass(100);
    assert.deepEqual([client.events, network.bound], [["close"], 0]);
    assert.equal(place.runtime.clock.pending, 0);
  });

  test("refuses certificates that cannot work, at the start and when they are replaced", async () => {
    const other = { key: vectorPem("agent-b", "server.key") };
    await assert.rejects(house({ dtls: other }), ConfigError);
    await assert.rejects(house({ dtls: { ca: vectorPem("agent-a", "client.pem") } }), ConfigError);
    let key = VECTOR_SERVER.key;
    const dtls = Object.defineProperty({ ...VECTOR_SERVER }, "key", { get: () => key });
    const errors: TunnelError[] = [];
    const runtime = manualRuntime();
    const network = new UdpNetwork(runtime.clock);
    const common = { runtime, bindUdp: network.bindUdp };
    const onHandshakeError = (error: TunnelError): void => void errors.push(error);
    await listenDtls({ ...common, at: HERE, dtls, onHandshakeError, onConnection: () => {} });
    key = other.key;
    const dialling = dialDtls({ ...common, to: HERE, dtls: VECTOR_CLIENT });
    const refused = assert.rejects(dialling, { code: "ERR_HANDSHAKE_TIMEOUT" });
    await network.pass(10_000);
    await refused;
    assert.ok(errors[0] instanceof ConfigError);
  });

  test("keeps no memory of a flood of made-up addresses", async () => {
    const runtime = systemRuntime();
    let receive: (data: Uint8Array, from: HostPort) => void = () => {};
    let answers = 0;
    const countingBind: BindUdp = ({ onDatagram }) => {
      receive = onDatagram;
      const send = (): void => void answers++;
      return Promise.resolve({ local: HERE, dropped: 0, send, close: () => {} });
    };
    await listenDtls({
      at: HERE,
      runtime,
      dtls: VECTOR_SERVER,
      bindUdp: countingBind,
      onConnection: () => assert.fail("nobody is there"),
    });
    const { first } = loneClient();
    const flood = (count: number): void => {
      for (let index = 0; index < count; index++) {
        first.set([index & 0xff, index >>> 8], 30);
        receive(first, stranger(index));
      }
    };
    flood(10_000);
    const before = heapBytes();
    flood(50_000);
    const grown = heapBytes() - before;
    assert.equal(answers, 60_000);
    assert.ok(grown < 2_000_000, `${grown} bytes more`);
  });

  test("carries datagrams over real sockets, of every size", async () => {
    const runtime = systemRuntime();
    const accepted: DatagramRecorder[] = [];
    await using listener = await listenDtls({
      at: { host: "127.0.0.1", port: 0 },
      runtime,
      dtls: VECTOR_SERVER,
      bindUdp,
      onConnection: (connection) => void accepted.push(new DatagramRecorder(connection, true)),
    });
    const port = Number(listener.address.split(":").at(-1));
    const to = { host: "localhost", port };
    const lookup = () => Promise.resolve("127.0.0.1");
    const client = new DatagramRecorder(
      await dialDtls({ to, runtime, bindUdp, dtls: VECTOR_CLIENT, lookup }),
    );
    const sizes = [0, 1, 1_200, 8_155, 16_384];
    for (const size of sizes) client.connection.send(Buffer.alloc(size, size));
    client.connection.send(Buffer.alloc(16_385));
    await until(() => client.datagrams.length === sizes.length, "all came back");
    assert.deepEqual(
      client.datagrams.map(({ byteLength }) => byteLength),
      sizes,
    );
    assert.equal(client.connection.dropped, 1);
    client.connection.close();
    await until(() => accepted[0]?.events.length === 1, "the other end heard");
  });
});

/** Bytes of a ClientHello that make it something else: where, and what. */
const JUNK: readonly (readonly [number, number])[] = [
  [0, 23], // no handshake
  [1, 3], // no DTLS
  [2, 0xfc],
  [4, 1], // another epoch
  [11, 0xff], // longer than the datagram
  [13, 2], // another message
  [20, 1], // a later fragment
  [23, 0xff], // a fragment longer than the record
  [59, 0xff], // a session id longer than the message
  [60, 0xff], // so is a cookie
];

function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  const gc: unknown = runInNewContext("gc");
  if (typeof gc === "function") gc();
  return process.memoryUsage().heapUsed;
}
