import { once } from "node:events";
import type { Order, Result } from "./load.ts";
import { cpuSeconds, type Member, residentBytes } from "./processes.ts";
import type { Way } from "./ways.ts";

/** Takes what was measured once; the table shows the median. */
export type Note = (way: Way, metric: string, value: number) => void;

/** Has an order carried out by the common client. */
export type Ask = (what: Order) => Promise<Result>;

/** Gives a `load.ts` an order and waits for what it measured. */
export async function ask({ child }: Member, what: Order): Promise<Result> {
  child.send(what);
  const [answer] = await once(child, "message", { signal: AbortSignal.timeout(120_000) });
  // load.ts answers every order with a result or an error.
  const result = answer as Result & { error?: string };
  if (result.error !== undefined) {
    throw new Error(`${what.kind}: ${result.error} (${JSON.stringify(what)})`);
  }
  return result;
}

/** One stream and sixteen, each way, and what a gigabyte costs. */
export async function throughput(way: Way, order: Ask, note: Note): Promise<void> {
  const { port, target } = way;
  for (const direction of ["up", "down"] as const) {
    for (const [name, count] of [
      ["stream", 1],
      ["streams16", 16],
    ] as const) {
      const before = way.hops.reduce((sum, hop) => sum + cpuSeconds(hop), 0);
      const result = await order({ kind: "stream", port, target, direction, count, ms: STREAM_MS });
      const used = way.hops.reduce((sum, hop) => sum + cpuSeconds(hop), 0) - before;
      note(way, `${name}.${direction}`, (result.bytesPerSecond ?? 0) / 1e6);
      if (name === "stream") note(way, "cpu.perGiB", (used / (result.bytes ?? 1)) * 2 ** 30);
    }
  }
}

/** Opens per second, and the time of small echoes on an idle way. */
export async function latency(
  way: Way,
  order: Ask,
  {
    note,
    targetPort,
    isFirst,
  }: { readonly note: Note; readonly targetPort: number; readonly isFirst: boolean },
): Promise<void> {
  const { port, opener, target } = way;
  const place = opener === undefined ? { port, target } : { port: targetPort };
  const open: Order = { kind: "open", ...place, ms: OPEN_MS, parallel: 32, count: way.maxOpens };
  // The reference of LinkSocks goes on for five seconds with transfers that were left.
  if (target !== undefined) await new Promise((resolve) => setTimeout(resolve, LEFT_MS));
  // Through relays a connection is open before anybody reached the origin: nothing to compare.
  if (way.system !== "pipe") {
    const run = async (what: Order): Promise<Result> =>
      await (opener === undefined ? order(what) : ask(opener, what));
    if (isFirst && way.maxOpens === undefined) await run({ ...open, ms: WARM_UP_MS });
    note(way, "open", (await run(open)).opensPerSecond ?? 0);
  }
  const echoes = await order({ kind: "echo", port, target, count: 10_000 });
  note(way, "echo.p50", echoes.p50 ?? 0);
  note(way, "echo.p99", echoes.p99 ?? 0);
}

/** Small echoes beside and behind a bulk transfer. */
export async function latencyUnderLoad({ way, ask: order, askOther, note }: Load): Promise<void> {
  const { port, target } = way;
  const ms = BESIDE_MS + 2 * SETTLE_MS;
  const bulk = askOther({ kind: "stream", port, target, direction: "down", count: 1, ms });
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const beside = await order({ kind: "echo", port, target, count: 1e6, ms: BESIDE_MS });
  await bulk;
  note(way, "echo.p50.bulk", beside.p50 ?? 0);
  note(way, "echo.p99.bulk", beside.p99 ?? 0);
  const behind = await order({ kind: "echoAfter", port, target, count: BULK_BYTES });
  note(way, "echo.afterBulk", behind.p50 ?? 0);
}

interface Load {
  readonly way: Way;
  readonly ask: Ask;
  /** The same in a second process, so that neither client waits for the other. */
  readonly askOther: Ask;
  readonly note: Note;
}

/** Bytes of the fatter process per idle stream. */
export async function idleMemory(way: Way, order: Ask, count: number): Promise<number> {
  const { port, target } = way;
  // A first batch grows the heap to its working size, so that the second shows streams only.
  await order({ kind: "idle", port, target, count: 200 });
  await settle();
  const before = way.hops.map(residentBytes);
  await order({ kind: "idle", port, target, count });
  await settle();
  const after = way.hops.map(residentBytes);
  await order({ kind: "release" });
  return Math.max(...after.map((bytes, at) => (bytes - (before[at] ?? 0)) / count));
}

/** Lets the processes collect what the opening left behind. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 3000));
}

const STREAM_MS = 1500;
const OPEN_MS = 1500;
/** Until the compiler has seen what opens a stream. */
const WARM_UP_MS = 4000;
const LEFT_MS = 7000;
const BESIDE_MS = 3000;
const SETTLE_MS = 500;
const BULK_BYTES = 16 * 1024 * 1024;
