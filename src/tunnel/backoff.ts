/** Bounds of a retry delay, ms. */
export interface BackoffLimits {
  /** @default 250 */
  readonly minMs: number;
  /** @default 30000 */
  readonly maxMs: number;
}

/**
 * Full jitter: uniform between zero and an exponentially growing cap, so that many clients that
 * lost one server do not return together. Never below a tenth of the minimum.
 *
 * @param attempt 0 for the first retry
 * @param random uniform in [0, 1)
 */
export function backoffMs(
  attempt: number,
  random: number,
  { minMs, maxMs }: BackoffLimits = DEFAULT_BACKOFF,
): number {
  const cap = Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
  return Math.max(minMs / 10, random * cap);
}

/** Quick after a hiccup, and no burden on a peer that stays down. */
export const DEFAULT_BACKOFF: BackoffLimits = { minMs: 250, maxMs: 30_000 };
