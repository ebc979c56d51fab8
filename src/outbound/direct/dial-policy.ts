import type { Target } from "../../address/target.ts";
import type { PolicyError } from "../../errors.ts";
import type { Metadata } from "../../tunnel/request.ts";

/** What may be dialled, and for whom: `ExitPolicy` of `relay`. */
export interface DialPolicy {
  /** Judges a target before its name is resolved. */
  checkName(target: Target, metadata: Metadata): PolicyError | undefined;
  /** Judges one address that `target` stands for, just before it is dialled. */
  checkAddress(address: string, target: Target, metadata: Metadata): PolicyError | undefined;
}
