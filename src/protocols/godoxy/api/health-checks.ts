import type { OriginDialer } from "./origin.ts";

/** What a check found. */
export interface Health {
  readonly healthy: boolean;
  readonly detail: string;
  /** Nanoseconds. */
  readonly latency: number;
}

/** What checks need. */
export interface HealthChecks extends OriginDialer {
  /** The agent's version, for origins' logs. */
  readonly version: string;
  /**
   * Whether a file or folder of this machine is there; whoever has a certificate can ask. Absent:
   * such checks are refused.
   */
  readonly hasFile?: ((path: string) => Promise<boolean>) | undefined;
  /** Proves what can be proved of a UDP target, or throws. @default nothing: all are well */
  readonly checkUdp?:
    | ((target: { host: string; port: number }, signal: AbortSignal) => Promise<void>)
    | undefined;
}
