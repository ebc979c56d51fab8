import type { Outbound } from "../tunnel/request.ts";
import type { Policy } from "./exit-policy.ts";

/**
 * The same way out behind a policy, for outbounds that resolve nothing themselves: an upstream
 * proxy, a tunnel. What a name stands for is then the far end's to judge; `direct` asks by itself.
 */
export function guardOutbound(outbound: Outbound, policy: Policy): Outbound {
  return {
    name: outbound.name,
    dial: async (target, options) => {
      const denied = policy.checkUnresolved(target, options.metadata);
      if (denied !== undefined) throw denied;
      return await outbound.dial(target, options);
    },
  };
}
