import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { assertBytes } from "../support/hex.ts";
import { DEVIATIONS } from "./dtls-deviations.ts";
import { play, sentBy, toldTo } from "./dtls-replay.ts";
import {
  dtlsScenarios,
  type DtlsTranscript,
  type End,
  readDtlsTranscript,
} from "./dtls-transcript.ts";

describe("dtls golden sessions", () => {
  const used = new Set<string>();

  for (const name of dtlsScenarios()) {
    const transcript = readDtlsTranscript(name);
    for (const conn of new Set(transcript.datagrams.map((datagram) => datagram.conn))) {
      for (const end of ["client", "server"] as const) {
        // What a probe says is its own; its bytes come in through the other end.
        if (transcript.capturedFrom[end] !== "reference") continue;
        test(`takes the ${end}'s part of ${name}, connection ${conn}`, () => {
          replay(transcript, conn, end, used);
        });
      }
    }
  }

  test("deviates wherever it says it does", () => {
    assert.deepEqual([...used].toSorted(), Object.keys(DEVIATIONS).toSorted());
  });
});

function replay(transcript: DtlsTranscript, conn: number, end: End, used: Set<string>): void {
  const { sent, heard } = play(transcript, conn, end);
  const place = `${transcript.name} ${conn} ${end}`;
  const recorded = sentBy(transcript, conn, end);
  const whole = recorded.map(({ bytes }) => bytes);
  const deviation = DEVIATIONS[place];
  if (deviation !== undefined) used.add(place);
  const expected = deviation?.apply(whole) ?? whole;
  assert.equal(sent.length, expected.length, place);
  for (const [index, bytes] of sent.entries()) {
    const { sha256 } = recorded[index] ?? {};
    const wanted = expected[index] ?? [];
    if (sha256 === undefined) assertBytes(bytes, wanted, `${place}: datagram ${index}`);
    else assert.equal(createHash("sha256").update(bytes).digest("hex"), sha256, place);
  }
  const told = toldTo(transcript, conn, end);
  assert.equal(heard.length, told.length, `${place}: application records`);
  for (const [index, bytes] of told.entries()) assertBytes(heard[index] ?? [], bytes, place);
}
