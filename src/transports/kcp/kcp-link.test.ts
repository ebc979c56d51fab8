import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes } from "../../../test/support/chunks.ts";
import { assertBytes } from "../../../test/support/hex.ts";
import { type KcpEnd, KcpLink, seededRandom } from "../../../test/support/kcp-link.ts";
import { KCP_PROFILES, type KcpOptions } from "./kcp-options.ts";

const VPROXY = KCP_PROFILES.vproxy;

interface Act {
  readonly side: "left" | "right";
  readonly what: "write" | "pause" | "resume";
  readonly byteLength: number;
  readonly thenMs: number;
}

describe("kcp over a bad link", () => {
  test("delivers everything in order whatever the link does", () => {
    const act = fc.record({
      side: fc.constantFrom("left", "right"),
      what: fc.constantFrom("write", "write", "write", "pause", "resume"),
      byteLength: fc.oneof(fc.nat(3000), fc.nat(40_000)),
      thenMs: fc.oneof(fc.constant(0), fc.nat(300)),
    });
    const conditions = fc.record({
      lossRate: fc.double({ min: 0, max: 0.3, noNaN: true }),
      duplicateRate: fc.double({ min: 0, max: 0.3, noNaN: true }),
      delayMs: fc.nat(150),
      jitterMs: fc.nat(100),
    });
    const profile = fc.constantFrom<KcpOptions>(
      ...Object.values(KCP_PROFILES),
      { ...VPROXY, sendWindow: 5, receiveWindow: 7 },
      { ...VPROXY, mtuBytes: 100, burstSegments: 3, segmentsPerMs: 1 },
    );
    // Both directions wrap within the first segments.
    const firstSequence = fc.constantFrom(0, 0xfffffff8, 0x7ffffffc);
    const seeds = fc.integer({ min: 1, max: 1_000_000 });
    fc.assert(
      fc.property(
        fc.array(act, { minLength: 1, maxLength: 12 }),
        conditions,
        profile,
        firstSequence,
        seeds,
        (acts, link, options, sequence, seed) =>
          checkDelivery(acts, new KcpLink(options, link, { seed, firstSequence: sequence })),
      ),
      { numRuns: 150 },
    );
  });

  test("crosses the wrap of sequence numbers and clock in bulk", () => {
    const link = new KcpLink(
      VPROXY,
      { lossRate: 0.05, delayMs: 10, jitterMs: 5 },
      { firstSequence: 0xffffffff - 700, startAt: 0xffffffff - 60 },
    );
    const sent = patternBytes(3_000_000);
    link.write(link.left, sent);
    assert.ok(link.run(() => link.right.receivedBytes === sent.byteLength, 5000));
    assertBytes(link.right.received, sent);
    link.pass(2000);
    assert.equal(link.left.session.deadline, undefined);
  });

  test("keeps its goodput with 10 percent loss and 300 ms of round trip", () => {
    const link = new KcpLink(VPROXY, { lossRate: 0.1, delayMs: 150 });
    const sent = patternBytes(4_000_000);
    link.write(link.left, sent);
    assert.ok(link.run(() => link.right.receivedBytes === sent.byteLength, 10_000));
    const overhead = link.left.sentBytes / sent.byteLength;
    assert.ok(overhead < 1.3, `sent ${overhead.toFixed(2)} times the data`);
  });

  test("does not send twice what is only late", () => {
    const link = new KcpLink(VPROXY, { delayMs: 20 });
    link.write(link.left, patternBytes(1226 * 50));
    assert.ok(link.run(() => link.left.session.unacknowledgedBytes === 0, 500));
    link.write(link.left, patternBytes(1226 * 2000));
    assert.ok(link.run(() => link.left.session.unacknowledgedBytes === 0, 2000));
    assert.equal(link.left.sentDatagrams, 2050);
  });

  test("does not drown a slow link when the profile has a congestion window", () => {
    const bottleneck = new Bottleneck(200, 100_000, 25);
    const link = new KcpLink(KCP_PROFILES.normal, { route: bottleneck.route });
    const sent = patternBytes(2_000_000);
    link.write(link.left, sent);
    assert.ok(link.run(() => link.right.receivedBytes === sent.byteLength, 20_000));
    assertBytes(link.right.received, sent);
    assert.ok(link.left.sentBytes < sent.byteLength * 1.15, "few losses");
  });

  test("keeps sessions that share a bottleneck fair", () => {
    for (const profile of ["vproxy", "normal"] as const) {
      // 10 Mbit/s with 100 ms of queue: far less than the windows of all of them.
      const bottleneck = new Bottleneck(1250, 125_000, 20);
      const links = Array.from({ length: 8 }, (_, index) => {
        const link = new KcpLink(
          KCP_PROFILES[profile],
          { route: bottleneck.route },
          { seed: index + 1 },
        );
        link.write(link.left, patternBytes(10_000_000));
        return link;
      });
      for (let ms = 0; ms < 20_000; ms++) {
        for (const link of links) {
          link.now++;
          link.turn();
        }
      }
      const got = links.map((link) => link.right.receivedBytes);
      const total = got.reduce((sum, bytes) => sum + bytes, 0);
      const squares = got.reduce((sum, bytes) => sum + bytes * bytes, 0);
      const fairness = total ** 2 / (got.length * squares);
      assert.ok(fairness > 0.8, `${profile}: fairness ${fairness.toFixed(2)} of ${got.join(", ")}`);
      assert.ok(Math.min(...got) > 0);
      const used = total / (1250 * 20_000);
      assert.ok(used > 0.5, `${profile}: goodput ${(100 * used).toFixed(0)} percent of the link`);
    }
  });

  test("recovers after the link was cut for 20 s", () => {
    const link = new KcpLink(VPROXY);
    link.write(link.left, patternBytes(10_000));
    link.pass(50);
    link.conditions = { lossRate: 1 };
    link.write(link.left, patternBytes(3_000_000));
    link.pass(20_000);
    link.conditions = { delayMs: 5 };
    assert.ok(link.run(() => link.right.receivedBytes === 3_010_000, 15_000));
  });
});

/** The naive model: what arrives is a prefix of what was written, and in the end all of it. */
function checkDelivery(acts: readonly Act[], link: KcpLink): void {
  const written = { left: [] as Uint8Array[], right: [] as Uint8Array[] };
  const isPaused = { left: false, right: false };
  for (const [index, { side, what, byteLength, thenMs }] of acts.entries()) {
    const end = link[side];
    if (what === "pause") {
      end.session.pause();
      isPaused[side] = true;
    } else if (what === "resume") {
      isPaused[side] = false;
      link.resume(end);
    } else {
      const data = patternBytes(byteLength, index + 1);
      written[side].push(data.slice());
      link.write(end, data);
    }
    const before = end.receivedBytes;
    if (thenMs > 0) link.pass(thenMs);
    if (isPaused[side]) assert.equal(end.receivedBytes, before, "a paused reader gets nothing");
  }
  link.resume(link.left);
  link.resume(link.right);
  const isDone = (): boolean =>
    link.left.session.unacknowledgedBytes === 0 && link.right.session.unacknowledgedBytes === 0;
  assert.ok(link.run(isDone, 600_000), "everything is acknowledged in the end");
  link.pass(60_000);
  assertBytes(link.right.received, written.left);
  assertBytes(link.left.received, written.right);
  for (const end of [link.left, link.right]) {
    assert.equal(end.error, undefined);
    assert.equal(end.session.malformed, 0);
    assert.equal(end.session.deadline, undefined, "an idle session waits for nothing");
  }
}

/** One queue in front of a slow line, shared by all who send through it; back is free. */
class Bottleneck {
  readonly #bytesPerMs: number;
  readonly #queueBytes: number;
  readonly #delayMs: number;
  readonly #random = seededRandom(7);
  #freeAt = 0;

  constructor(bytesPerMs: number, queueBytes: number, delayMs: number) {
    this.#bytesPerMs = bytesPerMs;
    this.#queueBytes = queueBytes;
    this.#delayMs = delayMs;
  }

  readonly route = (datagram: Uint8Array, _from: KcpEnd, now: number): number | undefined => {
    // Acknowledgements are small; where they go matters less than that they need no queue.
    if (datagram.byteLength < 100) return this.#delayMs + this.#random() * 2;
    const waitMs = Math.max(0, this.#freeAt - now);
    if (waitMs * this.#bytesPerMs > this.#queueBytes) return undefined;
    this.#freeAt = Math.max(now, this.#freeAt) + datagram.byteLength / this.#bytesPerMs;
    return waitMs + this.#delayMs + this.#random() * 2;
  };
}
