import assert from "node:assert/strict";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, test } from "node:test";
import { joinStreams } from "./stdio.ts";

describe("standard input and output as one duplex", () => {
  test("carries both directions and each end by itself", async () => {
    const input = new PassThrough();
    const output = new PassThrough();
    const duplex = joinStreams(input, output);
    duplex.end("answer");
    assert.equal(await text(output), "answer");
    input.end("question");
    assert.equal(await text(duplex), "question");
    if (!duplex.closed) await once(duplex, "close");
  });

  test("pauses the input while nobody reads", async () => {
    const input = new PassThrough();
    const duplex = joinStreams(input, new PassThrough());
    duplex.read(0);
    let accepted = 0;
    while (input.write(Buffer.alloc(16_384)) && accepted < 1_000) {
      accepted++;
      await new Promise(setImmediate);
    }
    assert.ok(accepted < 1_000, `took ${accepted} chunks`);
    duplex.destroy();
  });

  test("fails when one of them fails", async () => {
    const output = new PassThrough();
    const duplex = joinStreams(new PassThrough(), output);
    const failed = once(duplex, "error");
    output.destroy(new Error("EPIPE"));
    const [error] = await failed;
    assert.match(String(error), /EPIPE/);
  });
});
