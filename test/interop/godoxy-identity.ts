import { readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../support/child-process.ts";
import { sluice } from "../support/sluice-process.ts";

/** Files in the form of `sluice cert --format`; a client of `pair` has a zip. */
export type CertificateForm = "pem" | "pair";

/** A folder of certificates: one CA, an agent's and a client's. */
export interface GodoxyIdentity {
  readonly folder: string;
  readonly form: CertificateForm;
}

/** Makes certificates with the original's generator. */
export async function generateTheirs(
  harness: string,
  folder: string,
  form: CertificateForm,
): Promise<GodoxyIdentity> {
  const { code, stderr } = await run(harness, ["generate", folder]);
  if (code !== 0) throw new Error(`the harness generates nothing: ${stderr}`);
  return { folder, form };
}

/** Makes them with ours. */
export async function generateOurs(folder: string, form: CertificateForm): Promise<GodoxyIdentity> {
  const ca = join(folder, form === "pem" ? "ca.pem" : "ca.pair.txt");
  const client = form === "pem" ? ["pem", "client"] : ["zip", "agent"];
  for (const [who, format, name] of [
    ["ca", form, "ca"],
    ["server", form, "server"],
    ["client", ...client],
  ]) {
    const signer = who === "ca" ? [] : ["--ca", ca];
    const args = ["cert", who ?? "", "--format", format ?? "", "-o", join(folder, name ?? "")];
    const { code, stderr } = await sluice([...args, ...signer]);
    if (code !== 0) throw new Error(`no certificate of the ${who}: ${stderr}`);
  }
  return { folder, form };
}

/** What the harness shows and trusts in a part. */
export function harnessFlags(
  { folder, form }: GodoxyIdentity,
  part: "agent" | "client",
): readonly string[] {
  const file = (name: string): string => join(folder, name);
  if (form === "pem") {
    const who = part === "agent" ? "server" : "client";
    const own = ["--cert", file(`${who}.pem`), "--key", file(`${who}.key`)];
    return ["--ca", file("ca.pem"), ...own];
  }
  if (part === "client") return ["--zip", file("agent.zip")];
  return ["--ca-pair", file("ca.pair.txt"), "--pair", file("server.pair.txt")];
}

/** The query of our URL in a part. */
export function ourQuery(
  { folder, form }: GodoxyIdentity,
  part: "agent" | "client",
): readonly string[] {
  const file = (name: string): string => join(folder, name);
  if (form === "pem") {
    const who = part === "agent" ? "server" : "client";
    const own = [`cert=file:${file(`${who}.pem`)}`, `key=file:${file(`${who}.key`)}`];
    return [`ca=file:${file("ca.pem")}`, ...own];
  }
  return part === "client" ? [`store=${file("agent.zip")}`] : [];
}

/** What our agent finds in its environment, as the original's does. */
export function ourEnvironment({ folder, form }: GodoxyIdentity): Readonly<Record<string, string>> {
  if (form === "pem") return {};
  const read = (name: string): string => readFileSync(join(folder, name), "utf8").trim();
  return { AGENT_CA_CERT: read("ca.pair.txt"), AGENT_SSL_CERT: read("server.pair.txt") };
}
