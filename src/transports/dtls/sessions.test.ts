import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  clientOptions,
  DtlsPair,
  recordedPem,
  serverOptions,
} from "../../../test/support/dtls-pair.ts";
import { TunnelError } from "../../errors.ts";
import { makeEphemeral } from "./key-exchange.ts";
import { ContentType, decodeRecords, encodeRecord } from "./records.ts";

/** The fatal alert an end said in epoch 0, or `undefined`. */
function alertOf(datagrams: readonly Uint8Array[]): number | undefined {
  for (const datagram of datagrams) {
    for (const { type, epoch, payload } of decodeRecords(datagram).records) {
      if (type === ContentType.alert && epoch === 0 && payload[0] === 2) return payload[1];
    }
  }
  return undefined;
}

function message(end: unknown): string {
  assert.ok(end instanceof TunnelError, `not an error: ${String(end)}`);
  return end.message;
}

describe("two DTLS sessions", () => {
  test("shake hands in four datagrams each way at most, and know each other", () => {
    const pair = new DtlsPair();
    pair.run();
    assert.ok(pair.isEstablished);
    assert.equal(pair.client.sent.length, 3);
    assert.match(pair.server.session?.peerCertificate?.subject ?? "", /OU=Client/);
    assert.match(pair.client.session?.peerCertificate?.subject ?? "", /OU=Server/);
    assert.equal(pair.client.session?.deadline, undefined);
    assert.equal(pair.server.session?.deadline, undefined);
    assert.equal(pair.now, 0);
  });

  test("carry datagrams both ways, empty and longest included", () => {
    const pair = new DtlsPair();
    pair.run();
    const longest = "x".repeat(16_384);
    for (const text of ["one", "", longest]) {
      pair.say("client", text);
      pair.say("server", text);
    }
    pair.run();
    assert.deepEqual(pair.client.data, ["one", "", longest]);
    assert.deepEqual(pair.server.data, ["one", "", longest]);
    assert.throws(() => pair.say("client", `${longest}x`), { code: "ERR_MISUSE" });
  });

  test("send nothing before the handshake is done", () => {
    const pair = new DtlsPair();
    assert.throws(() => pair.say("client", "too early"), { code: "ERR_MISUSE" });
  });

  for (const from of ["client", "server"] as const) {
    test(`close in order when the ${from} does, and say so once each`, () => {
      const pair = new DtlsPair();
      pair.run();
      const before = pair.client.sent.length + pair.server.sent.length;
      pair.close(from);
      pair.close(from);
      pair.run();
      assert.equal(pair.client.end, "closed");
      assert.equal(pair.server.end, "closed");
      assert.equal(pair.client.sent.length + pair.server.sent.length, before + 2);
      pair.say("client", "after the end");
      pair.close("server");
      pair.run();
      assert.equal(pair.client.sent.length + pair.server.sent.length, before + 2);
    });
  }

  test("give up when the time for the handshake is over", () => {
    for (const silent of ["client", "server"] as const) {
      const carry = (datagram: Uint8Array, from: string): number[] =>
        from === silent && datagram.byteLength !== 48 && datagram.byteLength < 600 ? [0] : [];
      const pair = new DtlsPair(clientOptions(), serverOptions(), carry);
      pair.run();
      assert.match(message(pair.client.end), /did not finish the handshake in time/);
      assert.equal(pair.client.session?.deadline, undefined);
      assert.equal(pair.now, 10_000);
    }
  });

  test("repeat after 1 s and 2 s more, and oftener near the deadline", () => {
    const times: number[] = [];
    const pair: DtlsPair = new DtlsPair(clientOptions(), serverOptions(), () => []);
    pair.client.sent.length = 0;
    while (pair.client.end === undefined) {
      const at = pair.client.session?.deadline ?? 0;
      pair.run(at);
      times.push(...pair.client.sent.splice(0).map(() => at));
    }
    assert.deepEqual(times.slice(0, 3), [1_000, 3_000, 3_000]);
    assert.ok(times.length > 8, String(times));
  });

  test("go on without limit of tries but the deadline's, 60 s apart at most", () => {
    const client = clientOptions({ handshakeTimeoutMs: 1_000_000 });
    const pair = new DtlsPair(client, serverOptions(), () => []);
    const waits: number[] = [];
    for (let before = 0; waits.length < 9; ) {
      const at = pair.client.session?.deadline ?? 0;
      pair.run(at);
      waits.push(at - before);
      before = at;
    }
    const seconds = [1, 2, 4, 8, 16, 32, 60, 60, 60];
    assert.deepEqual(
      waits,
      seconds.map((wait) => wait * 1_000),
    );
  });

  for (const group of ["P-256", "P-384"] as const) {
    test(`agree on ${group} where one end knows no other`, () => {
      for (const [client, server] of [
        [clientOptions({ groups: [group] }), serverOptions()],
        [clientOptions(), serverOptions({ groups: [group] })],
      ] as const) {
        const pair = new DtlsPair(client, server);
        pair.run();
        assert.ok(pair.isEstablished);
        pair.say("client", group);
        pair.run();
        assert.deepEqual(pair.server.data, [group]);
      }
    });
  }

  test("find no group in common", () => {
    const pair = new DtlsPair(
      clientOptions({ groups: ["x25519"] }),
      serverOptions({ groups: ["P-256"] }),
    );
    pair.run();
    assert.equal(alertOf(pair.server.sent), 71);
    assert.match(message(pair.client.end), /alert 71 insufficient security/);
  });

  test("do without a client's certificate where none is asked for", () => {
    const { cert, key, unixMs } = serverOptions();
    const client = { ...clientOptions(), cert: undefined, key: undefined };
    const pair = new DtlsPair(client, { cert, key, unixMs });
    pair.run();
    assert.ok(pair.isEstablished);
    assert.equal(pair.server.session?.peerCertificate, undefined);
  });

  test("tell a client without a certificate so with alert 41", () => {
    const client = { ...clientOptions(), cert: undefined, key: undefined };
    const pair = new DtlsPair(client);
    pair.run();
    assert.equal(alertOf(pair.server.sent), 41);
    assert.match(message(pair.client.end), /refused the handshake with alert 41/);
    assert.match(message(pair.server.end), /shows no certificate/);
  });

  test("refuse each other's certificates in clear", () => {
    const foreign = {
      cert: recordedPem("agent-b", "client.pem"),
      key: recordedPem("agent-b", "client.key"),
    };
    const byServer = new DtlsPair(clientOptions(foreign));
    byServer.run();
    assert.ok([42, 48].includes(alertOf(byServer.server.sent) ?? 0));
    assert.match(message(byServer.client.end), /refused the handshake with alert/);
    const byClient = new DtlsPair(clientOptions({ ca: recordedPem("agent-b", "ca.pem") }));
    byClient.run();
    assert.ok([42, 48].includes(alertOf(byClient.client.sent) ?? 0));
    assert.match(message(byClient.server.end), /refused the handshake with alert/);
    const byName = new DtlsPair(clientOptions({ serverName: "other.example" }));
    byName.run();
    assert.equal(alertOf(byName.client.sent), 42);
    assert.ok(byName.server.end instanceof TunnelError);
  });

  test("refuse a signature that is not by the certificate's key", () => {
    const wrong = (): Uint8Array => Buffer.from("3006020101020101", "hex");
    const byClient = new DtlsPair(clientOptions(), serverOptions({ sign: wrong }));
    byClient.run();
    assert.equal(alertOf(byClient.client.sent), 51);
    const byServer = new DtlsPair(clientOptions({ sign: wrong }));
    byServer.run();
    assert.equal(alertOf(byServer.server.sent), 51);
  });

  test("refuse a share that is no point", () => {
    const bad = (): { publicKey: Uint8Array; agree: () => Uint8Array } => ({
      publicKey: new Uint8Array(32),
      agree: () => new Uint8Array(32),
    });
    const byClient = new DtlsPair(clientOptions(), serverOptions({ ephemeral: bad }));
    byClient.run();
    assert.equal(alertOf(byClient.client.sent), 47);
    const byServer = new DtlsPair(clientOptions({ ephemeral: bad }));
    byServer.run();
    assert.equal(alertOf(byServer.server.sent), 47);
  });

  test("find out when they agreed on different secrets", () => {
    const { publicKey } = makeEphemeral("x25519");
    const other = (): { publicKey: Uint8Array; agree: () => Uint8Array } => ({
      publicKey,
      agree: () => new Uint8Array(32).fill(7),
    });
    const pair = new DtlsPair(clientOptions({ ephemeral: other }));
    pair.run();
    assert.equal(pair.server.established, 0);
    assert.match(message(pair.client.end), /in time/);
  });

  test("put a flight into datagrams of the size that is said", () => {
    for (const mtuBytes of [300, 500, 1_200]) {
      const pair = new DtlsPair(clientOptions({ mtuBytes }), serverOptions({ mtuBytes }));
      pair.run();
      assert.ok(pair.isEstablished);
      const sizes = [...pair.client.sent, ...pair.server.sent].map(({ byteLength }) => byteLength);
      assert.ok(Math.max(...sizes) <= mtuBytes, String(sizes));
    }
  });

  test("put fragments together in any order, and twice", () => {
    const carry = (datagram: Uint8Array): number[] => [1_000 / datagram.byteLength, 30];
    let order = 0;
    const reversed = (datagram: Uint8Array): number[] =>
      datagram.byteLength > 200 ? [50 - order++, 60] : carry(datagram);
    const pair = new DtlsPair(
      clientOptions({ mtuBytes: 260 }),
      serverOptions({ mtuBytes: 260 }),
      reversed,
    );
    pair.run();
    assert.ok(pair.isEstablished);
    assert.ok(pair.now < 1_000);
  });
});

describe("greeting of a DTLS client", () => {
  test("comes behind Finished, in its datagram", () => {
    const pair = new DtlsPair(clientOptions({ greeting: Buffer.from("greeting") }));
    pair.run();
    assert.equal(pair.client.sent.length, 3);
    const last = decodeRecords(pair.client.sent[2] ?? new Uint8Array(0)).records;
    assert.deepEqual(
      last.map(({ type, epoch, seq }) => [type, epoch, seq]),
      [
        [22, 0, 2],
        [22, 0, 3],
        [22, 0, 4],
        [20, 0, 5],
        [22, 1, 0],
        [23, 1, 1],
      ],
    );
    assert.deepEqual(pair.server.data, ["greeting"]);
  });

  test("is repeated, byte for byte, with the flight and before four datagrams, and heard once", () => {
    let finals = 0;
    const carry = (datagram: Uint8Array, from: string): number[] =>
      from === "server" && datagram.byteLength === 75 && ++finals < 3 ? [] : [0];
    const greeting = Buffer.from("greeting");
    const pair = new DtlsPair(clientOptions({ greeting }), serverOptions(), carry);
    pair.run();
    for (let count = 0; count < 6; count += 1) pair.say("client", `${count}`);
    pair.run();
    assert.deepEqual(pair.server.data, ["greeting", "0", "1", "2", "3", "4", "5"]);
    const greetings = pair.client.sent.flatMap((datagram) => {
      const { records } = decodeRecords(datagram);
      return records.filter(({ payload }) => payload.byteLength === 24 + 8);
    });
    assert.ok(greetings.length >= 3 + 4, String(greetings.length));
    const different = new Set(greetings.map(({ payload }) => Buffer.from(payload).toString("hex")));
    assert.equal(different.size, 1);
    assert.equal(decodeRecords(pair.client.sent.at(-1) ?? new Uint8Array(0)).records.length, 1);
  });

  test("is not repeated once the peer has spoken", () => {
    const pair = new DtlsPair(clientOptions({ greeting: Buffer.from("greeting") }));
    pair.run();
    pair.say("server", "heard");
    pair.run();
    pair.say("client", "datagram");
    const last = pair.client.sent.at(-1) ?? new Uint8Array(0);
    assert.equal(decodeRecords(last).records.length, 1);
  });

  test("has a datagram of its own beside a long one", () => {
    const pair = new DtlsPair(clientOptions({ greeting: Buffer.alloc(275, "g") }));
    pair.run();
    const before = pair.client.sent.length;
    pair.say("client", "x".repeat(1_000));
    assert.equal(pair.client.sent.length, before + 2);
  });
});

describe("records that overtake the handshake", () => {
  test("wait for Finished, 100 of them at most", () => {
    const held: Uint8Array[] = [];
    const carry = (datagram: Uint8Array, from: string): number[] => {
      if (from === "client" && datagram.byteLength > 600) held.push(datagram);
      return from === "client" && datagram.byteLength > 600 ? [] : [0];
    };
    const pair = new DtlsPair(clientOptions(), serverOptions(), carry);
    pair.run(10);
    const flight = held[0] ?? new Uint8Array(0);
    const records = decodeRecords(flight).records;
    const sealed = records.at(-1);
    assert.ok(sealed?.epoch === 1);
    const junk = (): Uint8Array => encodeRecord(23, 1, 1_000, new Uint8Array(40));
    for (let count = 0; count < 150; count += 1) pair.deliver("server", junk());
    assert.equal(pair.server.session?.dropped, 50);
    pair.deliver("server", flight);
    pair.run(20);
    assert.equal(pair.server.established, 1);
  });

  test("are handed on behind the last flight that came late", () => {
    const carry = (datagram: Uint8Array, from: string): number[] =>
      from === "server" && datagram.byteLength === 75 ? [500] : [0];
    const pair = new DtlsPair(clientOptions(), serverOptions(), carry);
    pair.run(100);
    assert.equal(pair.server.established, 1);
    for (let count = 0; count < 150; count += 1) pair.say("server", `${count}`);
    pair.run(200);
    assert.deepEqual(pair.client.data, []);
    pair.run(600);
    // Its number is by now below the replay window: the repeated flight brings another one.
    assert.equal(pair.client.established, 0);
    pair.run();
    assert.equal(pair.client.established, 1);
    assert.equal(pair.client.data.length, 100);
    assert.equal(pair.client.data[99], "99");
  });

  test("end a handshake in time when the peer has closed behind a lost flight", () => {
    const carry = (datagram: Uint8Array, from: string): number[] =>
      from === "server" && datagram.byteLength === 75 ? [] : [0];
    const pair = new DtlsPair(clientOptions(), serverOptions(), carry);
    pair.run(100);
    pair.close("server");
    pair.run();
    assert.match(message(pair.client.end), /closed before the handshake was done/);
    assert.ok(pair.now <= 1_100);
  });
});
