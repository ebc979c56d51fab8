import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Child, start } from "./child-process.ts";
import { listening, lowPort } from "./low-port.ts";

/** The transports of pong in this version. */
export const PONG_TRANSPORTS = ["tcp", "tls", "ws", "wss"] as const;

/** One of {@link PONG_TRANSPORTS}. */
export type PongTransport = (typeof PONG_TRANSPORTS)[number];

/** The client id of every tunnel in tests. */
export const CLIENT_ID = "0f608556-88f7-11ec-a8a3-0242ac120002";

/** The program under test. */
export const SLUICE: string = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** How to start both ends. */
export interface TunnelOptions {
  readonly transport?: PongTransport | undefined;
  /** Options for the query of both URLs: `keepalive=1s`. */
  readonly query?: string | undefined;
  readonly serveFlags?: readonly string[] | undefined;
  /** `-D`, `-L` and the like; a `-D` is always there. */
  readonly connectFlags?: readonly string[] | undefined;
  readonly deadlineMs?: number | undefined;
}

/** Both ends of a pong tunnel on loopback, each in its own process. */
export interface TestTunnel extends AsyncDisposable {
  readonly serve: Child;
  readonly connect: Child;
  readonly servePort: number;
  /** SOCKS5, SOCKS4a and HTTP. */
  readonly proxyPort: number;
  /** The URL `connect` was given. */
  readonly url: string;
  /** Starts another `serve` in the place of one that was ended. */
  restartServe(): Promise<Child>;
}

/** Runs `sluice` with these arguments. */
export function startSluice(args: readonly string[], deadlineMs = 120_000): Child {
  return start(process.execPath, [SLUICE, ...args], { deadlineMs });
}

/** Starts both ends; loopback targets are allowed. */
export async function startTunnel(options: TunnelOptions = {}): Promise<TestTunnel> {
  const { transport = "tcp", query = "", deadlineMs } = options;
  await using scope = new AsyncDisposableStack();
  const [servePort, proxyPort] = await freePorts(2);
  const pem = transport === "tls" || transport === "wss" ? certificate(scope) : undefined;
  const serveQuery = query === "" ? "" : `?${query}`;
  const startServe = async (): Promise<Child> => {
    const child = startSluice(
      [
        "serve",
        `pong+${transport}://127.0.0.1:${servePort}${serveQuery}`,
        "--client",
        `test=${CLIENT_ID}`,
        "--allow",
        "127.0.0.0/8",
        "--log-format",
        "json",
        ...(pem ? ["--cert", pem.cert, "--key", pem.key] : []),
        ...(options.serveFlags ?? []),
      ],
      deadlineMs,
    );
    await listening(servePort, child);
    return child;
  };
  const serve = scope.use(await startServe());
  const trust = pem ? [`ca=${encodeURIComponent(`file:${pem.cert}`)}`, "sni=localhost"] : [];
  const connectQuery = [...trust, ...(query === "" ? [] : [query])].join("&");
  const url = `pong+${transport}://${CLIENT_ID}@127.0.0.1:${servePort}${connectQuery === "" ? "" : `?${connectQuery}`}`;
  const connect = scope.use(
    startSluice(
      [
        "connect",
        url,
        "-D",
        String(proxyPort),
        "--log-format",
        "json",
        ...(options.connectFlags ?? []),
      ],
      deadlineMs,
    ),
  );
  await listening(proxyPort, connect);
  const kept = scope.move();
  return {
    serve,
    connect,
    servePort,
    proxyPort,
    url,
    restartServe: async () => kept.use(await startServe()),
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  };
}

/** Several of {@link lowPort}, all different. */
export async function freePorts(count: number): Promise<[number, number, ...number[]]> {
  const ports = new Set<number>();
  while (ports.size < Math.max(2, count)) ports.add(await lowPort());
  const [first = 0, second = 0, ...rest] = ports;
  return [first, second, ...rest];
}

/** A self-signed P-256 certificate for localhost, in files that go with the scope. */
export function certificate(scope: AsyncDisposableStack): {
  readonly cert: string;
  readonly key: string;
} {
  const folder = mkdtempSync(join(tmpdir(), "sluice-test-"));
  scope.defer(() => rmSync(folder, { recursive: true, force: true }));
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const subject = [
    "-subj",
    "/CN=localhost",
    "-addext",
    "subjectAltName=DNS:localhost,IP:127.0.0.1",
  ];
  const type = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", ...type, ...subject, "-keyout", key, "-out", cert], {
    stdio: "ignore",
  });
  return { cert, key };
}
