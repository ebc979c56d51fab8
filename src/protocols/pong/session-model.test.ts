import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { PongEnd, type PongEndOptions, pongPair } from "../../../test/support/pong-end.ts";
import { NetworkError, PolicyError } from "../../errors.ts";
import type { MuxEvent } from "../../tunnel/session.ts";
import { TRANSITIONS } from "./stream-state.ts";

type SideName = "local" | "remote";

/** What one side of one stream did and heard. */
interface Side {
  sent: number;
  received: number;
  consumed: number;
  /** It said that it sends no more: by finish, close or reset. */
  hasEnded: boolean;
  /** It let go of the stream. */
  hasLeft: boolean;
  isReset: boolean;
  sawEnd: boolean;
  isAccepted: boolean;
  closed: number;
  /** Whether it was told of an error. */
  failed: boolean;
}

/** The naive truth: per stream, bytes sent are bytes received in order, and ends are seen once. */
class Model {
  readonly streams = new Map<number, Record<SideName, Side>>();

  /** Judges everything one end reported since the last time. */
  hear(name: SideName, events: readonly MuxEvent[]): void {
    for (const event of events) {
      if (event.type === "ready" || event.type === "message") continue;
      assert.ok(event.type !== "closed", "the session ended");
      const pair = this.streams.get(event.streamId);
      assert.ok(pair !== undefined, `${event.type} for unknown stream ${event.streamId}`);
      const side = pair[name];
      const peer = pair[name === "local" ? "remote" : "local"];
      const where = `${event.type} at ${name} on stream ${event.streamId}`;
      assert.equal(side.closed, 0, `${where} after the end`);
      switch (event.type) {
        case "streamData":
          assert.ok(!side.sawEnd, `${where} after finish`);
          for (const [index, byte] of event.data.entries()) {
            assert.equal(byte, pattern(name, event.streamId, side.received + index), where);
          }
          side.received += event.data.byteLength;
          assert.ok(side.received <= peer.sent, `${where}: more than was sent`);
          break;
        case "streamFinished":
          assert.ok(!side.sawEnd, `${where} twice`);
          side.sawEnd = true;
          assert.ok(peer.hasEnded || peer.failed, `${where}, but nobody ended`);
          if (!peer.isReset) assert.equal(side.received, peer.sent, `${where}: bytes are missing`);
          break;
        case "streamClosed": {
          side.closed++;
          side.failed = event.error !== undefined;
          const code = event.error?.code;
          assert.notEqual(code, "ERR_PROTOCOL", `${where}: ${event.error?.message}`);
          const isIdle = code === "ERR_IDLE_TIMEOUT";
          const isCaused = peer.isReset || side.isReset || peer.failed || isIdle;
          if (code !== undefined) assert.ok(isCaused, `${where}: ${event.error?.message}`);
          else assert.ok(side.hasLeft || side.hasEnded || side.sawEnd, `${where} out of nothing`);
          break;
        }
        case "streamAccepted":
          assert.ok(!side.isAccepted, `${where} twice`);
          side.isAccepted = true;
          break;
        case "streamRequested":
        case "streamWritable":
          break;
      }
    }
  }
}

/** Two ends over a link that carries any number of bytes at any time. */
class Real {
  readonly ends: Record<SideName, PongEnd>;
  readonly #heard: Record<SideName, number> = { local: 0, remote: 0 };
  /** Bytes on their way, by who said them. */
  readonly #link: Record<SideName, Uint8Array> = { local: NO_BYTES, remote: NO_BYTES };
  readonly #model: Model;

  constructor(model: Model, [local, remote]: Config) {
    this.#model = model;
    this.ends = pongPair(local, remote);
    this.settle();
  }

  /** Takes what was said and reported. */
  settle(): void {
    for (const name of SIDES) {
      const end = this.ends[name];
      this.#link[name] = Buffer.concat([this.#link[name], ...end.wire]);
      end.wire = [];
      const events = end.log.slice(this.#heard[name]);
      this.#heard[name] = end.log.length;
      this.#model.hear(name, events);
    }
  }

  get isQuiet(): boolean {
    return SIDES.every((name) => this.#link[name].byteLength === 0);
  }

  deliver(from: SideName, share: number): void {
    const bytes = this.#link[from];
    const count = Math.ceil(bytes.byteLength * share);
    this.#link[from] = bytes.subarray(count);
    const to = this.ends[from === "local" ? "remote" : "local"];
    if (count > 0) to.receive(bytes.slice(0, count));
    this.settle();
  }

  deliverAll(): void {
    while (!this.isQuiet) for (const name of SIDES) this.deliver(name, 1);
  }

  /** Time passes; a link that still carries something does so within two seconds. */
  pass(ms: number): void {
    if (ms > 2_000) this.deliverAll();
    for (const name of SIDES) this.ends[name].pass(ms);
    this.settle();
    if (ms > 2_000) this.deliverAll();
  }
}

type Act = "open" | "accept" | "refuse" | "write" | "consume" | "finish" | "close" | "reset";

/** Something an owner of a stream does. */
class StreamCommand implements fc.Command<Model, Real> {
  readonly #act: Act;
  readonly #side: SideName;
  readonly #pick: number;
  readonly #size: number;

  constructor(act: Act, side: SideName, pick: number, size: number) {
    this.#act = act;
    this.#side = side;
    this.#pick = pick;
    this.#size = size;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, real: Real): void {
    const end = real.ends[this.#side];
    if (this.#act === "open") {
      if (model.streams.size >= MAX_STREAMS) return;
      // Known to the model before the session reports anything of it.
      const id = 2 * model.streams.size + 1;
      model.streams.set(id, { local: newSide(), remote: newSide() });
      assert.equal(real.ends.local.open(), id);
      real.settle();
      return;
    }
    const streams = [...model.streams];
    const picked = streams[this.#pick % Math.max(1, streams.length)];
    if (picked === undefined) return;
    const [id, pair] = picked;
    const side = pair[this.#side];
    const isKnown = this.#side === "local" || end.log.some((event) => isRequest(event, id));
    if (!isKnown || (side.closed > 0 && this.#act !== "consume")) return;
    switch (this.#act) {
      case "accept":
        if (this.#side === "remote") end.accept(id);
        break;
      case "refuse":
        if (this.#side !== "remote" || side.sent > 0) break;
        leave(side, { isReset: true });
        end.reset(id, new NetworkError("ERR_DIAL_REFUSED", "refused"));
        break;
      case "write": {
        // An owner has its stream once it was accepted.
        if (side.hasEnded || (this.#side === "local" && !side.isAccepted)) break;
        const byteLength = Math.max(0, Math.min(this.#size, end.session.writable(id)));
        const to = this.#side === "local" ? "remote" : "local";
        const bytes = Uint8Array.from({ length: byteLength }, (_, index) =>
          pattern(to, id, side.sent + index),
        );
        side.sent += byteLength;
        if (byteLength > 0) end.write(id, bytes);
        break;
      }
      case "consume": {
        const byteLength = Math.min(this.#size, side.received - side.consumed);
        side.consumed += byteLength;
        if (byteLength > 0) end.consumed(id, byteLength);
        break;
      }
      case "finish":
        side.hasEnded = true;
        end.finish(id);
        break;
      case "close":
        leave(side, { isReset: false });
        end.close(id);
        break;
      case "reset":
        leave(side, { isReset: true });
        end.reset(id, new PolicyError("ERR_SLOW_READER", "too slow"));
        break;
    }
    real.settle();
  }

  toString(): string {
    return `${this.#side}.${this.#act}(#${this.#pick}, ${this.#size})`;
  }
}

/** Something the world does: bytes arrive, time passes. */
class WorldCommand implements fc.Command<Model, Real> {
  readonly #what: SideName | "time";
  readonly #amount: number;

  constructor(what: SideName | "time", amount: number) {
    this.#what = what;
    this.#amount = amount;
  }

  check(): boolean {
    return true;
  }

  run(_model: Model, real: Real): void {
    if (this.#what === "time") real.pass(this.#amount);
    else real.deliver(this.#what, this.#amount);
  }

  toString(): string {
    return this.#what === "time"
      ? `pass(${this.#amount})`
      : `deliver(${this.#what}, ${this.#amount})`;
  }
}

describe("a pong session pair over any link", () => {
  test("agrees with the naive model, and visits every transition", () => {
    const visited = watchTransitions();
    check({ seed: 20_221_106, numRuns: 3_000 });
    const all = Object.entries(TRANSITIONS).flatMap(([state, moves]) =>
      Object.keys(moves).map((signal) => `${state} ${signal}`),
    );
    assert.deepEqual(
      all.filter((move) => !visited.has(move)),
      // A pong-go remote does this; ours says FINISH first. See session-reference.test.ts.
      ["finishHeld closeReceived"],
      "transitions never made",
    );
  });

  test("agrees with the naive model on other walks every time", () => check({ numRuns: 1_000 }));
});

function check(parameters: fc.Parameters<[Config, Iterable<fc.Command<Model, Real>>]>): void {
  fc.assert(
    fc.property(fc.constantFrom(...CONFIGS), commands(), (config, walk) => {
      const model = new Model();
      const real = new Real(model, config);
      fc.modelRun(() => ({ model, real }), walk);
      windDown(model, real);
    }),
    parameters,
  );
}

/** Everybody leaves: nothing may remain. */
function windDown(model: Model, real: Real): void {
  real.deliverAll();
  for (const [id, pair] of model.streams) {
    for (const name of SIDES) {
      const side = pair[name];
      const isKnown =
        name === "local" || real.ends.remote.log.some((event) => isRequest(event, id));
      if (!isKnown || side.closed > 0) continue;
      leave(side, { isReset: false });
      real.ends[name].close(id);
      real.settle();
    }
  }
  real.pass(200_000);
  for (const name of SIDES) {
    const { session, log } = real.ends[name];
    assert.equal(session.streamCount, 0, `streams left at ${name}`);
    for (const [id, pair] of model.streams) {
      const isKnown = name === "local" || log.some((event) => isRequest(event, id));
      assert.equal(pair[name].closed, isKnown ? 1 : 0, `ends of stream ${id} at ${name}`);
    }
  }
}

function commands(): fc.Arbitrary<Iterable<fc.Command<Model, Real>>> {
  const side = fc.constantFrom(...SIDES);
  const act = fc.constantFrom<Act>(
    ...(["open", "accept", "write", "write", "consume", "finish", "close"] as const),
  );
  const rareAct = fc.constantFrom<Act>("refuse", "reset");
  const size = fc.integer({ min: 1, max: 3_000 });
  const share = fc.double({ min: 0.01, max: 1, noNaN: true });
  const time = fc.constantFrom(3, 400, 1_200, 12_000, 61_000, 121_000);
  return fc.commands(
    [
      fc.tuple(act, side, fc.nat(3), size).map((args) => new StreamCommand(...args)),
      fc.tuple(act, side, fc.nat(3), size).map((args) => new StreamCommand(...args)),
      fc.tuple(rareAct, side, fc.nat(3), size).map((args) => new StreamCommand(...args)),
      fc.tuple(side, share).map((args) => new WorldCommand(...args)),
      fc.tuple(side, fc.constant(1)).map((args) => new WorldCommand(...args)),
      time.map((ms) => new WorldCommand("time", ms)),
    ],
    { maxCommands: 60, size: "max" },
  );
}

/** Notes every look into the table that finds a move. */
function watchTransitions(): Set<string> {
  const visited = new Set<string>();
  for (const [state, moves] of Object.entries(TRANSITIONS)) {
    for (const [signal, next] of Object.entries(moves)) {
      Object.defineProperty(moves, signal, {
        enumerable: true,
        get: () => {
          visited.add(`${state} ${signal}`);
          return next;
        },
      });
    }
  }
  return visited;
}

function leave(side: Side, { isReset }: { readonly isReset: boolean }): void {
  side.hasEnded = true;
  side.hasLeft = true;
  side.isReset ||= isReset;
}

function newSide(): Side {
  return {
    sent: 0,
    received: 0,
    consumed: 0,
    hasEnded: false,
    hasLeft: false,
    isReset: false,
    sawEnd: false,
    isAccepted: false,
    closed: 0,
    failed: false,
  };
}

function isRequest(event: MuxEvent, id: number): boolean {
  return event.type === "streamRequested" && event.streamId === id;
}

/** The byte that must stand at `offset` of what `to` hears. */
function pattern(to: SideName, id: number, offset: number): number {
  return (offset * 31 + (offset >>> 8) + id * 7 + (to === "local" ? 101 : 0)) & 0xff;
}

type Config = readonly [PongEndOptions, PongEndOptions];

const SMALL = { limits: { initialWindowBytes: 2_000, maxWindowBytes: 8_000 } };

/** Which ends meet. Keepalive is off: the walks are silent for minutes. */
const CONFIGS: readonly Config[] = (
  [
    [{ ...SMALL, peer: "sluice" }, SMALL],
    [SMALL, {}],
    [{}, {}],
    [{ extensions: false }, {}],
    [{}, { extensions: false }],
    [{ peer: "v0.9.4" }, {}],
    [{ peer: "head" }, {}],
    [{ extensions: false, holdMs: 300 }, {}],
  ] satisfies Config[]
).map(([local, remote]) => [
  { ...local, keepaliveMs: 0 },
  { ...remote, keepaliveMs: 0 },
]);

const SIDES = ["local", "remote"] as const;
const MAX_STREAMS = 4;
const NO_BYTES = new Uint8Array(0);
