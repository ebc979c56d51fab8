/**
 * `node bench/fuzz-dtls.ts [--datagrams 10000000] [--seconds 360] [--seed 1] [--sessions 8]`: besieges
 * a `listenDtls` server that has live sessions (`dtls-siege.ts`) until so many datagrams were sent or
 * so much time is over. Says what must not be, how fast memory grows, and ends with 1 for any of it.
 *
 * `--handshakes 10000`: instead, so many handshakes over lines that lose, double and reorder
 * (`dtls-lossy.ts`); says how many came to nothing, and how long the others took on the line's clock.
 */
import { writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { makeDtlsCertificates } from "./dtls-certificates.ts";
import { shakeHandsOver } from "./dtls-lossy.ts";
import { DtlsSiege } from "./dtls-siege.ts";

const { values: flags } = parseArgs({
  options: {
    datagrams: { type: "string", default: "10000000" },
    seconds: { type: "string", default: "360" },
    seed: { type: "string", default: "1" },
    sessions: { type: "string", default: "8" },
    handshakes: { type: "string", default: "0" },
  },
});
const say = (text: string): void => void writeSync(1, `${text}\n`);
const until = performance.now() + Number(flags.seconds) * 1_000;

async function besiege(): Promise<void> {
  const seed = Number(flags.seed);
  const siege = new DtlsSiege(seed, makeDtlsCertificates());
  const { counts, findings } = siege;
  await siege.start(Number(flags.sessions));
  const total = Number(flags.datagrams);
  const samples: Sample[] = [];
  const startedAt = performance.now();
  for (let nextSample = 0; counts.datagrams < total && performance.now() < until; ) {
    await siege.round();
    if (findings.length > 0) break;
    if (counts.datagrams < nextSample) continue;
    siege.calm();
    samples.push(takeSample(counts.datagrams));
    nextSample = counts.datagrams + SAMPLE_EVERY;
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  await siege.end();
  // The heap has its size after the first third: from there on it must not grow.
  const later = samples.slice(Math.floor(samples.length / 3));
  say(`seed ${seed}: ${counts.datagrams} datagrams in ${seconds.toFixed(0)} s`);
  say(`  ${counts.intruders} handshakes of besiegers, ${counts.entered} complete`);
  say(`  ${counts.echoes} echoes of ${flags.sessions} sessions, ${counts.renewed} renewed`);
  for (const [reason, count] of [...counts.refused].toSorted((one, two) => two[1] - one[1])) {
    say(`  refused ${count}: ${reason}`);
  }
  for (const kind of ["heap", "external", "resident"] as const) {
    const [first, last] = [later[0]?.[kind] ?? 0, later.at(-1)?.[kind] ?? 0];
    const slope = slopeOf(later.map((sample) => [sample.datagrams, sample[kind]]));
    const kilobytes = [first, last, slope * 1e6].map((bytes) => (bytes / 1_024).toFixed(0));
    say(`  ${kind}: ${kilobytes[0]} to ${kilobytes[1]} KiB, ${kilobytes[2]} KiB per million`);
  }
  conclude(findings);
}

async function shakeHands(): Promise<void> {
  const count = Number(flags.handshakes);
  const certificates = makeDtlsCertificates();
  const findings: string[] = [];
  const took = new Map<number, number[]>();
  let [datagrams, ungreeted] = [0, 0];
  for (let at = 0; at < count && performance.now() < until; at++) {
    const loss = LOSSES[at % LOSSES.length] ?? 0;
    const seed = Number(flags.seed) + at;
    const line = { seed, loss, duplicates: 0.1, delayMs: 100 };
    const { tookMs, error, ...rest } = await shakeHandsOver(line, certificates);
    datagrams += rest.datagrams;
    if (tookMs === undefined) findings.push(`seed ${seed}, loss ${loss}: ${String(error)}`);
    else took.set(loss, [...(took.get(loss) ?? []), tookMs]);
    if (tookMs !== undefined && !rest.isGreeted) ungreeted++;
  }
  for (const [loss, times] of took) {
    const sorted = times.toSorted((one, two) => one - two);
    const at = (share: number): string =>
      (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(0);
    const quantiles = `p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, slowest ${at(1)} ms`;
    say(`loss ${100 * loss} %: ${times.length} done, ${quantiles}`);
  }
  const done = [...took.values()].reduce((sum, { length }) => sum + length, 0);
  say(`${done} done, ${findings.length} not; ${(datagrams / done).toFixed(1)} datagrams each`);
  say(`${ungreeted} whose greeting was lost with all its copies`);
  conclude(findings);
}

interface Sample {
  readonly datagrams: number;
  readonly heap: number;
  readonly external: number;
  readonly resident: number;
}

function takeSample(datagrams: number): Sample {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect === "function") for (let pass = 0; pass < 2; pass++) collect();
  const { heapUsed: heap, external, rss: resident } = process.memoryUsage();
  return { datagrams, heap, external, resident };
}

/** Of the line that fits best. */
function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(points.map((point) => point[0])), mean(points.map((point) => point[1]))];
  const spread = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
  return points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0) / spread;
}

function conclude(findings: readonly string[]): void {
  for (const finding of findings.slice(0, 20)) say(`FOUND ${finding}`);
  say(findings.length === 0 ? "nothing found" : `${findings.length} found`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}

const SAMPLE_EVERY = 50_000;
const LOSSES = [0, 0.05, 0.1, 0.15, 0.2];

// Last, when the constants above are there.
await (Number(flags.handshakes) > 0 ? shakeHands() : besiege());
