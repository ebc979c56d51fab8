import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DtlsCertificates, makeDtlsCertificates } from "./dtls-certificates.ts";
import { freePort, type Member, startScript, startSluice } from "./processes.ts";
import type { Way, WayKind } from "./ways.ts";

/** Certificates of an agent and its client, in files too. */
export interface GodoxyFiles extends DtlsCertificates {
  /** `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`. */
  readonly path: (name: string) => string;
}

/** Makes certificates in files that go with `scope`. */
export function makeGodoxyFiles(scope: AsyncDisposableStack): GodoxyFiles {
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
  scope.defer(() => rmSync(folder, { recursive: true, force: true }));
  const certificates = makeDtlsCertificates();
  const path = (name: string): string => join(folder, name);
  writeFileSync(path("ca.pem"), certificates.ca);
  for (const who of ["server", "client"] as const) {
    writeFileSync(path(`${who}.pem`), certificates[who].cert);
    writeFileSync(path(`${who}.key`), certificates[who].key);
  }
  return { ...certificates, path };
}

/** An agent that reaches one target, on TCP and UDP of one port. */
export async function startAgent(
  { path }: GodoxyFiles,
  target: number,
): Promise<Member & { readonly port: number }> {
  const port = await freePort();
  const rules = ["--allow", `127.0.0.1:${target}`, "--log-level", "error"];
  const urls = ["tls", "dtls"].map((transport) => urlOf(path, { transport, port, who: "server" }));
  return { ...(await startSluice(port, "serve", ...urls, ...rules)), port };
}

/** A client that forwards `forward`, and listens as a proxy on `port` so that its start is seen. */
export async function startClient(
  { path }: GodoxyFiles,
  how: { readonly agentPort: number; readonly port: number; readonly forward: string },
): Promise<Member> {
  const url = urlOf(path, { transport: "tls", port: how.agentPort, who: "client" });
  const doors = ["-D", String(how.port), "-L", how.forward, "--log-level", "error"];
  return await startSluice(how.port, "connect", url, ...doors);
}

/** GoDoxy's streams: a connection of their own each, with certificates of both sides. */
export const GODOXY_WAYS: readonly WayKind[] = [
  { system: "godoxy", transport: "tls", start: startTls },
];

async function startTls(scope: AsyncDisposableStack, targetPort: number): Promise<Way> {
  const files = makeGodoxyFiles(scope);
  const agent = scope.use(await startAgent(files, targetPort));
  const port = await freePort();
  const forward = `${port}:127.0.0.1:${targetPort}`;
  const how = { agentPort: agent.port, port: await freePort(), forward };
  const client = scope.use(await startClient(files, how));
  const url = urlOf(files.path, { transport: "tls", port: agent.port, who: "client" });
  const opener = scope.use(await startScript("load.ts", url));
  const hops = [client, agent];
  return { system: "godoxy", transport: "tls", port, hops, opener, maxStreams: MAX_STREAMS };
}

function urlOf(
  path: GodoxyFiles["path"],
  how: { readonly transport: string; readonly port: number; readonly who: "server" | "client" },
): string {
  const [cert, key] = [path(`${how.who}.pem`), path(`${how.who}.key`)];
  const query = `ca=file:${path("ca.pem")}&cert=file:${cert}&key=file:${key}`;
  return `godoxy+${how.transport}://127.0.0.1:${how.port}?${query}`;
}

/** With the 200 before, below the streams that one client may have. */
const MAX_STREAMS = 3_500;
