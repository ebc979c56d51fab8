/**
 * `npm run bench [-- --json] [-- --only pong/tcp] [-- --rounds 3]`: one table from one run. Every
 * number stands beside a plain baseline measured in the same rounds: two chained `pipe` relays in
 * their own processes for throughput, memory and CPU, direct connections for opens and echoes. KCP
 * (`--only kcp`, `--only kcp/loopback`, `--only kcp/line`) stands beside bare datagrams of its size on
 * loopback, and beside kernel TCP through the same bad lines. GoDoxy has `godoxy/tls` for its streams,
 * `godoxy/opens` for those that resume nothing, and `godoxy/dtls` for datagrams.
 * `SLUICE_INTEROP_LINKSOCKS` names a LinkSocks program to measure beside ours.
 */
import { writeSync } from "node:fs";
import os from "node:os";
import { parseArgs } from "node:util";
import { measureGodoxyDatagrams } from "./godoxy-datagrams.ts";
import { GODOXY_WAYS } from "./godoxy-house.ts";
import { measureGodoxyOpens } from "./godoxy-opens.ts";
import { measureKcpImpaired } from "./kcp-impaired.ts";
import { measureKcpLoopback } from "./kcp.ts";
import { LINKSOCKS_WAYS } from "./linksocks.ts";
import {
  type Ask,
  ask,
  idleMemory,
  latency,
  latencyUnderLoad,
  type Note,
  throughput,
} from "./measure.ts";
import { startScript } from "./processes.ts";
import { formatTable, median, type Report, type Row } from "./report.ts";
import { PONG_WAYS, startPipes, type Way } from "./ways.ts";

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    rounds: { type: "string", default: "3" },
    idle: { type: "string", default: "5000" },
  },
});

async function measure(everything: AsyncDisposableStack): Promise<Report> {
  const hasWays = !["kcp", "godoxy/dtls", "godoxy/opens"].some((own) => flags.only.startsWith(own));
  const rows = hasWays ? await measureWays(everything) : [];
  const rounds = Math.max(1, Number(flags.rounds));
  if ("godoxy/opens".startsWith(flags.only)) rows.push(...(await measureGodoxyOpens(rounds)));
  if ("godoxy/dtls".startsWith(flags.only)) rows.push(...(await measureGodoxyDatagrams(rounds)));
  if ("kcp/loopback".startsWith(flags.only)) rows.push(...(await measureKcpLoopback(rounds)));
  if ("kcp/line".startsWith(flags.only)) {
    rows.push(...(await measureKcpImpaired((why) => void writeSync(2, `${why}\n`))));
  }
  const cpu = os.cpus()[0]?.model ?? "unknown";
  return {
    machine: `${os.cpus().length} x ${cpu}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${os.type()} ${os.release()}`,
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
    rows,
  };
}

async function measureWays(everything: AsyncDisposableStack): Promise<Row[]> {
  const target = everything.use(await startScript("target.ts", "0"));
  const load = everything.use(await startScript("load.ts"));
  const order: Ask = async (what) => await ask(load, what);
  const other = everything.use(await startScript("load.ts"));
  const askOther: Ask = async (what) => await ask(other, what);
  const seen = new Map<string, number[]>();
  const note: Note = (way, metric, value) => {
    const key = `${way.system}/${way.transport}/${metric}`;
    seen.set(key, [...(seen.get(key) ?? []), value]);
  };
  const kinds = [...PONG_WAYS, ...LINKSOCKS_WAYS, ...GODOXY_WAYS].filter(({ system, transport }) =>
    `${system}/${transport}`.startsWith(flags.only),
  );
  // Processes of their own: after a load, the streams would fit into what the heap has already.
  for (const start of [startPipes, ...kinds.map((kind) => kind.start)]) {
    await using fresh = new AsyncDisposableStack();
    const way = await start(fresh, target.port);
    const count = Math.min(Number(flags.idle), way.maxStreams ?? Number.POSITIVE_INFINITY);
    note(way, "memory.idleStream", await idleMemory(way, order, count));
  }
  const direct: Way = { system: "direct", transport: "tcp", port: target.port, hops: [] };
  const pipes = await startPipes(everything, target.port);
  const ways: Way[] = [];
  for (const kind of kinds) ways.push(await kind.start(everything, target.port));
  const rounds = Math.max(1, Number(flags.rounds));
  for (let round = 0; round < rounds; round++) {
    for (const way of [pipes, ...ways]) await throughput(way, order, note);
    for (const way of [direct, pipes, ...ways])
      await latency(way, order, { note, targetPort: target.port, isFirst: round === 0 });
    for (const way of [direct, pipes, ...ways]) {
      await latencyUnderLoad({ way, ask: order, askOther, note });
    }
  }
  const value = (way: Way, metric: string): number =>
    median(seen.get(`${way.system}/${way.transport}/${metric}`) ?? []);
  return [pipes, ...ways].flatMap((way) =>
    METRICS.filter(([metric]) => way !== pipes || metric.startsWith("echo"))
      .filter(([metric]) => seen.has(`${way.system}/${way.transport}/${metric}`))
      .map(([metric, unit, base]): Row => {
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
      }),
  );
}

const METRICS: readonly (readonly [metric: string, unit: string, baseline: "direct" | "pipe"])[] = [
  ["stream.up", "MB/s", "pipe"],
  ["stream.down", "MB/s", "pipe"],
  ["streams16.up", "MB/s", "pipe"],
  ["streams16.down", "MB/s", "pipe"],
  ["open", "1/s", "direct"],
  ["echo.p50", "us", "direct"],
  ["echo.p99", "us", "direct"],
  ["echo.p50.bulk", "us", "direct"],
  ["echo.p99.bulk", "us", "direct"],
  ["echo.afterBulk", "us", "direct"],
  ["memory.idleStream", "B", "pipe"],
  ["cpu.perGiB", "s", "pipe"],
];

// Last, when the constants above are there.
await using scope = new AsyncDisposableStack();
const report = await measure(scope);
writeSync(1, flags.json ? `${JSON.stringify(report)}\n` : formatTable(report));
