import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FREEDOMS } from "./vproxy-tunnel-freedoms.ts";
import { type EndPlan, PLANS } from "./vproxy-tunnel-plans.ts";
import { nameAll, replayTunnel, sentTo } from "./vproxy-tunnel-replay.ts";
import {
  type RecordedFrame,
  readTunnelTranscript,
  type Side,
  type TunnelTranscript,
  tunnelTranscriptNames,
} from "./vproxy-tunnel-transcript.ts";

describe("vproxy golden transcripts, tunnel frames", () => {
  for (const [name, ends] of Object.entries(PLANS)) {
    for (const side of ["client", "server"] as const) {
      const plan = ends[side];
      if (typeof plan === "string") continue;
      test(`replays ${name} as the ${side}`, async () => {
        const transcript = readTunnelTranscript(name);
        assert.equal(transcript.capturedFrom[side], "reference");
        const conns = new Set(transcript.frames.map(({ conn }) => conn));
        for (const conn of conns) await check(transcript, side, conn, plan);
        for (const conn of Object.keys(plan.over ?? {})) assert.ok(conns.has(Number(conn)));
      });
    }
  }

  test("leaves no copied transcript without a replay", () => {
    assert.deepEqual(Object.keys(PLANS).toSorted(), tunnelTranscriptNames().toSorted());
  });

  test("leaves out no end but those of probes", () => {
    for (const [name, ends] of Object.entries(PLANS)) {
      const { capturedFrom } = readTunnelTranscript(name);
      for (const side of ["client", "server"] as const) {
        assert.equal(typeof ends[side] === "string", capturedFrom[side] === "probe", name);
      }
    }
  });

  test("uses every freedom it claims", () => {
    const used = Object.values(PLANS).flatMap(({ client, server }) =>
      [client, server].flatMap((end) => (typeof end === "string" ? [] : (end.freedoms ?? []))),
    );
    assert.deepEqual([...new Set(used)].toSorted(), Object.keys(FREEDOMS).toSorted());
  });
});

async function check(
  transcript: TunnelTranscript,
  side: Side,
  conn: number,
  { compress = false, freedoms = [], over = {} }: EndPlan,
): Promise<void> {
  const what = `connection ${conn}`;
  const all = transcript.frames.filter((it) => it.conn === conn);
  const replayed = await replayTunnel(transcript, { side, conn, compress });
  let expected: readonly RecordedFrame[] = all.filter(({ from }) => from === side);
  for (const name of freedoms) expected = FREEDOMS[name].apply(expected, all);
  assert.deepEqual(replayed.said, nameAll(expected, compress), what);
  assert.equal(replayed.over, over[conn], what);
  if (replayed.heard.size > 0 || replayed.over === undefined) {
    assert.deepEqual(replayed.heard, sentTo(side, all), what);
  }
}
