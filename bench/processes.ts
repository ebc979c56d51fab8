import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { fileURLToPath } from "node:url";

/** One process of the measurement, ended with the run. */
export interface Member extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
}

/** A script to run in the network namespace of another process. */
export interface InsideScript {
  readonly name: string;
  readonly inside: number;
}

/** Starts a script of this folder that reports its port in its first message. */
export async function startScript(
  script: string | InsideScript,
  ...args: readonly string[]
): Promise<Member & { readonly port: number }> {
  const [name, ...enter] =
    typeof script === "string"
      ? [script]
      : [script.name, "nsenter", "-t", String(script.inside), "-n"];
  const [program = "", ...rest] = [...enter, process.execPath, path(name), ...args];
  const child = spawn(program, rest, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const [message] = await once(child, "message", { signal: AbortSignal.timeout(START_MS) });
  // The scripts of this folder send exactly this.
  const { port = 0 } = message as { port?: number };
  return { ...member(child), port };
}

/** Starts `sluice` with these arguments and waits until `port` accepts. */
export async function startSluice(port: number, ...args: readonly string[]): Promise<Member> {
  return await startProgram(port, process.execPath, [path("../src/cli/main.ts"), ...args]);
}

/** Starts a program with these arguments and waits until `port` accepts. */
export async function startProgram(
  port: number,
  program: string,
  args: readonly string[],
): Promise<Member> {
  const child = spawn(program, args, {
    stdio: ["ignore", "ignore", process.env["BENCH_DEBUG"] ? "inherit" : "ignore"],
  });
  const until = Date.now() + START_MS;
  while (!(await accepts(port))) {
    if (Date.now() > until || child.exitCode !== null) {
      child.kill("SIGKILL");
      throw new Error(`${program} ${args.join(" ")} does not listen on ${port}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return member(child);
}

/** A port nobody uses right now. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** CPU seconds a process has used, user and system. Linux. */
export function cpuSeconds({ pid }: Member): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Resident bytes of a process. Linux. */
export function residentBytes({ pid }: Member): number {
  const match = /^Rss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  return Number(match?.[1] ?? 0) * 1024;
}

/** A process that ends with the scope. */
export function member(child: ChildProcess): Member {
  return {
    child,
    pid: child.pid ?? 0,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ port, host: "127.0.0.1" });
    probe.once("connect", () => resolve(true)).once("error", () => resolve(false));
    probe.once("connect", () => probe.destroy());
  });
}

function path(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

const START_MS = 20_000;
const TICKS_PER_SECOND = 100;
