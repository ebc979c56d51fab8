import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FREEDOMS } from "./linksocks-freedoms.ts";
import { type Plan, PLANS } from "./linksocks-plans.ts";
import { replay } from "./linksocks-replay.ts";
import { sideOf } from "./linksocks-sides.ts";
import { type LinksocksTranscript, readLinksocksTranscript } from "./linksocks-transcript.ts";
import { transcriptNames } from "./transcript.ts";
import { channelOf } from "./linksocks-wire.ts";

describe("linksocks golden transcripts", { concurrency: 4 }, () => {
  for (const [name, plans] of Object.entries(PLANS)) {
    if (typeof plans === "string") continue;
    for (const plan of plans) {
      const { role, conns } = plan;
      const part = conns === undefined ? "" : `, connections ${conns[0]} to ${conns.at(-1)}`;
      test(`replays ${name} as the ${role}${part}`, async () => {
        const transcript = prepare(readLinksocksTranscript(name), plan);
        const { surplus } = await replay(transcript, role);
        const said = new Set(surplus.map((text) => text.split(" of ")[0] ?? ""));
        assert.deepEqual(said, new Set(Object.keys(plan.surplus ?? {})));
      });
    }
  }

  test("leaves no copied transcript without a replay", () => {
    assert.deepEqual(Object.keys(PLANS).toSorted(), transcriptNames("linksocks").toSorted());
  });

  test("uses every freedom it claims", () => {
    const used = Object.values(PLANS).flatMap((plans) =>
      typeof plans === "string" ? [] : plans.flatMap(({ freedoms }) => freedoms ?? []),
    );
    assert.deepEqual([...new Set(used)].toSorted(), Object.keys(FREEDOMS).toSorted());
  });
});

/** The transcript as the plan wants it. */
function prepare(transcript: LinksocksTranscript, plan: Plan): LinksocksTranscript {
  const { role, conns, args, without = [], until, replies, freedoms = [] } = plan;
  let { lines } = transcript;
  if (conns !== undefined) lines = lines.filter(({ conn }) => conns.includes(conn));
  if (until !== undefined) lines = lines.filter(({ number }) => number < until.line);
  lines = lines.filter(({ layer, bytes }) => {
    const channel = layer === "ws" ? channelOf(bytes) : undefined;
    return channel === undefined || !without.some((digits) => channel.startsWith(digits));
  });
  const codes = [...(replies ?? [])];
  lines = lines.map((line) => {
    const side = sideOf(transcript.conns, line.conn, role);
    const isReply = side?.kind === "app" && line.from === "server" && line.bytes.byteLength === 10;
    if (!isReply || line.bytes[1] !== 4) return line;
    const bytes = Buffer.from(line.bytes);
    bytes[1] = codes.shift() ?? 4;
    return { ...line, bytes };
  });
  assert.deepEqual(codes, [], "every listed reply was recorded");
  for (const name of freedoms) lines = FREEDOMS[name].apply(lines);
  const own = args === undefined ? {} : { [role]: args };
  return { ...transcript, lines, args: { ...transcript.args, ...own } };
}
