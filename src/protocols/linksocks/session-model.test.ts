import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { LinkSocksEnd, type RoleName } from "../../../test/support/linksocks-end.ts";
import { NetworkError, PolicyError } from "../../errors.ts";
import type { LinkSocksOptions } from "./options.ts";

type SideName = "socks" | "exit";
const SIDES = ["socks", "exit"] as const;

/** What one side of one channel did and heard. */
interface Side {
  sent: number;
  received: number;
  consumed: number;
  hasFinished: boolean;
  /** It let go of the channel. */
  hasLeft: boolean;
  isReset: boolean;
  isAccepted: boolean;
  sawEnd: boolean;
  isClosed: boolean;
  failed: boolean;
}

const ACTS = ["open", "accept", "refuse", "write", "consume", "finish", "close", "reset"] as const;

/** Something an owner of a channel does, some messages that arrive, or time that passes. */
type Move =
  | {
      readonly act: (typeof ACTS)[number];
      readonly side: SideName;
      readonly pick: number;
      readonly size: number;
    }
  | { readonly act: "deliver"; readonly side: SideName; readonly size: number }
  | { readonly act: "pass"; readonly size: number };

const side = fc.constantFrom(...SIDES);
const size = fc.nat(3000);
const anyMove: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ act: fc.constantFrom(...ACTS), side, pick: fc.nat(7), size }),
  },
  { weight: 3, arbitrary: fc.record({ act: fc.constant("deliver"), side, size: fc.nat(6) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      act: fc.constant("pass"),
      size: fc.constantFrom(5, 10, 2000, 20_000, 40_000),
    }),
  },
);

/** Two ends over a link that carries any number of messages at any time, and the naive truth. */
class World {
  readonly #ends: Record<SideName, LinkSocksEnd>;
  readonly #heard: Record<SideName, number> = { socks: 0, exit: 0 };
  readonly #channels = new Map<number, Record<SideName, Side>>();
  readonly #isExtended: boolean;

  constructor(exit: RoleName, options: Partial<LinkSocksOptions>) {
    this.#isExtended = options.extensions !== false;
    this.#ends = {
      socks: new LinkSocksEnd("client", options).start(),
      exit: new LinkSocksEnd(exit, options).start(),
    };
    this.#deliverAll();
  }

  play(moves: readonly Move[]): void {
    for (const move of moves) this.#move(move);
    // In the end both let go of everything, and nothing is left over.
    for (const name of SIDES) {
      for (const id of this.#channels.keys()) {
        this.#move({ act: "close", side: name, pick: id - 1, size: 0 });
      }
    }
    this.#pass(100_000);
    for (const [id, pair] of this.#channels) {
      for (const name of SIDES) {
        const isKnown = name === "socks" || this.#isRequested(id);
        assert.equal(pair[name].isClosed, isKnown, `channel ${id} at ${name}`);
      }
    }
    for (const name of SIDES) {
      assert.equal(this.#ends[name].session.streamCount, 0, name);
      assert.equal(this.#ends[name].session.deadline, undefined, name);
    }
  }

  #move(move: Move): void {
    if (move.act === "pass") this.#pass(move.size);
    else if (move.act === "deliver") this.#deliver(move.side, move.size);
    else if (move.act === "open") this.#open();
    else this.#act(move.act, move.side, move.pick, move.size);
  }

  #open(): void {
    if (this.#channels.size >= 8) return;
    this.#channels.set(this.#channels.size + 1, { socks: newSide(), exit: newSide() });
    assert.equal(this.#ends.socks.open(), this.#channels.size);
    this.#judge();
  }

  #act(act: (typeof ACTS)[number], name: SideName, pick: number, bytes: number): void {
    const id = 1 + (pick % Math.max(1, this.#channels.size));
    const own = this.#channels.get(id)?.[name];
    const end = this.#ends[name];
    if (own === undefined || (own.isClosed && act !== "consume")) return;
    if (name === "exit" && !this.#isRequested(id)) return;
    if (name === "exit" && act !== "accept" && act !== "refuse" && !own.isAccepted) return;
    switch (act) {
      case "accept":
        if (name === "socks") return;
        own.isAccepted = true;
        end.accept(id);
        break;
      case "refuse":
        if (name === "socks" || own.isAccepted) return;
        Object.assign(own, { isReset: true, hasLeft: true });
        end.reset(id, new NetworkError("ERR_DIAL_REFUSED", "refused"));
        break;
      case "write": {
        if (own.hasFinished || own.hasLeft || !own.isAccepted) return;
        const length = Math.min(bytes, end.session.writable(id));
        const data = Uint8Array.from({ length }, (_, at) => pattern(name, id, own.sent + at));
        own.sent += length;
        end.write(id, data);
        break;
      }
      case "consume": {
        const length = Math.min(bytes, own.received - own.consumed);
        own.consumed += length;
        end.consumed(id, length);
        break;
      }
      case "finish":
        if (!own.isAccepted) return;
        own.hasFinished = true;
        end.finish(id);
        break;
      case "close":
        own.hasLeft = true;
        end.close(id);
        break;
      case "reset":
        Object.assign(own, { isReset: true, hasLeft: true });
        end.reset(id, new PolicyError("ERR_SLOW_READER", "too slow"));
        break;
      case "open":
        break;
    }
    this.#judge();
  }

  #deliver(from: SideName, count: number): void {
    const messages = this.#ends[from].wire.splice(0, count);
    for (const bytes of messages) {
      this.#ends[other(from)].receive(bytes);
      this.#judge();
    }
  }

  #deliverAll(): void {
    while (SIDES.some((name) => this.#ends[name].wire.length > 0)) {
      for (const name of SIDES) this.#deliver(name, Number.POSITIVE_INFINITY);
    }
  }

  /** Time passes; a link that still carries something does so within two seconds. */
  #pass(ms: number): void {
    if (ms >= 2000) this.#deliverAll();
    for (const name of SIDES) this.#ends[name].pass(ms);
    this.#judge();
    if (ms >= 2000) this.#deliverAll();
  }

  #isRequested(id: number): boolean {
    // Channels reach the exit in the order they were opened, so both sides count alike.
    return this.#ends.exit.log.some(
      (event) => event.type === "streamRequested" && event.streamId === id,
    );
  }

  /** Judges everything reported since the last time. */
  #judge(): void {
    for (const name of SIDES) {
      const { log } = this.#ends[name];
      for (const event of log.slice(this.#heard[name])) {
        if (event.type === "ready") continue;
        assert.ok("streamId" in event, event.type);
        const pair = this.#channels.get(event.streamId);
        const where = `${event.type} at ${name} on channel ${event.streamId}`;
        assert.ok(pair !== undefined, where);
        const [own, peer] = [pair[name], pair[other(name)]];
        assert.ok(!own.isClosed, `${where} after the end`);
        if (event.type === "streamData") {
          assert.ok(!own.sawEnd, `${where} after finish`);
          for (const byte of event.data) {
            assert.equal(byte, pattern(other(name), event.streamId, own.received++), where);
          }
          assert.ok(own.received <= peer.sent, `${where}: more than was sent`);
        } else if (event.type === "streamAccepted") {
          assert.ok(!own.isAccepted, `${where} twice`);
          own.isAccepted = true;
        } else if (event.type === "streamFinished") {
          assert.ok(!own.sawEnd, `${where} twice`);
          own.sawEnd = true;
          this.#judgeEnd(name, own, peer, where);
        } else if (event.type === "streamClosed") {
          own.isClosed = true;
          own.failed = event.error !== undefined;
          this.#judgeClose(own, peer, event.error?.code, where);
        }
      }
      this.#heard[name] = log.length;
    }
  }

  /** An end is an end: everything arrived, and nobody made it up. */
  #judgeEnd(name: SideName, own: Side, peer: Side, where: string): void {
    assert.equal(own.received, peer.sent, `${where}: bytes are missing`);
    assert.ok(!peer.isReset || peer.hasFinished, `${where}: it was cut off`);
    const hasEnded = peer.hasFinished || peer.hasLeft;
    // An exit whose SOCKS side cannot half-close hears its own end back.
    const isEcho = name === "exit" && own.hasFinished && !this.#isExtended;
    assert.ok(hasEnded || isEcho, `${where}, but nobody ended`);
  }

  #judgeClose(own: Side, peer: Side, code: string | undefined, where: string): void {
    if (code === undefined) {
      assert.ok(own.hasLeft || own.sawEnd, `${where} out of nothing`);
      return;
    }
    assert.notEqual(code, "ERR_PROTOCOL", where);
    const isTimer = code === "ERR_IDLE_TIMEOUT" || code === "ERR_DIAL_TIMEOUT";
    assert.ok(isTimer || own.isReset || peer.isReset || peer.failed, `${where}: ${code}`);
    if (code === "ERR_IDLE_TIMEOUT") {
      assert.ok(own.hasFinished && !this.#isExtended, where);
    }
  }
}

describe("two linksocks sessions", () => {
  const windows = { initialWindowBytes: 2000, maxWindowBytes: 4000, linkWindowBytes: 6000 };
  for (const [what, exit, options] of [
    ["with windows and half-close", "server", windows],
    ["with windows, fast-open", "server", { ...windows, fastOpen: true }],
    [
      "with small messages",
      "provider",
      { ...windows, maxPayloadBytes: 100, maxPlainPayloadBytes: 100 },
    ],
    ["as the reference knows them", "server", { extensions: false }],
    ["as the reference knows them, fast-open", "server", { extensions: false, fastOpen: true }],
    ["as the reference knows them, with a provider", "provider", { extensions: false }],
    ["compressed", "server", { extensions: false, compressFromBytes: 1000 }],
  ] as const) {
    test(`lose no byte and invent no end, ${what}`, () => {
      fc.assert(
        fc.property(fc.array(anyMove, { maxLength: 200, size: "max" }), (moves) => {
          new World(exit, options).play(moves);
        }),
        { numRuns: 150 },
      );
    });
  }
});

function newSide(): Side {
  return {
    sent: 0,
    received: 0,
    consumed: 0,
    hasFinished: false,
    hasLeft: false,
    isReset: false,
    isAccepted: false,
    sawEnd: false,
    isClosed: false,
    failed: false,
  };
}

function other(name: SideName): SideName {
  return name === "socks" ? "exit" : "socks";
}

/** The byte at a place of what a side sends on a channel. */
function pattern(name: SideName, id: number, at: number): number {
  return (31 * at + 7 * (at >> 8) + 13 * id + (name === "socks" ? 0 : 101)) & 0xff;
}
