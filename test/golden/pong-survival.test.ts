import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { NetworkError } from "../../src/errors.ts";
import type { PongOptions } from "../../src/protocols/pong/options.ts";
import { PongSession } from "../../src/protocols/pong/session.ts";
import type { MuxEvent, Step } from "../../src/tunnel/session.ts";
import { hex } from "../support/hex.ts";
import {
  assertCourteous,
  cutFrames,
  frame,
  joinFrames,
  Type,
  type WireFrame,
} from "./pong-frames.ts";

/** What kills pong-go, spins or deafens its reader, or vanishes in it: spec 1.2, 1.4-1.6, 2.8. */
const POISON: readonly (readonly [string, WireFrame])[] = [
  ["an RST with a text", { id: 3, type: Type.rst, payload: hex("05 72656675736564") }],
  ["an RST with a long text", { id: 3, type: Type.rst, payload: new Uint8Array(60_000).fill(9) }],
  ["a FINISH of eight bytes", { id: 3, type: Type.finish, payload: new Uint8Array(8) }],
  ["a CLOSE of 3000 bytes", { id: 3, type: Type.close, payload: new Uint8Array(3000) }],
  ["an unknown type of 3000 bytes", { id: 3, type: 0x77, payload: new Uint8Array(3000) }],
  ["an empty CONNECT", frame(Type.connect, 5)],
  ["a CONNECT of one byte", frame(Type.connect, 5, 1)],
  ["a CONNECT of an unknown address type", frame(Type.connect, 5, 9, 127, 0, 0, 1, 0, 80)],
  ["a CONNECT of 3000 bytes", { id: 5, type: Type.connect, payload: new Uint8Array(3000) }],
  ["a CONNECT on stream 0", frame(Type.connect, 0, 1, 127, 0, 0, 1, 0, 80)],
  ["the largest DATA", { id: 3, type: Type.data, payload: new Uint8Array(65_528) }],
];

describe("what must never be sent to pong-go", () => {
  for (const side of ["local", "remote"] as const) {
    for (const [what, poison] of POISON) {
      test(`costs our ${side} no other stream when it hears ${what}`, () => {
        const end = new Talker(side);
        end.hear(poison);
        end.hear({ id: 1, type: Type.data, payload: hex("61 62 63") });
        assert.equal(end.received.get(1), 3);
        assert.equal(end.isOver, false);
        assertCourteous(end.said());
      });
    }
  }

  test("is never sent, whatever our owner does and the peer says", () => {
    const id = fc.constantFrom(0, 1, 2, 3, 5, 7);
    const heard = fc.record({
      id,
      type: fc.integer({ min: 0, max: 11 }),
      payload: fc.uint8Array({ maxLength: 40 }),
    });
    const command = fc.record({
      id,
      act: fc.constantFrom("write", "finish", "close", "reset", "accept", "open"),
    });
    const peers = fc.constantFrom<Partial<PongOptions>>({}, { peer: "v0.9.4" }, { peer: "head" });
    fc.assert(
      fc.property(
        fc.constantFrom("local" as const, "remote" as const),
        peers,
        fc.array(fc.oneof(heard, command), { maxLength: 60 }),
        (side, options, steps) => {
          const end = new Talker(side, options);
          for (const step of steps) {
            if ("act" in step) end.act(step.act, step.id);
            // A hello would make the peer a Sluice, which takes more.
            else if (step.type !== Type.set || step.id !== 0) end.hear(step);
          }
          end.pass(3_600_000);
          assertCourteous(end.said());
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** A session of ours with streams 1 and 3 open, and the last word of pong-go's on who it is. */
class Talker {
  readonly received = new Map<number, number>();
  isOver = false;
  readonly #session: PongSession;
  readonly #side: "local" | "remote";
  readonly #output: Uint8Array[] = [];
  #now = 0;

  constructor(side: "local" | "remote", options: Partial<PongOptions> = {}) {
    this.#side = side;
    const role = side === "local" ? { side, clientId: new Uint8Array(16) } : { side };
    this.#session = new PongSession(role, options);
    this.#apply(this.#session.start(0));
    if (side === "local") {
      this.#output.length = 0; // the header is no frame
      this.act("open", 1);
      this.act("open", 3);
    } else {
      for (const id of [1, 3]) this.hear(frame(Type.connect, id, 1, 127, 0, 0, 1, 0, 80));
      for (const id of [1, 3]) this.act("accept", id);
    }
  }

  hear(sent: WireFrame): void {
    this.#apply(this.#session.receive(Buffer.from(joinFrames([sent])), this.#now));
  }

  act(act: "write" | "finish" | "close" | "reset" | "accept" | "open", id: number): void {
    const session = this.#session;
    const now = ++this.#now;
    switch (act) {
      case "write":
        if (session.writable(id) >= 20_000) {
          this.#apply(session.write(id, new Uint8Array(20_000), now));
        }
        break;
      case "reset": {
        const cause = new NetworkError("ERR_DIAL_REFUSED", "a reason that is not for the wire");
        this.#apply(session.reset(id, cause, now));
        break;
      }
      case "open":
        if (this.#side === "remote" || !session.isOpen) break;
        this.#apply(session.open({ network: "tcp", host: "example.com", port: 80 }, now).step);
        break;
      default:
        this.#apply(session[act](id, now));
    }
  }

  pass(ms: number): void {
    const until = this.#now + ms;
    for (let { deadline } = this.#session; deadline !== undefined; { deadline } = this.#session) {
      if (deadline > until) break;
      this.#now = Math.max(this.#now, deadline);
      this.#apply(this.#session.tick(this.#now));
    }
  }

  said(): readonly WireFrame[] {
    const { frames, rest } = cutFrames(Buffer.concat(this.#output));
    assert.equal(rest.byteLength, 0, "only whole frames");
    return frames;
  }

  #apply({ events, output }: Step<MuxEvent>): void {
    this.#output.push(...output);
    for (const event of events) {
      if (event.type === "closed") this.isOver = true;
      if (event.type !== "streamData") continue;
      const before = this.received.get(event.streamId) ?? 0;
      this.received.set(event.streamId, before + event.data.byteLength);
    }
  }
}
