/**
 * `node scripts/soak-linksocks.ts [--minutes 20] [--rate 200] [--kill-every 0]`: many short channels a
 * second through a provider, a server and a connector, each with its digest; memory and descriptors
 * of the three processes; optionally one of them killed and started again every so many seconds.
 * Prints one line of JSON, and ends with 1 when something was lost, leaked or did not come back.
 */
import { createHash, randomBytes, randomInt } from "node:crypto";
import { readdirSync, readFileSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { LaneRole } from "../test/support/linksocks-arguments.ts";
import { Lane } from "../test/support/linksocks-lane.ts";
import { tcpOrigin } from "../test/support/origin.ts";
import { socksConnect } from "../test/support/socks-app.ts";

const { values: flags } = parseArgs({
  options: {
    minutes: { type: "string", default: "20" },
    rate: { type: "string", default: "200" },
    "kill-every": { type: "string", default: "0" },
  },
});

/** What became of the channels. */
const channels = {
  whole: 0,
  /** Ended with an error: right while a process is away, wrong otherwise. */
  failedInOutage: 0,
  failed: 0,
  /** Ended in order, but not with the bytes that were sent: never right. */
  corrupted: 0,
  /** Neither ended nor went on. */
  stuck: 0,
  /** Not started, because too many were still open. */
  skipped: 0,
};

/** Memory and descriptors of one process at one time. */
interface Sample {
  readonly atMinutes: number;
  readonly rss: number;
  readonly descriptors: number;
}

const ROLES: readonly LaneRole[] = ["server", "provider", "client"];
const MAX_OPEN = 2_000;
const MAX_BYTES = 64 * 1024;
const STUCK_MS = 60_000;
const SAMPLE_MS = 5_000;
/** Channels that were open when a process died may fail for so long behind its return. */
const OUTAGE_MS = 5_000;
const RECOVERY_MS = 5_000;

const samples = new Map<LaneRole, Sample[]>();
const recoveries: { role: LaneRole; ms: number }[] = [];
const failures = new Map<string, number>();
let outageUntil = 0;
let open = 0;

const minutes = Number(flags.minutes);
const startedAt = performance.now();
const endsAt = startedAt + minutes * 60_000;

await using origin = await tcpOrigin((socket) => void socket.pipe(socket));
await using lane = await Lane.start({
  mode: "agent",
  isQuiet: true,
  deadlineMs: (minutes + 2) * 60_000,
});
await Promise.all([startChannels(), takeSamples(), killNowAndThen()]);
report();

/** Starts channels at an even rate, whatever became of those before. */
async function startChannels(): Promise<void> {
  const everyMs = 1000 / Number(flags.rate);
  const running = new Set<Promise<void>>();
  for (let count = 0; performance.now() < endsAt; count++) {
    const dueIn = startedAt + count * everyMs - performance.now();
    if (dueIn > 0) await sleep(dueIn);
    if (open >= MAX_OPEN) {
      channels.skipped++;
      continue;
    }
    const channel = runChannel().finally(() => running.delete(channel));
    running.add(channel);
  }
  await Promise.all(running);
}

async function runChannel(): Promise<void> {
  open++;
  const openedAt = performance.now();
  const timeout = Promise.withResolvers<"stuck">();
  const timer = setTimeout(() => timeout.resolve("stuck"), STUCK_MS);
  try {
    const outcome = await Promise.race([exchange(), timeout.promise]);
    channels[outcome]++;
  } catch (thrown) {
    const isExcused = openedAt < outageUntil || performance.now() < outageUntil;
    channels[isExcused ? "failedInOutage" : "failed"]++;
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    if (!isExcused) failures.set(text, (failures.get(text) ?? 0) + 1);
  } finally {
    clearTimeout(timer);
    open--;
  }
}

/** Sends some bytes, ends, and compares what comes back. */
async function exchange(): Promise<"whole" | "corrupted"> {
  const app = await socksConnect(lane.socksPort, { host: "127.0.0.1", port: origin.port });
  const bytes = randomBytes(randomInt(1, MAX_BYTES));
  const hash = createHash("sha256");
  app.end(bytes);
  try {
    for await (const chunk of app) hash.update(chunk as Buffer);
  } finally {
    app.on("error", () => {}).destroy();
  }
  const expected = createHash("sha256").update(bytes).digest("hex");
  return hash.digest("hex") === expected ? "whole" : "corrupted";
}

async function takeSamples(): Promise<void> {
  while (performance.now() < endsAt) {
    for (const role of ROLES) {
      const { pid = 0 } = lane.child(role).process;
      const sample = look(pid);
      if (sample !== undefined) samples.set(role, [...(samples.get(role) ?? []), sample]);
    }
    await sleep(SAMPLE_MS);
  }
}

function look(pid: number): Sample | undefined {
  try {
    const [, kib = "0"] =
      /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    const descriptors = readdirSync(`/proc/${pid}/fd`).length;
    const atMinutes = (performance.now() - startedAt) / 60_000;
    return { atMinutes, rss: Number(kib) * 1024, descriptors };
  } catch {
    return undefined; // it was just killed
  }
}

async function killNowAndThen(): Promise<void> {
  const everyMs = Number(flags["kill-every"]) * 1000;
  if (everyMs === 0) return;
  while (performance.now() + everyMs + RECOVERY_MS < endsAt) {
    await sleep(everyMs);
    const role = ROLES[randomInt(ROLES.length)] ?? "server";
    outageUntil = Number.POSITIVE_INFINITY;
    await lane.stopRole(role);
    samples.delete(role);
    const child = lane.startRole(role);
    const from = performance.now();
    await child;
    await lane.ready(10 * RECOVERY_MS);
    recoveries.push({ role, ms: Math.round(performance.now() - from) });
    outageUntil = performance.now() + OUTAGE_MS;
  }
}

function report(): void {
  const processes = Object.fromEntries(
    Array.from(samples, ([role, all]) => {
      // The first half warms up.
      const late = all.slice(Math.floor(all.length / 2));
      const last = late.at(-1);
      const slope = slopeOf(late) / 1024;
      const descriptors = [late[0]?.descriptors, last?.descriptors];
      return [role, { rssMiB: mib(last?.rss), slopeKiBPerMinute: Math.round(slope), descriptors }];
    }),
  );
  const slowest = Math.max(0, ...recoveries.map(({ ms }) => ms));
  const isGood =
    channels.whole > 0 &&
    channels.failed + channels.corrupted + channels.stuck === 0 &&
    slowest <= RECOVERY_MS;
  const summary = {
    isGood,
    minutes,
    rate: Number(flags.rate),
    channels,
    failures: Object.fromEntries(failures),
    recoveries: { count: recoveries.length, slowestMs: slowest },
    processes,
  };
  writeSync(1, `${JSON.stringify(summary)}\n`);
  process.exitCode = isGood ? 0 : 1;
}

/** Bytes a minute, by least squares. */
function slopeOf(all: readonly Sample[]): number {
  const mean = (of: (sample: Sample) => number): number =>
    all.reduce((sum, sample) => sum + of(sample), 0) / all.length;
  const [x, y] = [mean(({ atMinutes }) => atMinutes), mean(({ rss }) => rss)];
  const spread = all.reduce((sum, sample) => sum + (sample.atMinutes - x) ** 2, 0);
  const common = all.reduce((sum, { atMinutes, rss }) => sum + (atMinutes - x) * (rss - y), 0);
  return spread === 0 ? 0 : common / spread;
}

function mib(bytes = 0): number {
  return Math.round(bytes / 2 ** 20);
}
