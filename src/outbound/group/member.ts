import { blameOf, type TunnelError } from "../../errors.ts";
import type { Outbound } from "../../tunnel/request.ts";
import { Health, type HealthThresholds } from "./health.ts";

/** How the link of a member is. */
export interface LinkState {
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  /** Why it is down. */
  readonly detail: string;
  readonly streams: number;
}

/** A tunnel that a group may choose. */
export interface GroupMember {
  readonly outbound: Outbound;
  status(): LinkState;
  /** Proves that it carries something; without it a link that is up is believed. */
  readonly check?: ((options: { readonly signal: AbortSignal }) => Promise<void>) | undefined;
}

/** One member, and what is known of it. */
export class Member {
  readonly health: Health;
  /** Whether a check is running. */
  isChecking = false;
  readonly #member: GroupMember;
  #opening = 0;
  /** What was logged last: it is said once. */
  #wasUp: boolean | undefined;

  constructor(member: GroupMember, thresholds: HealthThresholds) {
    this.#member = member;
    this.health = new Health(thresholds);
  }

  get name(): string {
    return this.#member.outbound.name;
  }

  get outbound(): Outbound {
    return this.#member.outbound;
  }

  get check(): GroupMember["check"] {
    return this.#member.check;
  }

  /** Whether new connections may take it. */
  get isLive(): boolean {
    return this.hasLink && this.health.isUp;
  }

  /** Whether its link is up, or would be dialled by the first connection. */
  get hasLink(): boolean {
    const { state } = this.#member.status();
    return state === "up" || state === "idle";
  }

  /** Whether there is no hope that it comes up. */
  get isOver(): boolean {
    return this.#member.status().state === "closed";
  }

  /** Streams that it carries, and those that it is to carry. */
  get load(): number {
    return this.#member.status().streams + this.#opening;
  }

  /** Why it is not live. */
  get reason(): string {
    const { state, detail } = this.#member.status();
    if (state === "connecting") return "is being dialled";
    if (state === "closed") return `is closed: ${detail}`;
    if (state === "down") return `is down: ${detail}`;
    return `fails its checks: ${this.health.failure ?? "no reason given"}`;
  }

  /** Whether it went up or down since this was asked last. */
  turned(): "up" | "down" | undefined {
    const isDialledFirst =
      this.#wasUp === undefined && this.#member.status().state === "connecting";
    if (isDialledFirst || this.isLive === this.#wasUp) return undefined;
    const isFirst = this.#wasUp === undefined;
    this.#wasUp = this.isLive;
    if (isFirst && this.isLive) return undefined;
    return this.isLive ? "up" : "down";
  }

  /** Opens something through it, counted while it is not open yet. */
  async opening<Opened>(open: () => Promise<Opened>): Promise<Opened> {
    this.#opening++;
    try {
      return await open();
    } finally {
      this.#opening--;
    }
  }
}

/**
 * Whether another member may do better: this one could not carry the wish. What the target answered,
 * and what our own rules say, is the answer.
 */
export function isOfMember(error: TunnelError): boolean {
  return blameOf(error) === "peer" || OF_MEMBER.has(error.code);
}

/** Whether the error counts as a failed check: the member itself is at fault, not one stream of it. */
export function isUnhealthy(error: TunnelError): boolean {
  if (error.code === "ERR_STREAM_RESET") return false;
  return blameOf(error) === "peer" || error.code === "ERR_AUTH";
}

const OF_MEMBER: ReadonlySet<TunnelError["code"]> = new Set([
  "ERR_AUTH",
  "ERR_LIMIT",
  "ERR_SHUTDOWN",
  "ERR_CLOSED",
  "ERR_COMMAND_UNSUPPORTED",
  "ERR_ADDRESS_UNSUPPORTED",
  // The exit is cut off.
  "ERR_DIAL_NETWORK_UNREACHABLE",
] as const);
