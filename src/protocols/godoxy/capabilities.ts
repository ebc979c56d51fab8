import type { Timer } from "../../clock/clock.ts";
import { toTunnelError, type TunnelError } from "../../errors.ts";
import type { Runtime } from "../../tunnel/runtime.ts";

/** What is known of one transport. */
export interface Capability {
  readonly verdict: "unknown" | "yes" | "no";
  /** Why not. */
  readonly error: TunnelError | undefined;
  /** How long connecting took in the last probe that succeeded, ms. */
  readonly latencyMs: number | undefined;
}

/** The transports an agent may serve. */
export type CapabilityName = "tcp" | "udp";

/** What there is to be asked, and how often. */
export interface CapabilitiesOptions {
  readonly runtime: Runtime;
  /** Resolves when the agent serves it, with how long connecting took, ms. */
  readonly probes: ReadonlyMap<CapabilityName, (signal: AbortSignal) => Promise<number>>;
  /** 0: only when told to. */
  readonly intervalMs: number;
  onChange(): void;
}

/** What an agent can do: nothing on the wire says so, so it is tried, again and again. */
export class Capabilities {
  readonly #options: CapabilitiesOptions;
  readonly #known = new Map<CapabilityName, Capability>();
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;
  #timer: Timer | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #checkedAt = Number.NEGATIVE_INFINITY;
  #failures = 0;

  constructor(options: CapabilitiesOptions) {
    this.#options = options;
    for (const name of options.probes.keys()) this.#known.set(name, UNKNOWN);
  }

  /** What there is to be asked, with what is known of it. */
  get known(): ReadonlyMap<CapabilityName, Capability> {
    return this.#known;
  }

  /** Whether it is being asked right now. */
  get isChecking(): boolean {
    return this.#running !== undefined;
  }

  /** Asks all at once; a second call while it runs waits for the same answers. Never rejects. */
  check(): Promise<void> {
    if (this.#closing.signal.aborted) return Promise.resolve();
    this.#running ??= this.#check().finally(() => {
      this.#running = undefined;
      this.#options.onChange();
    });
    return this.#running;
  }

  /** Something failed that should not have: asks anew soon, but not in a storm. */
  suspect(): void {
    if (this.#running !== undefined || this.#checkedAt === Number.NEGATIVE_INFINITY) return;
    const now = this.#options.runtime.clock.now();
    this.#schedule(Math.max(SOON_MS, this.#checkedAt + PAUSE_MS - now));
  }

  /** Asks no more. */
  close(error: TunnelError): void {
    this.#closing.abort(error);
    this.#timer?.cancel();
  }

  async #check(): Promise<void> {
    const { runtime, probes, intervalMs } = this.#options;
    this.#timer?.cancel();
    this.#dueAt = Number.POSITIVE_INFINITY;
    const { signal } = this.#closing;
    await Promise.all(Array.from(probes, ([name, probe]) => this.#ask(name, probe)));
    if (signal.aborted) return;
    this.#checkedAt = runtime.clock.now();
    const isDown = [...this.#known.values()].every(({ verdict }) => verdict === "no");
    this.#failures = isDown ? this.#failures + 1 : 0;
    if (intervalMs === 0) return;
    // One that is down is asked sooner at first.
    const delayMs = isDown ? SOON_MS * 2 ** Math.min(this.#failures, 16) : intervalMs;
    this.#schedule(Math.min(delayMs, intervalMs));
  }

  async #ask(name: CapabilityName, probe: (signal: AbortSignal) => Promise<number>): Promise<void> {
    try {
      const latencyMs = await probe(this.#closing.signal);
      this.#known.set(name, { verdict: "yes", error: undefined, latencyMs });
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_TUNNEL_DOWN", `${name} probe`);
      this.#known.set(name, { verdict: "no", error, latencyMs: undefined });
    }
  }

  #schedule(delayMs: number): void {
    const at = this.#options.runtime.clock.now() + delayMs;
    if (this.#closing.signal.aborted || this.#dueAt <= at) return;
    this.#timer?.cancel();
    this.#dueAt = at;
    this.#timer = this.#options.runtime.clock.schedule(delayMs, () => void this.check());
  }
}

const UNKNOWN: Capability = { verdict: "unknown", error: undefined, latencyMs: undefined };

/** How soon a doubt is cleared up. */
const SOON_MS = 1_000;

/** Between two checks that doubts cause. */
const PAUSE_MS = 5_000;
