import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { DtlsPair } from "../../../test/support/dtls-pair.ts";
import { encodeMessage, HandshakeType } from "./handshake-messages.ts";
import { ContentType, encodeRecord } from "./records.ts";

function live(): DtlsPair {
  const pair = new DtlsPair();
  pair.run();
  assert.ok(pair.isEstablished);
  return pair;
}

/** That both ends still carry datagrams both ways. */
function assertAlive(pair: DtlsPair): void {
  const before = [pair.client.data.length, pair.server.data.length];
  pair.say("client", "still");
  pair.say("server", "here");
  pair.run();
  assert.deepEqual(
    [pair.client.data.length, pair.server.data.length],
    before.map((count) => count + 1),
  );
}

describe("live DTLS session", () => {
  test("outlives whatever comes in epoch 0, and says nothing to it", () => {
    const pair = live();
    const sent = pair.client.sent.length + pair.server.sent.length;
    const hello = encodeMessage({ type: 1, seq: 0, body: new Uint8Array(60) });
    for (const to of ["client", "server"] as const) {
      for (const seq of [0, 7, 2 ** 40]) {
        for (const payload of [[2, 40], [2, 0], [1, 0], [1, 90], [2], []]) {
          const bytes = Uint8Array.from(payload);
          pair.deliver(to, encodeRecord(ContentType.alert, 0, seq, bytes));
        }
        pair.deliver(to, encodeRecord(ContentType.handshake, 0, seq, hello));
        pair.deliver(to, encodeRecord(ContentType.applicationData, 0, seq, Buffer.from("forged")));
        pair.deliver(to, encodeRecord(ContentType.changeCipherSpec, 0, seq, Uint8Array.of(1)));
        for (const datagram of [...pair.client.sent, ...pair.server.sent].slice(0, 3)) {
          pair.deliver(to, datagram);
        }
      }
    }
    assert.equal(pair.client.sent.length + pair.server.sent.length, sent);
    assert.deepEqual(pair.client.data, []);
    assertAlive(pair);
  });

  test("takes each record once, and none that is changed", () => {
    const pair = live();
    pair.say("client", "once");
    pair.run();
    const record = pair.client.sent.at(-1) ?? new Uint8Array(0);
    for (let copy = 0; copy < 3; copy += 1) pair.deliver("server", record);
    for (let at = 0; at < record.byteLength; at += 1) {
      const changed = Uint8Array.from(record);
      changed[at] = (changed[at] ?? 0) ^ 0x40;
      pair.deliver("server", changed);
    }
    pair.deliver("client", record);
    assert.deepEqual(pair.server.data, ["once"]);
    assert.deepEqual(pair.client.data, []);
    assert.ok((pair.server.session?.dropped ?? 0) >= record.byteLength);
    assertAlive(pair);
  });

  test("takes records out of order within 64 numbers", () => {
    const pair = live();
    const before = pair.client.sent.length;
    const client = pair.client.session;
    assert.ok(client !== undefined);
    const texts = Array.from({ length: 80 }, (_, index) => `${index}`);
    const records = texts.map((text) => client.send(Buffer.from(text), 0).datagrams[0]);
    for (const record of records.toReversed()) {
      pair.deliver("server", record ?? new Uint8Array(0));
    }
    assert.deepEqual(pair.server.data, texts.toReversed().slice(0, 64));
    assert.equal(pair.client.sent.length, before);
    assertAlive(pair);
  });

  test("has no use for handshake messages of its own epoch", () => {
    const pair = live();
    assertAlive(pair);
    const forged = encodeRecord(ContentType.handshake, 1, 9, new Uint8Array(60));
    pair.deliver("server", forged);
    pair.deliver("server", encodeRecord(ContentType.handshake, 2, 9, new Uint8Array(60)));
    assertAlive(pair);
  });

  test("outlives arbitrary datagrams and arbitrary changes of real ones", () => {
    const pair = live();
    pair.say("client", "a datagram");
    pair.say("server", "a datagram");
    pair.run();
    const real = [...pair.client.sent, ...pair.server.sent];
    const changed = fc
      .tuple(fc.constantFrom(...real), fc.nat(2_000), fc.integer({ min: 1, max: 255 }), fc.nat(900))
      .map(([bytes, at, mask, cut]) => {
        const copy = Uint8Array.from(bytes);
        const index = at % copy.byteLength;
        copy[index] = (copy[index] ?? 0) ^ mask;
        return cut < copy.byteLength && cut % 3 === 0 ? copy.subarray(0, cut) : copy;
      });
    const datagram = fc.oneof(fc.uint8Array({ maxLength: 200 }), changed);
    fc.assert(
      fc.property(datagram, fc.constantFrom("client" as const, "server" as const), (bytes, to) => {
        pair.deliver(to, Uint8Array.from(bytes));
        pair.run();
        assert.equal(pair.client.end ?? pair.server.end, undefined);
      }),
      { numRuns: 2_000 },
    );
    assertAlive(pair);
  });
});

describe("DTLS handshake under forged datagrams", () => {
  test("ends with an error or goes on, and throws nothing", () => {
    const real = live();
    const known = [...real.client.sent, ...real.server.sent];
    const changed = fc
      .tuple(fc.constantFrom(...known), fc.nat(2_000), fc.integer({ min: 1, max: 255 }))
      .map(([bytes, at, mask]) => {
        const copy = Uint8Array.from(bytes);
        const index = at % copy.byteLength;
        copy[index] = (copy[index] ?? 0) ^ mask;
        return copy;
      });
    const message = fc
      .tuple(fc.constantFrom(...Object.values(HandshakeType)), fc.nat(6), fc.uint8Array())
      .map(([type, seq, body]) =>
        encodeRecord(ContentType.handshake, 0, 3, encodeMessage({ type, seq, body })),
      );
    const datagram = fc.oneof(fc.uint8Array({ maxLength: 100 }), changed, message);
    fc.assert(
      fc.property(
        fc.array(datagram, { maxLength: 8 }),
        fc.integer({ min: 1, max: 5 }),
        (datagrams, after) => {
          let count = 0;
          const pair: DtlsPair = new DtlsPair(undefined, undefined, (_, from) => {
            if (count++ === after) {
              for (const bytes of datagrams) {
                pair.deliver(from === "client" ? "server" : "client", Uint8Array.from(bytes));
              }
            }
            return [1];
          });
          pair.run(60_000);
          const isOver = pair.client.session?.deadline === undefined;
          assert.ok(isOver && pair.server.session?.deadline === undefined);
        },
      ),
      { numRuns: 150 },
    );
  });

  test("is not stopped by a stray piece, an unknown record or junk", () => {
    const junk = [
      new Uint8Array(0),
      new Uint8Array(12),
      Uint8Array.of(22, 3, 3, 0, 0),
      encodeRecord(99, 0, 3, new Uint8Array(5)),
      encodeRecord(ContentType.handshake, 0, 3, new Uint8Array(11)),
      encodeRecord(ContentType.applicationData, 0, 3, new Uint8Array(30)),
      encodeRecord(ContentType.applicationData, 7, 3, new Uint8Array(30)),
      encodeRecord(ContentType.handshake, 0, 3, encodeMessage({ type: 0, seq: 2, body: EMPTY })),
      encodeRecord(ContentType.handshake, 0, 3, encodeMessage({ type: 20, seq: 2, body: EMPTY })),
      encodeRecord(ContentType.handshake, 0, 3, encodeMessage({ type: 11, seq: 40, body: EMPTY })),
    ];
    let isFirst = true;
    const pair: DtlsPair = new DtlsPair(undefined, undefined, () => {
      for (const bytes of isFirst ? [] : junk) {
        if (pair.server.session !== undefined) pair.deliver("server", Uint8Array.from(bytes));
        pair.deliver("client", Uint8Array.from(bytes));
      }
      isFirst = false;
      return [1];
    });
    pair.run();
    assert.ok(pair.isEstablished);
    assertAlive(pair);
  });
});

const EMPTY = new Uint8Array(0);
