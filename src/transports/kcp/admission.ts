import type { Clock } from "../../clock/clock.ts";

/** How many new sessions are let in. */
export interface AdmissionOptions {
  /** In the long run. */
  readonly perSecond: number;
  /** At once, after a quiet time. */
  readonly burst: number;
}

/**
 * Decides whether the first datagram of an unknown address may cost us a session.
 *
 * While few come, each is let in. When more come than half the burst allows, only addresses that
 * were here before: real ones repeat their first segment within a second, made-up ones hardly ever
 * come twice. Memory does not depend on how many come.
 */
export class Admission {
  readonly #clock: Clock;
  readonly #options: AdmissionOptions;
  /** What is remembered of those that had to wait: 4 bytes at the place their hash names. */
  readonly #seen = new Uint32Array(SEEN_SLOTS);
  readonly #seed: number;
  #tokens: number;
  #filledAt: number;

  /** @param random uniform in [0, 1): keeps others from aiming at the place of an address */
  constructor(clock: Clock, random: () => number, options: AdmissionOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#seed = Math.floor(random() * 2 ** 32) >>> 0;
    this.#tokens = options.burst;
    this.#filledAt = clock.now();
  }

  /** Whether the session of `address` may be made now. */
  admits(address: string): boolean {
    const { burst, perSecond } = this.#options;
    const now = this.#clock.now();
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) / 1000) * perSecond);
    this.#filledAt = now;
    const isCrowded = this.#tokens < burst / 2;
    if (isCrowded && !this.#wasSeen(address)) return false;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Whether it was here lately; from now on it was. */
  #wasSeen(address: string): boolean {
    let hash = this.#seed;
    for (let at = 0; at < address.length; at++) {
      hash = Math.imul(hash ^ address.charCodeAt(at), FNV_PRIME);
    }
    hash = Math.imul(hash ^ (hash >>> 15), MIX);
    const slot = (hash >>> 16) & (SEEN_SLOTS - 1);
    const mark = (hash | 1) >>> 0; // 0 is an empty place
    const wasSeen = this.#seen[slot] === mark;
    this.#seen[slot] = mark;
    return wasSeen;
  }
}

/** 256 KiB: a flood of 100,000 addresses per second leaves most marks for half a second. */
const SEEN_SLOTS = 65_536;

const FNV_PRIME = 0x01_00_01_93;
const MIX = 0x2c_1b_3c_6d;
