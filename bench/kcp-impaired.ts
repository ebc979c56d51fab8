import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { skipWithoutMachines } from "../test/support/two-machines.ts";
import { goodput, quantile, tell } from "./kcp.ts";
import type { Carrier } from "./kcp-end.ts";
import { type Member, member, startScript } from "./processes.ts";
import type { Row } from "./report.ts";

/** KCP and kernel TCP (cubic) through the same bad lines. `skipped` hears why TCP is not measured. */
export async function measureKcpImpaired(skipped: (why: string) => void): Promise<Row[]> {
  const why = skipWithoutMachines() || (!existsSync("/dev/net/tun") && "needs /dev/net/tun");
  if (why !== false) skipped(`TCP through a bad line is not measured: ${why}`);
  const rows: Row[] = [];
  for (const line of LINES) {
    const tcp = why === false ? await measured("tcp", line, startMachines) : NOT_MEASURED;
    const kcp = await measured("kcp", line, why === false ? startMachines : startRelay);
    const transport = `udp, ${100 * line.loss} %, ${line.roundTripMs} ms`;
    const row = (metric: string, unit: string, value: number, baseline: number): Row => {
      return { system: "kcp", transport, metric, unit, value, baseline, ratio: value / baseline };
    };
    rows.push(row("stream.up", "MB/s", kcp.megabytesPerSecond, tcp.megabytesPerSecond));
    rows.push(row("echo.p50", "ms", kcp.p50, tcp.p50));
    rows.push(row("echo.p99", "ms", kcp.p99, tcp.p99));
  }
  return rows;
}

interface Line {
  readonly loss: number;
  readonly roundTripMs: number;
}

interface Measured {
  readonly megabytesPerSecond: number;
  /** Of small echoes, ms. */
  readonly p50: number;
  readonly p99: number;
}

/** Both ends, and where the near one finds the far one. */
interface Ends {
  readonly near: Member;
  readonly far: Member;
  readonly host: string;
  readonly port: number;
}

type StartEnds = (scope: AsyncDisposableStack, carrier: Carrier, line: Line) => Promise<Ends>;

async function measured(carrier: Carrier, line: Line, start: StartEnds): Promise<Measured> {
  await using scope = new AsyncDisposableStack();
  const { near, far, host, port } = await start(scope, carrier, line);
  const place = { carrier, host, port };
  const count = ECHOES;
  const { times = [] } = await tell(near, { kind: "echo", ...place, connections: 16, count });
  const settleMs = 2_000;
  const { bytesPerSecond } = await goodput({ place, near, far, mode: "U", settleMs, ms: 4_000 });
  return {
    megabytesPerSecond: bytesPerSecond / 1e6,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
  };
}

/** Two network namespaces with a bad line between them. */
async function startMachines(
  scope: AsyncDisposableStack,
  carrier: Carrier,
  { loss, roundTripMs }: Line,
): Promise<Ends> {
  const a = await startMachine(scope);
  const b = await startMachine(scope);
  const line = [a, b, loss, roundTripMs, SEED].map(String);
  scope.use(await startScript("impaired-tun.ts", ...line));
  const far = scope.use(await startScript({ name: "kcp-end.ts", inside: b }));
  const near = scope.use(await startScript({ name: "kcp-end.ts", inside: a }));
  const host = "192.0.2.2";
  const { port = 0 } = await tell(far, { kind: "listen", carrier, host, port: 0 });
  return { near, far, host, port };
}

/** A process with a network of its own; its id. */
async function startMachine(scope: AsyncDisposableStack): Promise<number> {
  const child = spawn("unshare", ["-n", "sh", "-c", "ip link set lo up; echo up; exec sleep 600"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { pid } = scope.use(member(child));
  await once(child.stdout, "data", { signal: AbortSignal.timeout(5_000) });
  return pid;
}

/** A relay of datagrams on loopback, where namespaces are not to be had. */
async function startRelay(
  scope: AsyncDisposableStack,
  carrier: Carrier,
  { loss, roundTripMs }: Line,
): Promise<Ends> {
  const far = scope.use(await startScript("kcp-end.ts"));
  const near = scope.use(await startScript("kcp-end.ts"));
  const host = "127.0.0.1";
  const behind = await tell(far, { kind: "listen", carrier, host, port: 0 });
  const line = [behind.port, loss, roundTripMs, SEED].map(String);
  const { port } = scope.use(await startScript("impaired-udp.ts", ...line));
  return { near, far, host, port };
}

const LINES: readonly Line[] = [
  ...[50, 200].flatMap((roundTripMs) => [0.01, 0.05, 0.1].map((loss) => ({ loss, roundTripMs }))),
  { loss: 0.05, roundTripMs: 100 },
];

const NOT_MEASURED: Measured = { megabytesPerSecond: Number.NaN, p50: Number.NaN, p99: Number.NaN };

/** Of each of sixteen connections. */
const ECHOES = 60;

const SEED = 4711;
