import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Which of the two agents whose certificates the original made. */
export type VectorAgent = "agent-a" | "agent-b";

/** The path of a file among the original's certificates: `ca.pem`, `agent.zip`. */
export function vectorPath(agent: VectorAgent, name: string): string {
  return fileURLToPath(new URL(`../vectors/godoxy/certs/${agent}/${name}`, import.meta.url));
}

/** The text of such a file. */
export function vectorText(agent: VectorAgent, name: string): string {
  return readFileSync(vectorPath(agent, name), "utf8");
}

/** A time at which they are valid. */
export const VECTOR_TIME: Date = new Date("2026-11-21T00:00:00Z");
