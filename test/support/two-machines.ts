import { execFileSync } from "node:child_process";
import { getuid } from "node:process";
import { type Child, start } from "./child-process.ts";
import { skipWithout } from "./which.ts";

/** Two network namespaces with one cable between them: a link that can be cut without a word. */
export interface TwoMachines extends AsyncDisposable {
  /** The address of each. */
  readonly a: string;
  readonly b: string;
  /** Runs a program on one of them. */
  start(on: "a" | "b", command: string, args: readonly string[]): Child;
  /** Everything sent from now on disappears. */
  cutCable(): void;
}

/** The reason to skip a test that needs {@link twoMachines}; `false` when it can run. */
export function skipWithoutMachines(): string | false {
  if (process.platform !== "linux" || getuid?.() !== 0) return "needs Linux and root";
  return skipWithout("ip", "unshare", "nsenter");
}

/** @throws Error when the namespaces are not to be had */
export async function twoMachines(): Promise<TwoMachines> {
  await using scope = new AsyncDisposableStack();
  const pids: number[] = [];
  for (const _ of ["a", "b"]) {
    const holder = scope.use(
      start("unshare", ["-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 60"]),
    );
    await holder.waitFor(/up/);
    pids.push(holder.process.pid ?? 0);
  }
  const [a = 0, b = 0] = pids;
  const link = `link add name eth0 netns ${a} type veth peer name eth0 netns ${b}`;
  execFileSync("ip", link.split(" "));
  const inside = (pid: number, command: string): readonly string[] => [
    "-t",
    String(pid),
    "-n",
    ...command.split(" "),
  ];
  for (const [pid, address] of [
    [a, A],
    [b, B],
  ] as const) {
    execFileSync("nsenter", inside(pid, `ip addr add ${address}/24 dev eth0`));
    execFileSync("nsenter", inside(pid, "ip link set eth0 up"));
  }
  const kept = scope.move();
  return {
    a: A,
    b: B,
    start: (on, command, args) =>
      kept.use(
        start("nsenter", ["-t", String(on === "a" ? a : b), "-n", command, ...args], {
          keepsStdinOpen: true,
        }),
      ),
    cutCable: () => {
      // Frames to nobody's hardware address: no error, no answer.
      const nobody = "lladdr 02:00:00:00:00:01 dev eth0 nud permanent";
      execFileSync("nsenter", inside(a, `ip neigh replace ${B} ${nobody}`));
      execFileSync("nsenter", inside(b, `ip neigh replace ${A} ${nobody}`));
    },
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  };
}

const A = "192.0.2.1";
const B = "192.0.2.2";
