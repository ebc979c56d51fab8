import { once } from "node:events";
import type { DatagramOrder, DatagramResult } from "./datagram-end.ts";
import { makeGodoxyFiles, startAgent, startClient } from "./godoxy-house.ts";
import { quantile } from "./kcp.ts";
import { cpuSeconds, freePort, type Member, startScript } from "./processes.ts";
import { median, type Row } from "./report.ts";

/**
 * Datagrams through client and agent, beside bare ones between the same two processes, and beside two
 * plain relays in a row.
 */
export async function measureGodoxyDatagrams(rounds: number): Promise<Row[]> {
  await using scope = new AsyncDisposableStack();
  const far = scope.use(await startScript("datagram-end.ts"));
  const near = scope.use(await startScript("datagram-end.ts"));
  const direct: Path = { name: "direct", port: far.port, hops: [] };
  const paths = [direct, await startRelays(scope, far.port), await startTunnel(scope, far.port)];
  const seen = new Map<string, number[]>();
  const note = ({ name }: Path, metric: string, value: number): void => {
    const key = `${name} ${metric}`;
    seen.set(key, [...(seen.get(key) ?? []), value]);
  };
  for (let round = 0; round < rounds; round++) {
    for (const bytes of SIZES) {
      for (const path of paths) {
        for (const direction of ["up", "down"] as const) {
          const { perSecond, cpuPerMillion } = await flood({ path, near, far, direction, bytes });
          note(path, `datagrams.${direction}.${bytes}`, perSecond);
          note(path, `cpu.${direction}.${bytes}`, cpuPerMillion);
        }
      }
    }
    for (const path of paths) {
      const { times = [] } = await tell(near, { kind: "echo", port: path.port, count: ECHOES });
      note(path, "echo.p50", 1_000 * quantile(times, 0.5));
      note(path, "echo.p99", 1_000 * quantile(times, 0.99));
    }
  }
  const value = (name: string, metric: string): number =>
    median(seen.get(`${name} ${metric}`) ?? []);
  return METRICS.flatMap(([metric, unit, base]) =>
    ["relays", "godoxy"]
      .filter((name) => name !== base)
      .map((name): Row => {
        const [system, transport] = name === "godoxy" ? ["godoxy", "dtls"] : ["pipe", "udp"];
        const [mine, baseline] = [value(name, metric), value(base, metric)];
        return { system, transport, metric, unit, value: mine, baseline, ratio: mine / baseline };
      }),
  );
}

/** A way to the origin of datagrams. */
interface Path {
  readonly name: "direct" | "relays" | "godoxy";
  readonly port: number;
  readonly hops: readonly Member[];
}

async function startRelays(scope: AsyncDisposableStack, target: number): Promise<Path> {
  const exit = scope.use(await startScript("udp-relay.ts", String(target)));
  const entry = scope.use(await startScript("udp-relay.ts", String(exit.port)));
  return { name: "relays", port: entry.port, hops: [entry, exit] };
}

async function startTunnel(scope: AsyncDisposableStack, target: number): Promise<Path> {
  const files = makeGodoxyFiles(scope);
  const agent = scope.use(await startAgent(files, target));
  const [proxy, port] = [await freePort(), await freePort()];
  const forward = `${port}:127.0.0.1:${target}/udp`;
  const how = { agentPort: agent.port, port: proxy, forward };
  const client = scope.use(await startClient(files, how));
  return { name: "godoxy", port, hops: [client, agent] };
}

/** What arrives per second, and what the hops spend on a million of it. */
async function flood({ path, near, far, direction, bytes }: Flood): Promise<{
  readonly perSecond: number;
  readonly cpuPerMillion: number;
}> {
  const counting = direction === "up" ? far : near;
  const used = (): number => path.hops.reduce((sum, hop) => sum + cpuSeconds(hop), 0);
  await tell(near, { kind: "flood", direction, port: path.port, bytes });
  await pause(SETTLE_MS);
  const [before, cpuBefore] = [await tell(counting, { kind: "count" }), used()];
  await pause(FLOOD_MS);
  const [after, cpu] = [await tell(counting, { kind: "count" }), used() - cpuBefore];
  await tell(near, { kind: "stop" });
  await pause(SETTLE_MS);
  const count = (after.received ?? 0) - (before.received ?? 0);
  const seconds = ((after.at ?? 0) - (before.at ?? 0)) / 1_000;
  return { perSecond: count / seconds, cpuPerMillion: (cpu / count) * 1e6 };
}

interface Flood {
  readonly path: Path;
  readonly near: Member;
  readonly far: Member;
  readonly direction: "up" | "down";
  readonly bytes: number;
}

async function tell({ child }: Member, order: DatagramOrder): Promise<DatagramResult> {
  child.send(order);
  const [answer] = await once(child, "message", { signal: AbortSignal.timeout(60_000) });
  // datagram-end.ts answers every order with this.
  const result = answer as DatagramResult;
  if (result.error !== undefined) throw new Error(`${order.kind}: ${result.error}`);
  return result;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const SIZES = [64, 512, 1200];

const METRICS: readonly (readonly [metric: string, unit: string, base: Path["name"]])[] = [
  ...SIZES.flatMap((bytes) => [
    [`datagrams.up.${bytes}`, "1/s", "direct"] as const,
    [`datagrams.down.${bytes}`, "1/s", "direct"] as const,
    [`cpu.up.${bytes}`, "s/million", "relays"] as const,
    [`cpu.down.${bytes}`, "s/million", "relays"] as const,
  ]),
  ["echo.p50", "us", "direct"],
  ["echo.p99", "us", "direct"],
];

const FLOOD_MS = 1_500;
const SETTLE_MS = 400;
const ECHOES = 3_000;
