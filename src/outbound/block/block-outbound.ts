import { formatTarget } from "../../address/target.ts";
import { PolicyError } from "../../errors.ts";
import type { Outbound } from "../../tunnel/request.ts";

/** A way out that is none: every target is refused with `ERR_ROUTE_BLOCKED`. */
export function createBlockOutbound(name = "block"): Outbound {
  return {
    name,
    dial: (target) => {
      const text = `target ${formatTarget(target)} is blocked by a route to "${name}"`;
      return Promise.reject(new PolicyError("ERR_ROUTE_BLOCKED", text));
    },
  };
}
