import type { Logger } from "../../tunnel/logger.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { GodoxyAgentLimits } from "./limits.ts";

/** Who a client is, as its certificate says. */
export interface ClientIdentity {
  /** For logs and rules. */
  readonly name: string;
  /** SHA-256 of its public key (SPKI), base64: what bounds go by. */
  readonly key: string;
}

/** What both halves of an agent share. */
export interface AgentContext {
  /** The name of this inbound in logs and routes. */
  readonly name: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly limits: GodoxyAgentLimits;
}
