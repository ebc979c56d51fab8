import { formatTarget, type Target } from "../../address/target.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { PacketChannel } from "../../tunnel/packets.ts";
import type { Metadata, Outbound } from "../../tunnel/request.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { attempt } from "./attempt.ts";
import { type CheckOptions, Checks } from "./checks.ts";
import { type GroupMember, isOfMember, isUnhealthy, Member } from "./member.ts";
import { type GroupPolicy, pick } from "./pick.ts";

/** What a group needs. */
export interface GroupOptions {
  /** Its name in routes and logs. */
  readonly name: string;
  readonly runtime: Runtime;
  readonly logger: Logger;
  readonly policy: GroupPolicy;
  /** In the order of preference; never empty. */
  readonly members: readonly GroupMember[];
  readonly check: CheckOptions;
  /** How long a new connection waits while no member is live, ms. */
  readonly waitMs: number;
}

/** Several tunnels to the same places, as one way out. */
export interface Group {
  readonly outbound: Outbound;
  /** Begins to check its members. */
  start(): void;
  /** The status of a member changed. */
  changed(): void;
  close(): void;
}

/** Makes a group; it checks nothing before it is started. */
export function createGroup(options: GroupOptions): Group {
  const group = new TunnelGroup(options);
  const dial: Outbound["dial"] = async (target, { signal, metadata }) =>
    await group.dial(target, { signal, metadata });
  const associate: Outbound["associate"] = async (asked) => await group.associate(asked);
  const { name, members } = options;
  const carriesPackets = members.some(({ outbound }) => outbound.associate !== undefined);
  return {
    outbound: { name, dial, ...(carriesPackets && { associate }) },
    start: () => group.start(),
    changed: () => group.changed(),
    close: () => group.close(),
  };
}

interface Asked {
  readonly signal: AbortSignal;
  readonly metadata: Metadata;
}

/** One wish, and how a member is asked for it. */
interface Wish<Opened> {
  /** For messages: `host:443`, `datagrams`. */
  readonly what: string;
  readonly signal: AbortSignal;
  isFor(member: Member): boolean;
  open(outbound: Outbound, signal: AbortSignal): Promise<Opened>;
  discard(late: Opened, reason: TunnelError): void;
}

class TunnelGroup {
  readonly #options: GroupOptions;
  readonly #members: readonly Member[];
  readonly #checks: Checks;
  /** Told when anything about a member changed. */
  readonly #watchers = new Set<() => void>();
  #turn = 0;

  constructor(options: GroupOptions) {
    this.#options = options;
    const { check, runtime, members } = options;
    this.#members = members.map((member) => new Member(member, check));
    const onResult = (): void => this.changed();
    this.#checks = new Checks(this.#members, { ...check, runtime, onResult });
  }

  start(): void {
    this.#checks.start();
  }

  close(): void {
    this.#checks.close();
  }

  changed(): void {
    const { logger, name } = this.#options;
    for (const member of this.#members) {
      const turned = member.turned();
      const fields = { group: name, member: member.name };
      if (turned === "up") logger.info("group member up", fields);
      else if (turned === "down") {
        logger.warn("group member down", { ...fields, reason: member.reason });
      }
    }
    for (const watcher of this.#watchers) watcher();
  }

  dial(target: Target, { signal, metadata }: Asked): Promise<Connection> {
    return this.#through({
      what: formatTarget(target),
      signal,
      isFor: () => true,
      open: async (outbound, inner) => await outbound.dial(target, { signal: inner, metadata }),
      discard: (connection, reason) => connection.reset(reason),
    });
  }

  associate({ signal, metadata }: Asked): Promise<PacketChannel> {
    return this.#through({
      what: "datagrams",
      signal,
      isFor: ({ outbound }) => outbound.associate !== undefined,
      open: async (outbound, inner) => {
        const opened = await outbound.associate?.({ signal: inner, metadata });
        if (opened !== undefined) return opened;
        throw new TunnelError("ERR_COMMAND_UNSUPPORTED", `${outbound.name} carries no datagrams`);
      },
      discard: (channel, reason) => channel.close(reason),
    });
  }

  /** One member after the other, until one opens, or says something that another one would say too. */
  async #through<Opened>(wish: Wish<Opened>): Promise<Opened> {
    const { runtime, logger, name } = this.#options;
    const until = runtime.clock.now() + OPEN_MS;
    const tried = new Map<Member, TunnelError>();
    wish.signal.throwIfAborted();
    if (this.#choose(wish, tried) === undefined) await this.#whenLive(wish);
    for (;;) {
      const member = this.#take(wish, tried);
      if (member === undefined || runtime.clock.now() >= until) throw this.#nobody(wish, tried);
      try {
        const opened = await this.#ask(member, wish, { tried, until });
        if (member.check === undefined && member.health.isUp) member.health.passed();
        return opened;
      } catch (thrown) {
        const error = toTunnelError(thrown, "ERR_DIAL_FAILED", wish.what);
        if (wish.signal.aborted || !(isOfMember(error) || isOurDeadline(error))) throw error;
        tried.set(member, error);
        const fields = { group: name, member: member.name, to: wish.what, reason: error.message };
        logger.debug("group member failed", fields);
        if (isUnhealthy(error)) this.#suspect(member, error);
      }
    }
  }

  /** A connection failed through the member: it is checked at once, or that was the check. */
  #suspect(member: Member, error: TunnelError): void {
    if (member.check !== undefined) this.#checks.now(member);
    else if (member.health.failed(error.message)) this.changed();
  }

  /** Asks one member, for its share of the time, and only while its link is there. */
  async #ask<Opened>(
    member: Member,
    wish: Wish<Opened>,
    { tried, until }: { readonly tried: ReadonlyMap<Member, TunnelError>; readonly until: number },
  ): Promise<Opened> {
    const { clock } = this.#options.runtime;
    const isOther = (other: Member): boolean =>
      other !== member && other.isLive && wish.isFor(other) && !tried.has(other);
    const others = this.#members.filter(isOther).length;
    const leftMs = until - clock.now();
    const shareMs =
      others === 0 ? leftMs : Math.min(leftMs, Math.max(SHARE_MS, leftMs / (others + 1)));
    const ending = new AbortController();
    const timer = clock.schedule(shareMs, () => {
      const text = `${wish.what} via ${member.name}: not open within ${Math.round(shareMs)} ms`;
      ending.abort(new ShareSpent("ERR_DIAL_TIMEOUT", text));
    });
    const watcher = (): void => {
      if (member.hasLink || !this.#members.some(isOther)) return;
      ending.abort(new NetworkError("ERR_TUNNEL_DOWN", `${member.name} ${member.reason}`));
    };
    this.#watchers.add(watcher);
    try {
      const signal = AbortSignal.any([wish.signal, ending.signal]);
      return await member.opening(
        async () =>
          await attempt(async (inner) => await wish.open(member.outbound, inner), {
            signal,
            discard: (late, reason) => wish.discard(late, reason),
          }),
      );
    } finally {
      this.#watchers.delete(watcher);
      timer.cancel();
    }
  }

  /** Waits until a member is live, none can become it, or it took too long. */
  #whenLive<Opened>(wish: Wish<Opened>): Promise<void> {
    const { runtime, waitMs } = this.#options;
    const { signal } = wish;
    const { promise, resolve } = Promise.withResolvers<void>();
    const isHopeless = (): boolean =>
      this.#members.every((member) => member.isOver || !wish.isFor(member));
    const look = (): void => {
      if (this.#choose(wish, NOBODY) !== undefined || isHopeless() || signal.aborted) end();
    };
    const end = (): void => {
      this.#watchers.delete(look);
      signal.removeEventListener("abort", look);
      timer.cancel();
      resolve();
    };
    const timer = runtime.clock.schedule(waitMs, end);
    this.#watchers.add(look);
    signal.addEventListener("abort", look, { once: true });
    look();
    return promise.then(() => signal.throwIfAborted());
  }

  #choose<Opened>(wish: Wish<Opened>, tried: ReadonlyMap<Member, TunnelError>): number | undefined {
    const isFree = (index: number): boolean => {
      const member = this.#members[index];
      return member !== undefined && member.isLive && wish.isFor(member) && !tried.has(member);
    };
    const index = pick(this.#options.policy, this.#members, { isFree, turn: this.#turn });
    return index < 0 ? undefined : index;
  }

  #take<Opened>(wish: Wish<Opened>, tried: ReadonlyMap<Member, TunnelError>): Member | undefined {
    const index = this.#choose(wish, tried);
    if (index === undefined) return undefined;
    this.#turn = (index + 1) % this.#members.length;
    return this.#members[index];
  }

  #nobody<Opened>(wish: Wish<Opened>, tried: ReadonlyMap<Member, TunnelError>): TunnelError {
    const reasons = this.#members.map((member) => {
      const error = tried.get(member);
      if (error !== undefined) return `${member.name} failed: ${error.message}`;
      if (!wish.isFor(member)) return `${member.name} carries no datagrams`;
      return member.isLive
        ? `${member.name} was not asked in time`
        : `${member.name} ${member.reason}`;
    });
    const text = `group "${this.#options.name}": no healthy member for ${wish.what}: ${reasons.join("; ")}`;
    const errors = [...tried.values()];
    const codes = new Set(errors.map(({ code }) => code));
    const [code = "ERR_TUNNEL_DOWN"] = codes;
    const hint = errors.find((error) => error.hint !== undefined)?.hint ?? HINT;
    return new NetworkError(codes.size === 1 ? code : "ERR_TUNNEL_DOWN", text, {
      cause: errors.at(-1),
      hint,
    });
  }
}

/** A member that did not open in its share of the time; the next one may. */
class ShareSpent extends TunnelError {}

function isOurDeadline(error: TunnelError): boolean {
  return error instanceof ShareSpent;
}

const NOBODY: ReadonlyMap<Member, TunnelError> = new Map();

/** For all members together: below the 20 s a relay waits, so that its client hears what went wrong. */
const OPEN_MS = 18_000;

/** What one member gets at least: name, connect and the slow target of a far exit. */
const SHARE_MS = 4_000;

const HINT = "look at the far ends of its tunnels, or add a member";
