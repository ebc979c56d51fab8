import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks } from "../../../../test/support/chunks.ts";
import { TunnelEnd } from "../../../../test/support/vproxy-tunnel-end.ts";
import { NetworkError, TunnelError } from "../../../errors.ts";
import type { MuxEvent } from "../../../tunnel/session.ts";

type SideName = "client" | "server";

/** One thing that happens to a pair. Streams are named by the order they were opened in. */
type Action =
  | { readonly kind: "open" }
  | {
      readonly kind: "write";
      readonly by: SideName;
      readonly stream: number;
      readonly size: number;
    }
  | {
      readonly kind: "finish" | "close" | "reset";
      readonly by: SideName;
      readonly stream: number;
    }
  | { readonly kind: "deliver"; readonly to: SideName; readonly sizes: readonly number[] }
  | { readonly kind: "pass"; readonly ms: number };

describe("two vproxy tunnel sessions back to back", () => {
  test("keep every promise, whatever is done in whatever order and pieces", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), fc.boolean(), (actions, compress) => {
        const pair = new Pair(compress);
        for (const it of actions) pair.act(it);
        pair.settle();
        pair.check();
      }),
      { numRuns: 400 },
    );
  });

  test("take garbage in the middle of anything for the end of the tunnel, at worst", () => {
    fc.assert(
      fc.property(
        fc.array(action, { maxLength: 30 }),
        fc.uint8Array({ minLength: 1, maxLength: 60 }),
        fc.infiniteStream(fc.nat(20)),
        (actions, garbage, sizes) => {
          const pair = new Pair(false);
          for (const it of actions) pair.act(it);
          const { server } = pair.ends;
          for (const chunk of randomChunks(garbage, sizes)) server.receive(chunk);
          server.pass(2000);
          for (const [at, event] of server.log.entries()) {
            if (event.type !== "closed") continue;
            assert.equal(at, server.log.length - 1, "nothing comes behind it");
            assert.ok(event.error === undefined || event.error instanceof TunnelError);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test("forget no stream when the peer forgets its words", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const pair = new Pair(false);
        for (const it of actions) pair.act(it);
        for (const end of [pair.ends.client, pair.ends.server]) {
          const { streamCount } = end.session;
          end.wire = [];
          for (const id of pair.ids) end.close(id);
          assert.ok(end.session.streamCount <= streamCount);
          end.pass(60_000 + 15_000);
          assert.equal(end.session.streamCount, 0);
        }
      }),
    );
  });
});

/** What each side was told to say on a stream, and how it was ended there. */
interface Wish {
  written: string;
  end: "open" | "finished" | "closed" | "reset";
}

class Pair {
  readonly ends: Readonly<Record<SideName, TunnelEnd>>;
  readonly ids: number[] = [];
  readonly #wishes: Record<SideName, Map<number, Wish>> = { client: new Map(), server: new Map() };

  constructor(compress: boolean) {
    const tuning = { compress, keepaliveMs: 0 };
    this.ends = {
      client: new TunnelEnd("client", tuning),
      server: new TunnelEnd("server", tuning),
    };
  }

  act(it: Action): void {
    switch (it.kind) {
      case "open":
        this.ids.push(this.ends.client.open());
        break;
      case "pass":
        for (const end of Object.values(this.ends)) end.pass(it.ms);
        break;
      case "deliver":
        this.#deliver(it.to, it.sizes);
        break;
      case "write":
      case "finish":
      case "close":
      case "reset":
        this.#command(it);
    }
  }

  /** Everything said is heard, and nobody waits for anything any more. */
  settle(): void {
    for (let round = 0; round < 10; round++) {
      this.#deliver("server", []);
      this.#deliver("client", []);
      for (const end of Object.values(this.ends)) end.pass(60);
    }
  }

  check(): void {
    for (const by of ["client", "server"] as const) {
      const heard = collect(this.ends[by].log);
      const other = by === "client" ? "server" : "client";
      for (const [id, { data, hasEnd, close }] of heard) {
        const peer = this.#wishOf(other, id);
        const own = this.#wishOf(by, id);
        const what = `${by} of stream ${id}`;
        assert.ok(peer.written.startsWith(data), `${what}: nothing but what was written`);
        const isHard = own.end === "reset" || peer.end === "reset" || close?.error !== undefined;
        if (hasEnd) assert.ok(peer.end !== "open", `${what}: no end that was not meant`);
        if (hasEnd) assert.equal(data, peer.written, `${what}: all of it before the end`);
        const wasHeard = own.end === "open" || own.end === "finished";
        if (!isHard && wasHeard) assert.equal(data, peer.written, `${what}: everything`);
        if (!isHard && wasHeard && peer.end !== "open") assert.ok(hasEnd, `${what}: and its end`);
      }
    }
    const open = this.ids.filter((id) => {
      const ends = [this.#wishOf("client", id).end, this.#wishOf("server", id).end];
      return ends.includes("open") && !ends.includes("reset");
    });
    for (const { session } of Object.values(this.ends)) {
      assert.ok(session.streamCount <= open.length, "streams that ended are forgotten");
    }
    assert.deepEqual(
      [this.ends.client, this.ends.server].map(({ log }) =>
        log.some(({ type }) => type === "closed"),
      ),
      [false, false],
      "no stream costs the tunnel",
    );
  }

  #command(it: Extract<Action, { readonly by: SideName }>): void {
    const id = this.ids[it.stream % Math.max(1, this.ids.length)];
    const end = this.ends[it.by];
    const isKnown = it.by === "client" || end.log.some((event) => isRequest(event, id));
    if (id === undefined || !isKnown) return;
    const wish = this.#wishOf(it.by, id);
    if (wish.end === "closed" || wish.end === "reset") return; // whoever let go of it is silent
    const isGone = end.log.some((event) => event.type === "streamClosed" && event.streamId === id);
    if (isGone) return;
    if (it.kind === "write") {
      if (wish.end !== "open") return;
      const data = `${wish.written.length},`.repeat(Math.ceil(it.size / 3));
      wish.written += data;
      end.write(id, Buffer.from(data));
    } else if (it.kind === "reset") {
      wish.end = "reset";
      end.reset(id, ENOUGH);
    } else {
      wish.end = it.kind === "close" ? "closed" : "finished";
      end[it.kind](id);
    }
  }

  #wishOf(by: SideName, id: number): Wish {
    const wishes = this.#wishes[by];
    const wish = wishes.get(id) ?? { written: "", end: "open" };
    wishes.set(id, wish);
    return wish;
  }

  #deliver(to: SideName, sizes: readonly number[]): void {
    const from = this.ends[to === "client" ? "server" : "client"];
    const bytes = Buffer.concat(from.wire);
    from.wire = [];
    for (const chunk of randomChunks(bytes, sizes)) this.ends[to].receive(chunk);
  }
}

interface Heard {
  data: string;
  hasEnd: boolean;
  close: { readonly error: TunnelError | undefined } | undefined;
}

/** What one side heard on each stream, with the rules of events checked on the way. */
function collect(log: readonly MuxEvent[]): ReadonlyMap<number, Heard> {
  const streams = new Map<number, Heard>();
  for (const event of log) {
    if (event.type === "ready" || event.type === "closed" || event.type === "message") continue;
    const { streamId } = event;
    const heard = streams.get(streamId) ?? { data: "", hasEnd: false, close: undefined };
    streams.set(streamId, heard);
    assert.equal(heard.close, undefined, `${event.type} behind the close of ${streamId}`);
    if (event.type === "streamData") {
      assert.ok(!heard.hasEnd, "no data behind the end");
      heard.data += Buffer.from(event.data).toString("latin1");
    } else if (event.type === "streamFinished") {
      assert.ok(!heard.hasEnd, "one end");
      heard.hasEnd = true;
    } else if (event.type === "streamClosed") {
      heard.close = { error: event.error };
    }
  }
  return streams;
}

function isRequest(event: MuxEvent, id: number | undefined): boolean {
  return event.type === "streamRequested" && event.streamId === id;
}

const by: fc.Arbitrary<SideName> = fc.constantFrom("client", "server");
const stream: fc.Arbitrary<number> = fc.nat(5);
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("open" as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      by,
      stream,
      size: fc.oneof(fc.nat(50), fc.nat(40_000)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("finish" as const, "close" as const, "reset" as const),
      by,
      stream,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("deliver" as const),
      to: by,
      sizes: fc.array(fc.nat(30), { maxLength: 10 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.nat(100) }),
  },
);

const ENOUGH = new NetworkError("ERR_ABORTED", "enough");
