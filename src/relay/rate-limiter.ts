import { formatIp, parseIp, unmapIpv4 } from "../address/ip.ts";
import type { Clock } from "../clock/clock.ts";

/** How many failures are forgiven, and how fast. */
export interface RateLimiterOptions {
  readonly clock: Clock;
  /** Failures in a row before a key is blocked. @default 10 */
  readonly burst?: number | undefined;
  /** How long one failure takes to be forgiven. @default 6000 */
  readonly forgiveMs?: number | undefined;
  /** Keys remembered; past it the one that failed longest ago is forgotten. @default 16384 */
  readonly maxKeys?: number | undefined;
}

/**
 * Counts failures per key, and forgives one every few seconds: a leaky bucket for failed logins.
 *
 * Needs no timer: what is forgiven is worked out when asked.
 */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #burst: number;
  readonly #forgiveMs: number;
  readonly #maxKeys: number;
  /** When all failures of a key will be forgiven; the key that failed last stands last. */
  readonly #clearAt = new Map<string, number>();

  constructor({
    clock,
    burst = DEFAULT_BURST,
    forgiveMs = DEFAULT_FORGIVE_MS,
    maxKeys = DEFAULT_MAX_KEYS,
  }: RateLimiterOptions) {
    this.#clock = clock;
    this.#burst = burst;
    this.#forgiveMs = forgiveMs;
    this.#maxKeys = maxKeys;
  }

  /** Keys remembered now. */
  get size(): number {
    return this.#clearAt.size;
  }

  /** How long the key stays blocked, ms; 0 when it may try. */
  blockedForMs(key: string): number {
    const owed = (this.#clearAt.get(key) ?? 0) - this.#clock.now();
    return Math.max(0, owed - (this.#burst - 1) * this.#forgiveMs);
  }

  /** Counts one failure. A key at its limit gets no further down: it comes back after one wait. */
  recordFailure(key: string): void {
    const now = this.#clock.now();
    const full = now + this.#burst * this.#forgiveMs;
    const clearAt = Math.max(now, this.#clearAt.get(key) ?? 0) + this.#forgiveMs;
    this.#clearAt.delete(key);
    this.#clearAt.set(key, Math.min(clearAt, full));
    this.#forget(now);
  }

  /** Forgives everything: the key proved who it is. */
  recordSuccess(key: string): void {
    this.#clearAt.delete(key);
  }

  /** Drops what is forgiven, from the oldest on, and whatever is over the limit. */
  #forget(now: number): void {
    for (const [key, clearAt] of this.#clearAt) {
      if (clearAt > now && this.#clearAt.size <= this.#maxKeys) return;
      this.#clearAt.delete(key);
    }
  }
}

/**
 * The key of an address, with or without port: IPv4 as it is, of IPv6 the /64, because one host
 * has all of those.
 */
export function limiterKey(endpoint: string): string {
  const host =
    /^\[([^\]]*)\]/.exec(endpoint)?.[1] ?? /^([^:]*):\d+$/.exec(endpoint)?.[1] ?? endpoint;
  const bytes = parseIp(host.replace(/%.*$/, ""));
  if (bytes === undefined) return host;
  const plain = unmapIpv4(bytes);
  if (plain.byteLength === 4) return formatIp(plain);
  return `${formatIp(plain.map((byte, at) => (at < 8 ? byte : 0)))}/64`;
}

const DEFAULT_BURST = 10;

/** Ten tries, then ten a minute. */
const DEFAULT_FORGIVE_MS = 6_000;

/** A few MiB at most. */
const DEFAULT_MAX_KEYS = 16_384;
