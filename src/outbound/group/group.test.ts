import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type LogLine,
  manualRuntime,
  recordingLogger,
  turns,
} from "../../../test/support/test-client.ts";
import type { Target } from "../../address/target.ts";
import type { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError, PolicyError, type TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { PacketChannel } from "../../tunnel/packets.ts";
import type { Outbound } from "../../tunnel/request.ts";
import { createGroup, type Group, type GroupOptions } from "./group.ts";
import type { GroupMember, LinkState } from "./member.ts";

const TARGET: Target = { network: "tcp", host: "target", port: 443 };
const METADATA = { inbound: "test", source: "test" };

describe("group: choosing", () => {
  test("takes live members in turn", async () => {
    const { dialled } = make(["a", "b", "c"]);
    assert.deepEqual(await dialled(4), ["a", "b", "c", "a"]);
  });

  test("passes over members whose link is down or not up yet, and takes idle ones", async () => {
    const { dialled, members } = make(["a", "b", "c", "d"]);
    members.a.link.state = "down";
    members.b.link.state = "connecting";
    members.c.link.state = "idle";
    assert.deepEqual(await dialled(3), ["c", "d", "c"]);
  });

  test("keeps to the first live member when it is for failover", async () => {
    const { dialled, members } = make(["a", "b"], { policy: "failover" });
    assert.deepEqual(await dialled(2), ["a", "a"]);
    members.a.link.state = "down";
    assert.deepEqual(await dialled(2), ["b", "b"]);
    members.a.link.state = "up";
    assert.deepEqual(await dialled(1), ["a"]);
  });

  test("takes the member with the fewest streams, those being opened counted", async () => {
    const { dialled, members, dial } = make(["a", "b", "c"], { policy: "least-streams" });
    members.a.link.streams = 2;
    members.b.link.streams = 1;
    members.c.link.streams = 2;
    members.b.isHanging = true;
    void dial().catch(() => {});
    void dial().catch(() => {});
    await turns();
    assert.equal(members.b.dials, 1, "now it has two, too, and the turn goes on");
    assert.equal(members.c.dials, 1);
    members.b.isHanging = false;
    members.a.link.streams = 0;
    assert.deepEqual(await dialled(1), ["a"]);
  });
});

describe("group: failing over", () => {
  test("asks the next member when one cannot carry the wish", async () => {
    const { dial, members } = make(["a", "b"]);
    members.a.error = new NetworkError("ERR_TUNNEL_LOST", "link lost");
    assert.equal((await dial()).info.transport, "b");
  });

  test("gives back what the target and our own rules say", async () => {
    for (const error of [
      new NetworkError("ERR_DIAL_REFUSED", "refused"),
      new NetworkError("ERR_DNS", "no such name"),
      new PolicyError("ERR_POLICY_DENIED", "denied"),
    ]) {
      const { dial, members } = make(["a", "b"]);
      members.a.error = error;
      await assert.rejects(dial(), error);
      assert.equal(members.b.dials, 0);
    }
  });

  test("names every member and its reason when none is healthy", async () => {
    const { dial, members, clock } = make(["a", "b", "c", "d"], { waitMs: 500 });
    Object.assign(members.a.link, { state: "down", detail: "connection refused" });
    Object.assign(members.b.link, { state: "connecting" });
    Object.assign(members.c.link, { state: "closed", detail: "wrong password" });
    members.d.error = new NetworkError("ERR_PEER_SILENT", "no answer", { hint: "wake it" });
    await assert.rejects(dial(), (thrown: TunnelError) => {
      assert.equal(thrown.code, "ERR_PEER_SILENT");
      assert.equal(thrown.hint, "wake it");
      assert.equal(
        thrown.message,
        'group "g": no healthy member for target:443: a is down: connection refused; b is being dialled; c is closed: wrong password; d failed: no answer',
      );
      return true;
    });
    members.d.link.state = "down";
    const waiting = assert.rejects(dial(), { code: "ERR_TUNNEL_DOWN", message: /d is down/ });
    clock.advance(500);
    await waiting;
    assert.equal(clock.pending, 0);
  });

  test("lets a connection wait for the first member that comes up", async () => {
    const { dial, members, group, clock } = make(["a", "b"]);
    members.a.link.state = "connecting";
    members.b.link.state = "down";
    const waiting = dial();
    clock.advance(4_999);
    members.b.link.state = "up";
    group.changed();
    assert.equal((await waiting).info.transport, "b");
    assert.equal(clock.pending, 0);
  });

  test("does not wait for members that are closed", async () => {
    const { dial, members } = make(["a", "b"]);
    members.a.link.state = "closed";
    members.b.link.state = "closed";
    await assert.rejects(dial(), /a is closed.*b is closed/);
  });

  test("leaves a member whose link goes down while it is asked", async () => {
    const { dial, members, group } = make(["a", "b"]);
    members.a.isHanging = true;
    const dialling = dial();
    members.a.link.state = "down";
    group.changed();
    assert.equal((await dialling).info.transport, "b");
    assert.ok(members.a.signal?.aborted);
  });

  test("gives each member its share of the time, and resets what comes too late", async () => {
    const { dial, members, clock, late } = make(["a", "b"]);
    members.a.isHanging = true;
    const dialling = dial();
    await turns();
    clock.advance(9_000);
    assert.equal((await dialling).info.transport, "b");
    members.a.release();
    await turns();
    assert.deepEqual(late, ["a"]);
    assert.equal(clock.pending, 0);
  });

  test("ends in time when nobody answers", async () => {
    const { dial, members, clock } = make(["a", "b"]);
    members.a.isHanging = true;
    members.b.isHanging = true;
    const dialling = assert.rejects(dial(), {
      code: "ERR_DIAL_TIMEOUT",
      message: /a failed: target:443 via a: not open within 9000 ms; b failed/,
    });
    await turns();
    clock.advance(9_000);
    await turns();
    clock.advance(9_000);
    await dialling;
    assert.equal(clock.pending, 0);
  });

  test("stops when the client gives up, asked or waiting", async () => {
    for (const state of ["up", "down"] as const) {
      const { members, group, clock } = make(["a", "b"]);
      for (const member of [members.a, members.b]) {
        member.isHanging = true;
        member.link.state = state;
      }
      const client = new AbortController();
      const reason = new NetworkError("ERR_ABORTED", "gone");
      const options = { signal: client.signal, metadata: METADATA };
      const dialling = assert.rejects(group.outbound.dial(TARGET, options), reason);
      await turns();
      client.abort(reason);
      await dialling;
      assert.equal(members.b.dials, 0);
      assert.equal(clock.pending, 0);
    }
  });
});

describe("group: health", () => {
  test("takes a member down after failed checks, and up again after passed ones", async () => {
    const { group, members, dialled, clock, lines, check } = make(["a", "b"], {
      check: { everyMs: 10_000, timeoutMs: 1_000, up: 2, down: 2 },
    });
    members.a.checkError = new NetworkError("ERR_DIAL_REFUSED", "refused");
    group.start();
    await check(1_000);
    assert.deepEqual(await dialled(2), ["a", "b"], "one failure is no reason yet");
    members.a.error = new NetworkError("ERR_DIAL_REFUSED", "target says no");
    await check(10_000);
    assert.deepEqual(await dialled(2), ["b", "b"]);
    assert.deepEqual(lines.at(-1)?.fields, {
      group: "g",
      member: "a",
      reason: "fails its checks: refused",
    });
    members.a.checkError = undefined;
    members.a.error = undefined;
    await check(10_000);
    assert.deepEqual(await dialled(2), ["b", "b"]);
    await check(10_000);
    assert.deepEqual((await dialled(2)).toSorted(), ["a", "b"]);
    assert.equal(lines.at(-1)?.message, "group member up");
    assert.equal(lines.filter(({ message }) => message.startsWith("group member ")).length, 2);
    group.close();
    assert.equal(clock.pending, 0);
  });

  test("counts a check that takes too long as failed, and never runs two of one member", async () => {
    const { group, members, dial, check, clock } = make(["a"], {
      check: { everyMs: 1_000, timeoutMs: 3_000, up: 1, down: 1 },
      waitMs: 0,
    });
    members.a.isHanging = true;
    group.start();
    await check(1_000);
    await check(1_000);
    assert.equal(members.a.checks, 1);
    await check(2_000);
    const waiting = assert.rejects(dial(), /a fails its checks: no answer within 3000 ms/);
    clock.advance(0);
    await waiting;
    group.close();
    await turns();
    assert.equal(clock.pending, 0);
  });

  test("does not check what has no link", async () => {
    const { group, members, check } = make(["a", "b"]);
    members.a.link.state = "down";
    group.start();
    await check(1_000);
    assert.deepEqual([members.a.checks, members.b.checks], [0, 1]);
    group.close();
  });

  test("counts failed connections as failed checks, and tries the member again later", async () => {
    const { group, members, dialled, check } = make(["a", "b"], { policy: "failover" }, false);
    members.a.error = new NetworkError("ERR_TUNNEL_DOWN", "cannot be dialled");
    members.a.link.state = "idle";
    group.start();
    assert.deepEqual(await dialled(3), ["b", "b", "b"]);
    assert.equal(members.a.dials, 2, "then it is left alone");
    members.a.error = undefined;
    await check(1_000);
    assert.deepEqual(await dialled(1), ["a"]);
    group.close();
  });

  test("checks a member at once through which a connection failed", async () => {
    const { group, members, dialled } = make(["a", "b"], { policy: "failover" });
    members.a.error = new NetworkError("ERR_TUNNEL_LOST", "lost");
    members.a.checkError = new NetworkError("ERR_DIAL_REFUSED", "refused");
    group.start();
    for (const _ of [1, 2]) {
      await dialled(1);
      await turns();
    }
    assert.equal(members.a.checks, 2);
    await dialled(2);
    assert.equal(members.a.dials, 2, "it is down");
    group.close();
  });

  test("does not let connections outvote checks", async () => {
    const { group, members, dialled, check } = make(["a", "b"], { policy: "failover" });
    members.a.checkError = new NetworkError("ERR_DIAL_REFUSED", "refused");
    group.start();
    await check(1_000);
    assert.deepEqual(await dialled(1), ["a"]);
    await check(30_000);
    assert.deepEqual(await dialled(1), ["b"]);
    group.close();
  });

  test("tries a member again that is dialled on demand alone", async () => {
    const { group, members, dialled, check } = make(["a", "b"], { policy: "failover" }, false);
    members.a.link.state = "idle";
    members.a.error = new NetworkError("ERR_TUNNEL_DOWN", "refused");
    group.start();
    await dialled(2);
    assert.deepEqual([await dialled(1), members.a.dials], [["b"], 2]);
    await check(1_000);
    await check(30_000);
    assert.deepEqual([await dialled(1), members.a.dials], [["b"], 3], "one connection tries it");
    group.close();
  });

  test("does not blame a member for one stream", async () => {
    const { members, dialled } = make(["a", "b"], { policy: "failover" });
    members.a.error = new NetworkError("ERR_STREAM_RESET", "reset");
    assert.deepEqual(await dialled(3), ["b", "b", "b"]);
    assert.equal(members.a.dials, 3);
  });
});

describe("group: datagrams", () => {
  test("opens associations through members that carry them", async () => {
    const { group, members } = make(["a", "b"]);
    const channel = memberChannel("b");
    members.b.channel = channel;
    const packets = make(["a", "b"], {
      members: [members.a.member, { ...members.b.member, outbound: withPackets(members.b) }],
    });
    assert.equal(group.outbound.associate, undefined);
    const options = { signal: new AbortController().signal, metadata: METADATA };
    assert.equal(await packets.group.outbound.associate?.(options), channel);
    members.b.link.state = "closed";
    await assert.rejects(async () => await packets.group.outbound.associate?.(options), {
      message:
        'group "g": no healthy member for datagrams: a carries no datagrams; b is closed: because',
    });
  });
});

class FakeMember {
  readonly link: { state: LinkState["state"]; detail: string; streams: number } = {
    state: "up",
    detail: "because",
    streams: 0,
  };
  readonly member: GroupMember;
  error: TunnelError | undefined;
  checkError: TunnelError | undefined;
  channel: PacketChannel | undefined;
  isHanging = false;
  dials = 0;
  checks = 0;
  signal: AbortSignal | undefined;
  readonly #released = Promise.withResolvers<void>();

  constructor(name: string, makeConnection: () => Connection, hasCheck: boolean) {
    const dial: Outbound["dial"] = async (_, { signal }) => {
      this.dials++;
      this.signal = signal;
      if (this.isHanging) await this.#released.promise;
      if (this.error !== undefined) throw this.error;
      return makeConnection();
    };
    this.member = {
      outbound: { name, dial },
      status: () => this.link,
      ...(hasCheck && {
        check: async () => {
          this.checks++;
          if (this.isHanging) await this.#released.promise;
          if (this.checkError !== undefined) throw this.checkError;
        },
      }),
    };
  }

  release(): void {
    this.#released.resolve();
  }
}

interface Made {
  readonly group: Group;
  readonly members: Record<"a" | "b" | "c" | "d", FakeMember>;
  readonly clock: ManualClock;
  readonly lines: LogLine[];
  /** Members whose connections were reset. */
  readonly late: string[];
  readonly dial: () => Promise<Connection>;
  /** The members that so many dials went through. */
  readonly dialled: (count: number) => Promise<string[]>;
  /** Lets time pass, and what falls due in it happen. */
  readonly check: (ms: number) => Promise<void>;
}

function make(
  names: readonly ("a" | "b" | "c" | "d")[],
  options: Partial<GroupOptions> = {},
  hasCheck = true,
): Made {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  const late: string[] = [];
  const fake = (name: string): FakeMember =>
    new FakeMember(
      name,
      () => {
        const [near] = connectionPair(runtime, { transport: name });
        const reset = near.reset.bind(near);
        return Object.assign(near, {
          reset: (cause: TunnelError) => {
            late.push(name);
            reset(cause);
          },
        });
      },
      hasCheck,
    );
  const members = { a: fake("a"), b: fake("b"), c: fake("c"), d: fake("d") };
  const group = createGroup({
    name: "g",
    runtime,
    logger,
    policy: "round-robin",
    members: names.map((name) => members[name].member),
    check: { everyMs: 30_000, timeoutMs: 5_000, up: 1, down: 2 },
    waitMs: 5_000,
    ...options,
  });
  const dial = (): Promise<Connection> =>
    group.outbound.dial(TARGET, { signal: new AbortController().signal, metadata: METADATA });
  return {
    group,
    members,
    clock: runtime.clock,
    lines,
    late,
    dial,
    dialled: async (count) => {
      const seen: string[] = [];
      for (let index = 0; index < count; index++) seen.push((await dial()).info.transport);
      return seen;
    },
    check: async (ms) => {
      runtime.clock.advance(ms);
      await turns();
    },
  };
}

function withPackets({ member, channel }: FakeMember): Outbound {
  return {
    ...member.outbound,
    associate: () => Promise.resolve(channel ?? assert.fail("no channel")),
  };
}

function memberChannel(peer: string): PacketChannel {
  return {
    info: { transport: "test", local: "", peer },
    attach: () => {},
    send: () => {},
    close: () => {},
  };
}
