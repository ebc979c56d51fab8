import { SlabPool } from "../bytes/slab-pool.ts";
import { type Clock, systemClock } from "../clock/clock.ts";

/** What everything that runs shares: time, chance, and read buffers. Made once, passed in. */
export interface Runtime {
  readonly clock: Clock;
  /** Uniform in [0, 1). For jitter only, never for secrets. */
  readonly random: () => number;
  readonly slabs: SlabPool;
}

/** A runtime on the machine's clock. */
export function systemRuntime(): Runtime {
  return { clock: systemClock, random: Math.random, slabs: new SlabPool() };
}
