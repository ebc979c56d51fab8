import { makeCertificate } from "./certificate.ts";
import { freePort, type Member, startProgram, startSluice } from "./processes.ts";
import type { Way, WayKind } from "./ways.ts";

/** LinkSocks in forward mode, through the client's SOCKS5 port; the reference only when it is named. */
export const LINKSOCKS_WAYS: readonly WayKind[] = [
  { system: "linksocks", transport: "ws", start: (scope, port) => startOurs(scope, "ws", port) },
  { system: "linksocks", transport: "wss", start: (scope, port) => startOurs(scope, "wss", port) },
  ...references().map((program) => ({
    system: "linksocks-reference",
    transport: "ws",
    start: (scope: AsyncDisposableStack, port: number) => startReference(scope, program, port),
  })),
];

async function startOurs(
  scope: AsyncDisposableStack,
  transport: "ws" | "wss",
  target: number,
): Promise<Way> {
  const [serverPort, socksPort] = [await freePort(), await freePort()];
  const pem = transport === "wss" ? makeCertificate(scope) : undefined;
  const quiet = ["--log-level", "error"];
  const listen = `linksocks+${transport}://127.0.0.1:${serverPort}`;
  const rules = ["--client", `bench=${TOKEN}`, "--allow", `127.0.0.1:${target}`];
  const own = pem ? ["--cert", `file:${pem.cert}`, "--key", `file:${pem.key}`] : [];
  const server = scope.use(
    await startSluice(serverPort, "serve", listen, ...rules, ...own, ...quiet),
  );
  const query = pem ? `?ca=${encodeURIComponent(`file:${pem.cert}`)}&sni=localhost` : "";
  const url = `linksocks+${transport}://${TOKEN}@127.0.0.1:${serverPort}${query}`;
  const client = scope.use(
    await startSluice(socksPort, "connect", url, "-D", String(socksPort), ...quiet),
  );
  return way("linksocks", transport, { port: socksPort, target, hops: [client, server] });
}

async function startReference(
  scope: AsyncDisposableStack,
  program: string,
  target: number,
): Promise<Way> {
  const [serverPort, socksPort] = [await freePort(), await freePort()];
  const listen = ["-H", "127.0.0.1", "-P", String(serverPort)];
  const server = scope.use(
    await startProgram(serverPort, program, ["server", "-t", TOKEN, ...listen]),
  );
  const url = ["-u", `ws://127.0.0.1:${serverPort}`, "-E", "--direct-mode", "relay-only"];
  const client = scope.use(
    await startProgram(socksPort, program, ["client", "-t", TOKEN, "-p", `${socksPort}`, ...url]),
  );
  const hops = [client, server];
  return { ...way("linksocks-reference", "ws", { port: socksPort, target, hops }), maxOpens: 500 };
}

function way(
  system: string,
  transport: string,
  parts: { readonly port: number; readonly target: number; readonly hops: readonly Member[] },
): Way {
  return { system, transport, ...parts, maxStreams: MAX_STREAMS };
}

function references(): string[] {
  const named = process.env["SLUICE_INTEROP_LINKSOCKS"] ?? "";
  return named
    .split(/[:,]/)
    .filter((path) => path !== "")
    .slice(0, 1);
}

const TOKEN = "bench-token";

/** With the 200 before, below the streams that one WebSocket may have. */
const MAX_STREAMS = 800;
