import { once } from "node:events";
import net from "node:net";
import { type Child, type ChildResult, run, start } from "./child-process.ts";
import { SLUICE } from "./tunnel.ts";

/** Runs the program with these arguments, in {@link ENV} and what is added to it. */
type Command<Result> = (args: readonly string[], env?: Readonly<Record<string, string>>) => Result;

/** A clean environment: what the machine sets must not change what is tested. */
export const ENV: Readonly<Record<string, string | undefined>> = {
  SLUICE_LOG_LEVEL: undefined,
  SLUICE_LOG_FORMAT: undefined,
  SLUICE_GRACE: undefined,
  SLUICE_CONFIG: undefined,
  NO_PROXY: undefined,
  no_proxy: undefined,
  NO_COLOR: undefined,
};

/** Runs a command to its end. */
export const sluice: Command<Promise<ChildResult>> = (args, env = {}) =>
  run(process.execPath, [SLUICE, ...args], { env: { ...ENV, ...env } });

/** Starts a command; hold it with `await using`. */
export const startSluice: Command<Child> = (args, env = {}) =>
  start(process.execPath, [SLUICE, ...args], { env: { ...ENV, ...env } });

/** A server that sends everything back, and ends when its client does. */
export async function startEcho(): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: portOf(server),
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, "close");
    },
  };
}

/** The port a server got. */
export function portOf(server: net.Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
