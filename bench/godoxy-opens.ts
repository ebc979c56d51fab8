import { execFile } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import { type GodoxyFiles, makeGodoxyFiles, startAgent } from "./godoxy-house.ts";
import type { OpenerOrder, OpenerResult } from "./godoxy-opener.ts";
import { freePort, type Member, startProgram, startScript } from "./processes.ts";
import { median, type Row } from "./report.ts";

/**
 * Opens that resume nothing: streams and sessions of our own client, and what OpenSSL's client gets
 * from the agent, beside the same client on OpenSSL's server. Needs `openssl`.
 */
export async function measureGodoxyOpens(rounds: number): Promise<Row[]> {
  await using scope = new AsyncDisposableStack();
  const files = makeGodoxyFiles(scope);
  const { path } = files;
  const target = scope.use(await startScript("target.ts", "0"));
  const agent = scope.use(await startAgent(files, target.port));
  const server = scope.use(await startOpenssl(files));
  const pems = [path("ca.pem"), path("client.pem"), path("client.key")];
  const ports = [agent.port, target.port].map(String);
  const opener = scope.use(await startScript("godoxy-opener.ts", ...ports, ...pems));
  const seen: Record<"cold" | "dtls" | "agent" | "openssl", number[]> = {
    cold: [],
    dtls: [],
    agent: [],
    openssl: [],
  };
  for (let round = 0; round < rounds; round++) {
    for (const kind of ["tls", "dtls"] as const) {
      const warmUp = { kind, ms: WARM_UP_MS, parallel: PARALLEL };
      if (round === 0) await openRate(opener, warmUp);
      const rate = await openRate(opener, { ...warmUp, ms: OPEN_MS });
      seen[kind === "tls" ? "cold" : "dtls"].push(rate);
    }
    seen.agent.push(await opensslRate(files, agent.port));
    seen.openssl.push(await opensslRate(files, server.port));
  }
  const row = (transport: string, metric: string, mine: number[], beside: number[]): Row => {
    const [value, baseline] = [median(mine), median(beside)];
    const ratio = value / baseline;
    return { system: "godoxy", transport, metric, unit: "1/s", value, baseline, ratio };
  };
  return [
    row("tls", "open.cold", seen.cold, seen.openssl),
    row("tls", "accept.openssl", seen.agent, seen.openssl),
    row("dtls", "open.cold", seen.dtls, seen.cold),
  ];
}

async function startOpenssl({ path }: GodoxyFiles): Promise<Member & { readonly port: number }> {
  const port = await freePort();
  const own = ["-cert", path("server.pem"), "-key", path("server.key"), "-CAfile", path("ca.pem")];
  const how = ["-quiet", "-no_ticket", "-Verify", "1", "-verify_return_error"];
  const args = ["s_server", "-accept", `127.0.0.1:${port}`, ...own, ...how];
  return { ...(await startProgram(port, "openssl", args)), port };
}

/** Handshakes per second of `openssl s_time`, one after the other. */
async function opensslRate({ path }: GodoxyFiles, port: number): Promise<number> {
  const own = ["-cert", path("client.pem"), "-key", path("client.key"), "-CAfile", path("ca.pem")];
  const seconds = String(OPENSSL_SECONDS);
  const args = ["s_time", "-connect", `127.0.0.1:${port}`, "-new", "-time", seconds, ...own];
  const { stdout } = await promisify(execFile)("openssl", args);
  const [, count, spent] = /(\d+) connections in (\d+) real seconds/.exec(stdout) ?? [];
  return Number(count) / Number(spent);
}

async function openRate({ child }: Member, order: OpenerOrder): Promise<number> {
  child.send(order);
  const [answer] = await once(child, "message", { signal: AbortSignal.timeout(60_000) });
  // godoxy-opener.ts answers every order with this.
  const { opensPerSecond = Number.NaN, error } = answer as OpenerResult;
  if (error !== undefined) throw new Error(`${order.kind}: ${error}`);
  return opensPerSecond;
}

const PARALLEL = 32;
const WARM_UP_MS = 2_000;
const OPEN_MS = 2_000;
const OPENSSL_SECONDS = 3;
