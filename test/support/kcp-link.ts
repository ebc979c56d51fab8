import type { KcpOptions } from "../../src/transports/kcp/kcp-options.ts";
import { KcpSession, type KcpStep } from "../../src/transports/kcp/kcp-session.ts";

/** What a datagram may meet on its way. */
export interface LinkConditions {
  /** 0 to 1. */
  readonly lossRate?: number;
  readonly duplicateRate?: number;
  /** One way. */
  readonly delayMs?: number;
  /** Added at random to the delay of each datagram: more than their distance reorders them. */
  readonly jitterMs?: number;
  /** Sees each datagram; false drops it. */
  readonly passes?: (datagram: Uint8Array, from: KcpEnd, now: number) => boolean;
  /** Decides where each datagram goes instead of everything above: the delay, or a loss. */
  readonly route?: (datagram: Uint8Array, from: KcpEnd, now: number) => number | undefined;
}

/** Where a link starts. */
export interface LinkStart {
  readonly seed?: number;
  /** The first sequence number of both directions. */
  readonly firstSequence?: number;
  readonly startAt?: number;
}

/** One end of a simulated link. */
export class KcpEnd {
  readonly session: KcpSession;
  readonly received: Uint8Array[] = [];
  receivedBytes = 0;
  sentDatagrams = 0;
  sentBytes = 0;
  error: Error | undefined;

  constructor(session: KcpSession) {
    this.session = session;
  }
}

/** Two sessions, a seeded link between them, and a clock of whole milliseconds. */
export class KcpLink {
  now: number;
  readonly left: KcpEnd;
  readonly right: KcpEnd;
  conditions: LinkConditions;
  readonly #random: () => number;
  readonly #arrivals = new Map<number, [KcpEnd, Uint8Array][]>();

  constructor(
    options: KcpOptions,
    conditions: LinkConditions = {},
    { seed = 1, firstSequence = 0, startAt = 1000 }: LinkStart = {},
  ) {
    this.now = startAt;
    this.conditions = conditions;
    this.#random = seededRandom(seed);
    this.left = new KcpEnd(new KcpSession(options, startAt, firstSequence));
    this.right = new KcpEnd(new KcpSession(options, startAt, firstSequence));
  }

  /** Datagrams on their way. */
  get underWay(): number {
    let count = 0;
    for (const arrivals of this.#arrivals.values()) count += arrivals.length;
    return count;
  }

  write(end: KcpEnd, data: Uint8Array): void {
    this.act(end, end.session.write(data, this.now));
  }

  resume(end: KcpEnd): void {
    this.act(end, end.session.resume(this.now));
  }

  /** Lets time pass until `isDone`, for `limitMs` at most. Returns whether it was done. */
  run(isDone: () => boolean, limitMs: number): boolean {
    const until = this.now + limitMs;
    while (!isDone()) {
      if (this.now >= until) return false;
      this.now++;
      this.turn();
    }
    return true;
  }

  /** Lets `ms` pass. */
  pass(ms: number): void {
    this.run(() => false, ms);
  }

  /** Does what this millisecond brings. */
  turn(): void {
    const arrivals = this.#arrivals.get(this.now) ?? [];
    this.#arrivals.delete(this.now);
    for (const [end, datagram] of arrivals) {
      this.act(end, end.session.receive(datagram, this.now));
    }
    for (const end of [this.left, this.right]) {
      const { deadline } = end.session;
      if (deadline !== undefined && deadline <= this.now) {
        this.act(end, end.session.tick(this.now));
      }
    }
  }

  /** Carries out a step of `end`. */
  act(end: KcpEnd, { datagrams, data, error }: KcpStep): void {
    for (const datagram of datagrams) this.#send(end, datagram);
    for (const chunk of data) {
      end.received.push(chunk);
      end.receivedBytes += chunk.byteLength;
    }
    end.error ??= error;
  }

  #send(from: KcpEnd, datagram: Uint8Array): void {
    from.sentDatagrams++;
    from.sentBytes += datagram.byteLength;
    const { lossRate = 0, duplicateRate = 0, passes, route } = this.conditions;
    if (route !== undefined) {
      const delayMs = route(datagram, from, this.now);
      if (delayMs !== undefined) this.#deliver(from, datagram, delayMs);
      return;
    }
    if (passes?.(datagram, from, this.now) === false) return;
    if (this.#random() < lossRate) return;
    this.#deliver(from, datagram, this.#delay());
    if (this.#random() < duplicateRate) this.#deliver(from, datagram, this.#delay());
  }

  #delay(): number {
    const { delayMs = 1, jitterMs = 0 } = this.conditions;
    return delayMs + this.#random() * jitterMs;
  }

  #deliver(from: KcpEnd, datagram: Uint8Array, delayMs: number): void {
    const at = this.now + Math.max(1, Math.round(delayMs));
    const arrivals = this.#arrivals.get(at) ?? [];
    if (arrivals.length === 0) this.#arrivals.set(at, arrivals);
    arrivals.push([from === this.left ? this.right : this.left, datagram]);
  }
}

/** Chance that is the same each time: xorshift32. */
export function seededRandom(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4_294_967_296;
  };
}
