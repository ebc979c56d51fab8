#!/usr/bin/env node
import { setFlagsFromString } from "node:v8";
import { processIo } from "./io.ts";
import { runCli } from "./run-cli.ts";

// A young generation that stays small keeps read buffers in the processor's cache, and returns them
// soon: ws carries half as much again up, tcp the same. See docs/performance.md.
setFlagsFromString("--semi-space-growth-factor=1");
// The collector's helper threads wait for a processor that the tunnel keeps busy, and the tunnel for
// them: without them the heaviest streams are a third faster, and small ones beside them sooner.
setFlagsFromString("--no-parallel-scavenge");
setFlagsFromString("--no-concurrent-marking");

const code = await runCli(process.argv.slice(2), processIo());
// What is still open belongs to peers that do not answer; what was printed must get out first.
for (const output of [process.stdout, process.stderr]) {
  await new Promise<void>((resolve) => {
    if (output.writableLength === 0 || output.destroyed) resolve();
    else output.write("", () => resolve());
  });
}
process.exit(code);
