import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { KCP_PROFILES } from "../../src/transports/kcp/kcp-options.ts";
import { KcpSession } from "../../src/transports/kcp/kcp-session.ts";
import { SegmentReader } from "../../src/transports/kcp/segment.ts";
import { assertBytes, hex } from "../support/hex.ts";

const VECTORS = join(import.meta.dirname, "..", "vectors", "vproxy");

/** Datagrams that make no sense, sent by a probe to see what happens. */
const MALFORMED: Readonly<Record<string, number>> = {
  "kcp-negative-junk-datagram conn 1 client": 1,
  "kcp-negative-junk-datagram conn 2 client": 1,
  "kcp-negative-junk-datagram conn 3 client": 1,
  "kcp-negative-junk-datagram conn 4 client": 1,
  "kcp-negative-junk-datagram conn 6 client": 1,
};

/** Bytes at the end of a stream that are no whole frame: a probe began with a preface of HTTP/2. */
const UNFRAMED: Readonly<Record<string, number>> = {
  "kcp-negative-first-frame conn 3 client": 24,
};

interface Line {
  readonly at: number;
  readonly from: "client" | "server";
  readonly layer: "udp" | "frame";
  readonly conn: number;
  readonly dropped?: boolean;
  readonly hex?: string;
  readonly length?: number;
  readonly sha256?: string;
}

describe("kcp golden datagrams", () => {
  const malformed: Record<string, number> = {};
  for (const name of scenarioNames()) {
    test(`puts both streams of ${name} together`, () => {
      for (const [side, lines] of sidesOf(name)) {
        const count = replay(lines, side);
        if (count > 0) malformed[side] = count;
      }
    });
  }

  test("met every malformed datagram and no other", () => assert.deepEqual(malformed, MALFORMED));
});

/** Feeds one side's datagrams to a session of ours. Returns how many were malformed. */
function replay(lines: readonly Line[], side: string): number {
  const session = new KcpSession(KCP_PROFILES.vproxy, 0);
  const received: Uint8Array[] = [];
  let receivedBytes = 0;
  let framedBytes = 0;
  const seen = new Set<number>();
  let acknowledgedBefore = 0;
  const heed = (datagrams: readonly Uint8Array[]): void => {
    for (const segment of segmentsOf(datagrams)) acknowledgedBefore = segment.unacknowledged;
  };
  for (const { at, layer, dropped, ...line } of lines) {
    const now = Math.round(at);
    heed(session.tick(now).datagrams);
    if (layer === "frame") {
      const byteLength = line.length ?? hex(line.hex ?? "").byteLength;
      assert.ok(receivedBytes >= framedBytes + byteLength, `${side}: late by ${now} ms`);
      const bytes = Buffer.concat(received).subarray(framedBytes, framedBytes + byteLength);
      if (line.sha256 === undefined) assertBytes(bytes, hex(line.hex ?? ""), side);
      else assert.equal(createHash("sha256").update(bytes).digest("hex"), line.sha256, side);
      framedBytes += byteLength;
    } else if (dropped !== true) {
      const datagram = hex(line.hex ?? "");
      for (const { isPush, sequence } of segmentsOf([datagram])) if (isPush) seen.add(sequence);
      const step = session.receive(datagram, now);
      heed(step.datagrams);
      for (const chunk of step.data) {
        received.push(chunk);
        receivedBytes += chunk.byteLength;
      }
    }
  }
  heed(session.tick((lines.at(-1)?.at ?? 0) + 1000).datagrams);
  assert.equal(receivedBytes - framedBytes, UNFRAMED[side] ?? 0, `${side}: nothing but frames`);
  let inOrder = 0;
  while (seen.has(inOrder)) inOrder++;
  assert.equal(acknowledgedBefore, inOrder, `${side}: acknowledged what arrived`);
  return session.malformed;
}

function* segmentsOf(
  datagrams: readonly Uint8Array[],
): Generator<{ isPush: boolean; sequence: number; unacknowledged: number }> {
  const reader = new SegmentReader({ conv: 0, skipsStrayBytes: false });
  for (const datagram of datagrams) {
    reader.open(datagram);
    while (reader.next()) {
      const { command, sequence, unacknowledged } = reader;
      yield { isPush: command === 81, sequence, unacknowledged };
    }
  }
}

/** The lines of each end of each session, by name. */
function sidesOf(name: string): Map<string, Line[]> {
  const [, ...rest] = readFileSync(join(VECTORS, `${name}.jsonl`), "utf8")
    .trim()
    .split("\n");
  const sides = new Map<string, Line[]>();
  for (const text of rest) {
    const line = JSON.parse(text) as Line;
    if (line.layer !== "udp" && line.layer !== "frame") continue;
    const side = `${name} conn ${line.conn} ${line.from}`;
    const lines = sides.get(side) ?? [];
    if (lines.length === 0) sides.set(side, lines);
    lines.push(line);
  }
  return sides;
}

function scenarioNames(): string[] {
  return readdirSync(VECTORS)
    .filter((file) => file.startsWith("kcp") && file.endsWith(".jsonl"))
    .map((file) => file.slice(0, -".jsonl".length));
}
