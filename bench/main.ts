/**
 * `npm run bench [-- --json] [-- --only pong/tcp] [-- --rounds 3]`: one table from one run. Every
 * number stands beside a plain baseline measured in the same rounds: two chained `pipe` relays in
 * their own processes for throughput, memory and CPU, direct connections for opens and echoes.
 */
import { once } from "node:events";
import { writeSync } from "node:fs";
import os from "node:os";
import { parseArgs } from "node:util";
import type { Order, Result } from "./load.ts";
import {
  cpuSeconds,
  freePort,
  type Member,
  residentBytes,
  startScript,
  startSluice,
} from "./processes.ts";
import { formatTable, median, type Report, type Row } from "./report.ts";
import { makeCertificate } from "./certificate.ts";

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    rounds: { type: "string", default: "3" },
    idle: { type: "string", default: "5000" },
  },
});

/** A way to the origin: its port, and the processes whose CPU and memory count. */
interface Way {
  readonly system: string;
  readonly transport: string;
  readonly port: number;
  readonly hops: readonly Member[];
  /** A near end that opens streams by itself. */
  readonly opener?: Member;
}

async function measure(everything: AsyncDisposableStack): Promise<Report> {
  const target = everything.use(await startScript("target.ts", "0"));
  const load = everything.use(await startScript("load.ts"));
  const order: Ask = async (what) => await ask(load, what);
  const seen = new Map<string, number[]>();
  const note = (way: Way, metric: string, value: number): void => {
    const key = `${way.system}/${way.transport}/${metric}`;
    seen.set(key, [...(seen.get(key) ?? []), value]);
  };
  const transports = TRANSPORTS.filter((name) => `pong/${name}`.startsWith(flags.only));
  // Processes of their own: after a load, the streams would fit into what the heap has already.
  for (const transport of ["pipe", ...transports]) {
    await using fresh = new AsyncDisposableStack();
    const way =
      transport === "pipe"
        ? await startPipes(fresh, target.port)
        : await startPong(fresh, transport, target.port);
    note(way, "memory.idleStream", await idleMemory(way, order));
  }
  const direct: Way = { system: "direct", transport: "tcp", port: target.port, hops: [] };
  const pipes = await startPipes(everything, target.port);
  const ways: Way[] = [];
  for (const transport of transports) {
    ways.push(await startPong(everything, transport, target.port));
  }
  const rounds = Math.max(1, Number(flags.rounds));
  for (let round = 0; round < rounds; round++) {
    for (const way of [pipes, ...ways]) await throughput(way, order, note);
    for (const way of [direct, pipes, ...ways])
      await latency(way, order, { note, targetPort: target.port, isFirst: round === 0 });
  }
  const value = (way: Way, metric: string): number =>
    median(seen.get(`${way.system}/${way.transport}/${metric}`) ?? []);
  const rows = [pipes, ...ways].flatMap((way) =>
    METRICS.filter(([metric]) => way !== pipes || metric.startsWith("echo")).map(
      ([metric, unit, base]): Row => {
        const baseline = value(base === "direct" ? direct : pipes, metric);
        const mine = value(way, metric);
        return {
          system: way.system,
          transport: way.transport,
          metric,
          value: mine,
          unit,
          baseline,
          ratio: mine / baseline,
        };
      },
    ),
  );
  const cpu = os.cpus()[0]?.model ?? "unknown";
  return {
    machine: `${os.cpus().length} x ${cpu}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${os.type()} ${os.release()}`,
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
    rows,
  };
}

type Note = (way: Way, metric: string, value: number) => void;
type Ask = (what: Order) => Promise<Result>;

/** Gives a `load.ts` an order and waits for what it measured. */
async function ask({ child }: Member, what: Order): Promise<Result> {
  child.send(what);
  const [answer] = await once(child, "message", { signal: AbortSignal.timeout(120_000) });
  // load.ts answers every order with a result or an error.
  const result = answer as Result & { error?: string };
  if (result.error !== undefined) throw new Error(`${what.kind}: ${result.error}`);
  return result;
}

async function throughput(way: Way, order: Ask, note: Note): Promise<void> {
  const { port } = way;
  for (const direction of ["up", "down"] as const) {
    for (const [name, count] of [
      ["stream", 1],
      ["streams16", 16],
    ] as const) {
      const before = way.hops.reduce((sum, hop) => sum + cpuSeconds(hop), 0);
      const result = await order({ kind: "stream", port, direction, count, ms: STREAM_MS });
      const used = way.hops.reduce((sum, hop) => sum + cpuSeconds(hop), 0) - before;
      note(way, `${name}.${direction}`, (result.bytesPerSecond ?? 0) / 1e6);
      if (name === "stream") note(way, "cpu.perGiB", (used / (result.bytes ?? 1)) * 2 ** 30);
    }
  }
}

async function latency(
  way: Way,
  order: Ask,
  {
    note,
    targetPort,
    isFirst,
  }: { readonly note: Note; readonly targetPort: number; readonly isFirst: boolean },
): Promise<void> {
  const { port, opener } = way;
  const open: Order = { kind: "open", port: targetPort, ms: OPEN_MS, parallel: 32 };
  // Through relays a connection is open before anybody reached the origin: nothing to compare.
  if (way.system !== "pipe") {
    const run = async (what: Order): Promise<Result> =>
      await (opener === undefined ? order(what) : ask(opener, what));
    if (isFirst) await run({ ...open, ms: WARM_UP_MS });
    note(way, "open", (await run(open)).opensPerSecond ?? 0);
  }
  const echoes = await order({ kind: "echo", port, count: 10_000 });
  note(way, "echo.p50", echoes.p50 ?? 0);
  note(way, "echo.p99", echoes.p99 ?? 0);
}

/** Bytes of the fatter process per idle stream. */
async function idleMemory(way: Way, order: Ask): Promise<number> {
  const count = Number(flags.idle);
  // A first batch grows the heap to its working size, so that the second shows streams only.
  await order({ kind: "idle", port: way.port, count: 200 });
  await settle();
  const before = way.hops.map(residentBytes);
  await order({ kind: "idle", port: way.port, count });
  await settle();
  const after = way.hops.map(residentBytes);
  await order({ kind: "release" });
  return Math.max(...after.map((bytes, at) => (bytes - (before[at] ?? 0)) / count));
}

/** Lets the processes collect what the opening left behind. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 3000));
}

async function startPipes(everything: AsyncDisposableStack, targetPort: number): Promise<Way> {
  const exit = everything.use(await startScript("pipe-relay.ts", String(targetPort)));
  const entry = everything.use(await startScript("pipe-relay.ts", String(exit.port)));
  return { system: "pipe", transport: "tcp", port: entry.port, hops: [entry, exit] };
}

async function startPong(
  everything: AsyncDisposableStack,
  transport: string,
  targetPort: number,
): Promise<Way> {
  const remotePort = await freePort();
  const localPort = await freePort();
  const isTls = transport === "tls" || transport === "wss";
  const pem = isTls ? makeCertificate(everything) : undefined;
  const remote = everything.use(
    await startSluice(
      remotePort,
      "serve",
      `pong+${transport}://127.0.0.1:${remotePort}`,
      "--client",
      `bench=${CLIENT_ID}`,
      "--allow",
      `127.0.0.1:${targetPort}`,
      "--log-level",
      "error",
      ...(pem ? ["--cert", `file:${pem.cert}`, "--key", `file:${pem.key}`] : []),
    ),
  );
  const query = pem ? `?ca=${encodeURIComponent(`file:${pem.cert}`)}&sni=localhost` : "";
  const url = `pong+${transport}://${CLIENT_ID}@127.0.0.1:${remotePort}${query}`;
  const forward = `${localPort}:127.0.0.1:${targetPort}`;
  const local = everything.use(
    await startSluice(localPort, "connect", url, "-L", forward, "--log-level", "error"),
  );
  const opener = everything.use(await startScript("load.ts", url));
  return { system: "pong", transport, port: localPort, hops: [local, remote], opener };
}

const METRICS: readonly (readonly [metric: string, unit: string, baseline: "direct" | "pipe"])[] = [
  ["stream.up", "MB/s", "pipe"],
  ["stream.down", "MB/s", "pipe"],
  ["streams16.up", "MB/s", "pipe"],
  ["streams16.down", "MB/s", "pipe"],
  ["open", "1/s", "direct"],
  ["echo.p50", "us", "direct"],
  ["echo.p99", "us", "direct"],
  ["memory.idleStream", "B", "pipe"],
  ["cpu.perGiB", "s", "pipe"],
];

const TRANSPORTS = ["tcp", "tls", "ws", "wss"];
const CLIENT_ID = "0f608556-88f7-11ec-a8a3-0242ac120002";
const STREAM_MS = 1500;
const OPEN_MS = 1500;
/** Until the compiler has seen what opens a stream. */
const WARM_UP_MS = 4000;

// Last, when the constants above are there.
await using scope = new AsyncDisposableStack();
const report = await measure(scope);
writeSync(1, flags.json ? `${JSON.stringify(report)}\n` : formatTable(report));
