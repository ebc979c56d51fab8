import type { Clock } from "../clock/clock.ts";
import { limiterKey, RateLimiter } from "../relay/rate-limiter.ts";
import type { LoginGuard } from "../tunnel/logins.ts";

/** Counts failed logins per address (IPv6: per /64), and refuses those that fail too often. */
export function createLoginGuard(clock: Clock): LoginGuard {
  const limiter = new RateLimiter({ clock });
  return {
    blockedForMs: (peer) => limiter.blockedForMs(limiterKey(peer)),
    recordFailure: (peer) => limiter.recordFailure(limiterKey(peer)),
  };
}
