import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PongOptions } from "../../src/protocols/pong/options.ts";
import {
  assertCourteous,
  assertFrames,
  cutFrames,
  withoutCuts,
  type WireFrame,
} from "./pong-frames.ts";
import { FREEDOMS, type FreedomName } from "./pong-freedoms.ts";
import { replayLocal } from "./pong-local-replay.ts";
import { type EndPlan, PLANS } from "./pong-plans.ts";
import { replayRemote } from "./pong-remote-replay.ts";
import { HEADER_BYTES, type Replayed } from "./pong-replay.ts";
import { readTranscript, sentBytes, type Transcript, transcriptNames } from "./transcript.ts";

describe("pong golden transcripts", () => {
  for (const [name, plan] of Object.entries(PLANS)) {
    for (const side of ["local", "remote"] as const) {
      const end = plan[side];
      if (typeof end === "string") continue;
      test(`replays ${name} as the ${side}`, () => {
        const transcript = readTranscript("pong", name);
        for (const way of side === "local" ? localWays(transcript) : REMOTE_WAYS) {
          const replay = side === "local" ? replayLocal : replayRemote;
          check(replay(transcript, way.options), { transcript, side, end, way });
        }
      });
    }
  }

  test("leaves no copied transcript without a replay", () => {
    assert.deepEqual(Object.keys(PLANS).toSorted(), transcriptNames("pong").toSorted());
  });

  test("uses every freedom it claims", () => {
    const used = Object.values(PLANS).flatMap(({ local, remote }) =>
      [local, remote].flatMap((end) => (typeof end === "string" ? [] : (end.freedoms ?? []))),
    );
    used.push(...UNSURE);
    assert.deepEqual([...new Set(used)].toSorted(), Object.keys(FREEDOMS).toSorted());
  });
});

/** One way to run an end of ours. */
interface Way {
  readonly options: Partial<PongOptions>;
  /** Freedoms this way takes on top of the scenario's own. */
  readonly freedoms?: readonly FreedomName[];
  readonly saysHello?: boolean;
}

/** What a local does while its remote may be HEAD. */
const UNSURE: readonly FreedomName[] = ["finishHeld"];

const REMOTE_WAYS: readonly Way[] = [{ options: {} }, { options: { extensions: false } }];

function localWays({ isHead }: Transcript): readonly Way[] {
  const unsure = { freedoms: UNSURE };
  const asked: Way[] = [
    { options: {}, saysHello: true, ...unsure },
    { options: { extensions: false }, ...unsure },
  ];
  asked.push(isHead ? { options: { peer: "head" }, ...unsure } : { options: { peer: "v0.9.4" } });
  return asked;
}

function check(
  replayed: Replayed,
  { transcript, side, end, way }: { transcript: Transcript; side: Side; end: EndPlan; way: Way },
): void {
  const { wireLayer: layer } = transcript;
  const from = side === "local" ? "client" : "server";
  const conns = new Set(transcript.lines.filter((it) => it.layer === layer).map((it) => it.conn));
  assert.deepEqual([...replayed.sent.keys()], [...conns], "connections");
  assert.ok(conns.size > 0 || transcript.name === NOTHING_ON_THE_WIRE);
  for (const conn of conns) {
    const recorded = sentBytes(transcript, { layer, from, conn });
    const headerBytes = side === "local" ? HEADER_BYTES : 0;
    const sent = replayed.sent.get(conn) ?? new Uint8Array(0);
    if (side === "local") {
      const header = Buffer.concat([Uint8Array.of(0), transcript.clientId]);
      assert.deepEqual(Buffer.from(sent.subarray(0, HEADER_BYTES)), header, "connection header");
    }
    const cut = cutFrames(sent.subarray(headerBytes));
    assert.equal(cut.rest.byteLength, 0, "only whole frames");
    assertCourteous(cut.frames);
    const hellos = cut.frames.filter(({ id }) => id === 0);
    assert.equal(hellos.length, way.saysHello === true ? 1 : 0, "hello, and nothing behind it");
    let expected: readonly WireFrame[] = cutFrames(recorded.subarray(headerBytes)).frames;
    expected = expected.filter((frame) => !replayed.skipped.some((it) => isSame(it, frame)));
    for (const name of [...(end.freedoms ?? []), ...(way.freedoms ?? [])]) {
      expected = FREEDOMS[name].apply(expected, transcript, conn);
    }
    const actual = cut.frames.filter(({ id }) => id !== 0);
    const cutsAreFree = end.freedoms?.includes("freeCuts") === true;
    assertFrames(
      cutsAreFree ? withoutCuts(actual) : actual,
      cutsAreFree ? withoutCuts(expected) : expected,
      `frames of connection ${conn} with ${JSON.stringify(way.options)}`,
    );
  }
  assert.deepEqual(replayed.errors, end.errors ?? [], "streams that failed");
  assert.deepEqual(replayed.lost, end.lost ?? {}, "connections that were given up");
  assertFrames(replayed.later, end.later ?? [], "what deadlines still made it send");
}

function isSame(a: WireFrame, b: WireFrame): boolean {
  return a.id === b.id && a.type === b.type && Buffer.compare(a.payload, b.payload) === 0;
}

/** UDP ASSOCIATE at a local: it is answered there, and no connection is made. */
const NOTHING_ON_THE_WIRE = "tcp-socks-udp-associate";

type Side = "local" | "remote";
