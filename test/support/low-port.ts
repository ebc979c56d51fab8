import { once } from "node:events";
import net from "node:net";
import type { Child } from "./child-process.ts";

/**
 * A free port below those the system gives out by itself, so that it is still free when a program
 * binds it, and free again when that program is started once more.
 */
export async function lowPort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORT_COUNT);
    const probe = net.createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
}

/** Waits until something accepts on the port. Connecting is the only sign a program gives. */
export async function listening(port: number, child: Child): Promise<void> {
  let isOver = false;
  void child.exit.then(() => {
    isOver = true;
  });
  const until = performance.now() + START_MS;
  while (!(await accepts(port))) {
    if (isOver || performance.now() > until) {
      throw new Error(`nothing listens on ${port}\n${child.stdout}\n${child.stderr}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Whether something takes connections on a port of loopback. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ port, host: "127.0.0.1" });
    probe.once("error", () => resolve(false));
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
  });
}

const START_MS = 30_000;
const FIRST_PORT = 20_000;
const PORT_COUNT = 10_000;
