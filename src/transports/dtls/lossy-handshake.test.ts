import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type Carrier,
  clientOptions,
  DtlsPair,
  serverOptions,
} from "../../../test/support/dtls-pair.ts";

interface Line {
  readonly loss: number;
  readonly duplication: number;
  /** Each datagram takes up to this long, so that they pass each other. */
  readonly delayMs: number;
}

/** A way whose whole fate follows from its seed. */
function line({ loss, duplication, delayMs }: Line, seed: number): Carrier {
  const random = mulberry32(seed);
  return () => {
    const copies = random() < loss ? 0 : random() < duplication ? 2 : 1;
    return Array.from({ length: copies }, () => Math.floor(random() * delayMs));
  };
}

function shake(settings: Line, seed: number, mtuBytes?: number): DtlsPair {
  const greeting = Buffer.from("greeting");
  const pair = new DtlsPair(
    clientOptions({ mtuBytes, greeting }),
    serverOptions({ mtuBytes }),
    line(settings, seed),
  );
  pair.run();
  return pair;
}

const LINES: Readonly<Record<string, Line>> = {
  "loses every fifth datagram": { loss: 0.2, duplication: 0, delayMs: 1 },
  "loses every fifth, doubles every fifth, and mixes them": {
    loss: 0.2,
    duplication: 0.2,
    delayMs: 80,
  },
  "takes longer than the first wait": { loss: 0, duplication: 0.1, delayMs: 1_500 },
};

describe("DTLS handshake on a line that", () => {
  for (const [name, settings] of Object.entries(LINES)) {
    test(`${name} is done before its deadline, whatever the seed`, () => {
      let datagrams = 0;
      for (let seed = 1; seed <= SEEDS; seed += 1) {
        const pair = shake(settings, seed);
        assert.ok(
          pair.isEstablished,
          `seed ${seed}: ${String(pair.client.end ?? pair.server.end)}`,
        );
        assert.deepEqual(pair.server.data, ["greeting"], `seed ${seed}`);
        assert.equal(pair.client.end, undefined);
        assert.equal(pair.server.end, undefined);
        datagrams += pair.client.sent.length + pair.server.sent.length;
      }
      assert.ok(datagrams / SEEDS < 40, `${datagrams / SEEDS} datagrams each`);
    });
  }

  test("loses every tenth piece of a flight of many pieces is done as well", () => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const pair = shake({ loss: 0.1, duplication: 0.1, delayMs: 30 }, seed, 400);
      assert.ok(pair.isEstablished, `seed ${seed}`);
    }
  });

  test("loses one datagram, whichever, takes a second longer at most", () => {
    for (let lost = 0; lost < 6; lost += 1) {
      let count = 0;
      const pair = new DtlsPair(clientOptions(), serverOptions(), () =>
        count++ === lost ? [] : [0],
      );
      pair.run();
      assert.ok(pair.isEstablished, `without datagram ${lost}`);
      assert.equal(pair.now, 1_000);
    }
  });

  test("doubles every datagram makes nobody send more", () => {
    const pair = new DtlsPair(clientOptions(), serverOptions(), () => [0, 0]);
    pair.run();
    assert.ok(pair.isEstablished);
    assert.equal(pair.client.sent.length, 3);
    assert.equal(pair.server.sent.length, 2);
  });
});

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SEEDS = Number(process.env["SLUICE_DTLS_SEEDS"] ?? 100);
