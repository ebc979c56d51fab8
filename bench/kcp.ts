import { once } from "node:events";
import type { Carrier, KcpOrder, KcpResult } from "./kcp-end.ts";
import { cpuSeconds, type Member, startScript } from "./processes.ts";
import { median, type Row } from "./report.ts";

/** KCP beside bare datagrams of the same size, between two processes on loopback. */
export async function measureKcpLoopback(rounds: number): Promise<Row[]> {
  const seen = new Map<string, number[]>();
  const note = (carrier: Carrier, metric: string, value: number): void => {
    const key = `${carrier} ${metric}`;
    seen.set(key, [...(seen.get(key) ?? []), value]);
  };
  for (let round = 0; round < rounds; round++) {
    for (const carrier of ["udp", "kcp"] as const) {
      await using scope = new AsyncDisposableStack();
      const far = scope.use(await startScript("kcp-end.ts"));
      const near = scope.use(await startScript("kcp-end.ts"));
      const { port = 0 } = await tell(far, { kind: "listen", carrier, host: HOST, port: 0 });
      const place = { carrier, host: HOST, port };
      const up = await goodput({ place, near, far, mode: "U", settleMs: 700, ms: 2500 });
      note(carrier, "stream.up", up.bytesPerSecond / 1e6);
      note(carrier, "cpu.perGiB", up.cpuPerGiB);
      if (carrier === "kcp") {
        const down = await goodput({ place, near, far, mode: "D", settleMs: 700, ms: 2500 });
        note(carrier, "stream.down", down.bytesPerSecond / 1e6);
      }
      const { times = [] } = await tell(near, {
        kind: "echo",
        ...place,
        connections: 1,
        count: 3000,
      });
      note(carrier, "echo.p50", 1000 * quantile(times, 0.5));
      note(carrier, "echo.p99", 1000 * quantile(times, 0.99));
    }
  }
  const value = (carrier: Carrier, metric: string): number =>
    median(seen.get(`${carrier} ${metric}`) ?? []);
  return LOOPBACK_METRICS.map(([metric, unit, beside]) => {
    const mine = value("kcp", metric);
    const baseline = value("udp", beside);
    return {
      system: "kcp",
      transport: "udp",
      metric,
      value: mine,
      unit,
      baseline,
      ratio: mine / baseline,
    };
  });
}

/** Gives an end an order and waits for its answer. */
export async function tell({ child }: Member, order: KcpOrder): Promise<KcpResult> {
  child.send(order);
  const [answer] = await once(child, "message", { signal: AbortSignal.timeout(180_000) });
  // kcp-end.ts answers every order with this.
  const result = answer as KcpResult;
  if (result.error !== undefined) throw new Error(`${order.kind}: ${result.error}`);
  return result;
}

/** What arrives per second while a stream is under way, and what it costs both ends. */
export async function goodput({
  place,
  near,
  far,
  mode,
  settleMs,
  ms,
}: GoodputOptions): Promise<{ readonly bytesPerSecond: number; readonly cpuPerGiB: number }> {
  const counting = mode === "U" ? far : near;
  await tell(near, { kind: "stream", ...place, mode });
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const cpuBefore = cpuSeconds(near) + cpuSeconds(far);
  const before = await tell(counting, { kind: "count" });
  await new Promise((resolve) => setTimeout(resolve, ms));
  const after = await tell(counting, { kind: "count" });
  const cpu = cpuSeconds(near) + cpuSeconds(far) - cpuBefore;
  await tell(near, { kind: "stop" });
  await tell(far, { kind: "stop" });
  const bytes = (after.bytes ?? 0) - (before.bytes ?? 0);
  const seconds = ((after.at ?? 0) - (before.at ?? 0)) / 1000;
  await new Promise((resolve) => setTimeout(resolve, LEFT_MS));
  return { bytesPerSecond: bytes / seconds, cpuPerGiB: (cpu / bytes) * 2 ** 30 };
}

/** One measurement of {@link goodput}. */
export interface GoodputOptions {
  readonly place: { readonly carrier: Carrier; readonly host: string; readonly port: number };
  readonly near: Member;
  readonly far: Member;
  /** `U`: the far end counts; `D`: the near end does. */
  readonly mode: "U" | "D";
  readonly settleMs: number;
  readonly ms: number;
}

/** The value below which a share of all values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

const HOST = "127.0.0.1";

const LOOPBACK_METRICS = [
  ["stream.up", "MB/s", "stream.up"],
  ["stream.down", "MB/s", "stream.up"],
  ["cpu.perGiB", "s", "cpu.perGiB"],
  ["echo.p50", "us", "echo.p50"],
  ["echo.p99", "us", "echo.p99"],
] as const;

/** Until what was under way has ended. */
const LEFT_MS = 500;
