import { timeoutAfter, type Timer } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { attempt } from "./attempt.ts";
import type { HealthThresholds } from "./health.ts";
import type { Member } from "./member.ts";

/** How members are checked. */
export interface CheckOptions extends HealthThresholds {
  /** Between two checks, ms. */
  readonly everyMs: number;
  /** How long one may take, ms. */
  readonly timeoutMs: number;
}

/** Checks every member of a group from time to time. */
export class Checks {
  readonly #members: readonly Member[];
  readonly #options: CheckOptions;
  readonly #runtime: Runtime;
  readonly #onResult: () => void;
  readonly #closing = new AbortController();
  #timer: Timer | undefined;

  constructor(
    members: readonly Member[],
    options: CheckOptions & { readonly runtime: Runtime; onResult(): void },
  ) {
    this.#members = members;
    this.#options = options;
    this.#runtime = options.runtime;
    this.#onResult = () => options.onResult();
  }

  /** The first check comes soon, for members that look well and are not. */
  start(): void {
    this.#schedule(Math.min(FIRST_CHECK_MS, this.#options.everyMs));
  }

  /** Checks one member out of turn, unless that is going on. */
  now(member: Member): void {
    if (!this.#closing.signal.aborted) void this.#check(member);
  }

  close(): void {
    this.#timer?.cancel();
    this.#closing.abort(new TunnelError("ERR_SHUTDOWN", "group is closing"));
  }

  #schedule(delayMs: number): void {
    this.#timer = this.#runtime.clock.schedule(delayMs, () => {
      for (const member of this.#members) void this.#check(member);
      this.#schedule(this.#options.everyMs);
    });
  }

  /** Never rejects. A member without a link is down already, and what its link says is enough. */
  async #check(member: Member): Promise<void> {
    const { check } = member;
    if (member.isChecking || !member.hasLink) return;
    if (check === undefined) {
      // Its link speaks for it: what failed while it was dialled may go now.
      member.health.passed();
      this.#onResult();
      return;
    }
    const { timeoutMs } = this.#options;
    using timeout = timeoutAfter(this.#runtime.clock, timeoutMs, () => {
      return new NetworkError("ERR_DIAL_TIMEOUT", `no answer within ${timeoutMs} ms`);
    });
    const signal = AbortSignal.any([timeout.signal, this.#closing.signal]);
    member.isChecking = true;
    try {
      await attempt(async (inner) => await check({ signal: inner }), { signal, discard: () => {} });
      member.health.passed();
    } catch (thrown) {
      if (this.#closing.signal.aborted) return;
      member.health.failed(toTunnelError(thrown, "ERR_DIAL_FAILED", "check").message);
    } finally {
      member.isChecking = false;
    }
    this.#onResult();
  }
}

/** Time enough for links to come up. */
const FIRST_CHECK_MS = 1_000;
