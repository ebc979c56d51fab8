import { makeCertificate } from "./certificate.ts";
import { freePort, type Member, startScript, startSluice } from "./processes.ts";

/** A way to the origin: its port, and the processes whose CPU and memory count. */
export interface Way {
  readonly system: string;
  readonly transport: string;
  readonly port: number;
  readonly hops: readonly Member[];
  /** A near end that opens streams by itself. */
  readonly opener?: Member;
  /** The origin's port, when `port` is a SOCKS5 port that has to be told. */
  readonly target?: number | undefined;
  /** How many streams it may have at one time. */
  readonly maxStreams?: number | undefined;
  /** How many streams may be opened one after the other, where ended ones are kept for long. */
  readonly maxOpens?: number | undefined;
}

/** A way that can be started: `pong/tls`. */
export interface WayKind {
  readonly system: string;
  readonly transport: string;
  /** Starts its processes; they end with the scope. */
  readonly start: (scope: AsyncDisposableStack, targetPort: number) => Promise<Way>;
}

/** Two chained `pipe` relays: what joining sockets costs without a protocol. */
export async function startPipes(
  everything: AsyncDisposableStack,
  targetPort: number,
): Promise<Way> {
  const exit = everything.use(await startScript("pipe-relay.ts", String(targetPort)));
  const entry = everything.use(await startScript("pipe-relay.ts", String(exit.port)));
  return { system: "pipe", transport: "tcp", port: entry.port, hops: [entry, exit] };
}

/** The ways of pong, by transport. */
export const PONG_WAYS: readonly WayKind[] = ["tcp", "tls", "ws", "wss"].map((transport) => ({
  system: "pong",
  transport,
  start: (scope, targetPort) => startPong(scope, transport, targetPort),
}));

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

const CLIENT_ID = "0f608556-88f7-11ec-a8a3-0242ac120002";
