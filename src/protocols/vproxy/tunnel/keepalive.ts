import type { TunnelSide } from "./options.ts";

/** What a keep-alive asks for when its time has come. */
export type KeepaliveVerdict = "wait" | "dead" | { readonly ping: Uint8Array };

/**
 * Decides when a quiet peer is asked, and when it is given up. Pure.
 *
 * Spec: vproxy 3.7. It looks at fixed times and asks only where nothing is said either way. Answers
 * earn credit, so that a tunnel that has worked survives two lost ones.
 */
export class TunnelKeepalive {
  readonly #intervalMs: number;
  #lookAt: number | undefined;
  #heardAt: number;
  #ping: { readonly id: number; readonly sentAt: number } | undefined;
  #lastId = 0;
  #credit = 0;
  #rttMs: number | undefined;

  /** @param intervalMs between two looks; 0: never */
  constructor(intervalMs: number, startedAt: number) {
    this.#intervalMs = intervalMs;
    this.#lookAt = intervalMs > 0 ? startedAt + intervalMs : undefined;
    this.#heardAt = startedAt;
  }

  /** The latest round trip, ms. */
  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  get deadline(): number | undefined {
    const answerBy = this.#ping === undefined ? undefined : this.#ping.sentAt + ANSWER_MS;
    if (this.#lookAt === undefined || answerBy === undefined) return this.#lookAt ?? answerBy;
    return Math.min(this.#lookAt, answerBy);
  }

  /** Anything came from the peer: it lives. */
  heard(now: number): void {
    this.#heardAt = now;
  }

  /** An answer; one to an unknown question means nothing. */
  answered(payload: Uint8Array, now: number): void {
    const ping = this.#ping;
    if (ping === undefined || viewOf(payload).getBigUint64(0) !== BigInt(ping.id)) return;
    this.#ping = undefined;
    this.#rttMs = now - ping.sentAt;
    this.#credit = Math.min(MAX_CREDIT, this.#credit + 1);
  }

  /** @param isBusy whether something of ours still waits to leave */
  tick(now: number, isBusy: boolean): KeepaliveVerdict {
    if (this.#isMissed(now)) {
      if (this.#credit <= 0) return "dead";
      this.#credit--;
    }
    if (this.#lookAt === undefined || this.#lookAt > now) return "wait";
    while (this.#lookAt <= now) this.#lookAt += this.#intervalMs;
    if (isBusy || this.#ping !== undefined || now - this.#heardAt <= QUIET_MS) return "wait";
    this.#ping = { id: ++this.#lastId, sentAt: now };
    const ping = new Uint8Array(PING_BYTES);
    viewOf(ping).setBigUint64(0, BigInt(this.#ping.id));
    return { ping };
  }

  /** Whether an answer is overdue, and nothing else was heard in its place. */
  #isMissed(now: number): boolean {
    const ping = this.#ping;
    if (ping === undefined || now < ping.sentAt + ANSWER_MS) return false;
    this.#ping = undefined;
    return this.#heardAt <= ping.sentAt;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Of a PING's payload: longer ones are cut, shorter ones mean nothing. */
export const PING_BYTES = 8;

/** As the reference looks. Spec: vproxy 3.7. */
export const KEEPALIVE_MS: Readonly<Record<TunnelSide, number>> = {
  client: 10_000,
  server: 30_000,
};

/** A peer that was heard within is not asked. */
const QUIET_MS = 5000;

/** How long an answer may take. */
const ANSWER_MS = 5000;

const MAX_CREDIT = 2;
