import assert from "node:assert/strict";
import { assertBytes } from "../support/hex.ts";
import type { ErrorCode } from "../../src/errors.ts";
import type { PongOptions } from "../../src/protocols/pong/options.ts";
import type { PongRole } from "../../src/protocols/pong/peer.ts";
import { assertCourteous, cutFrames, type WireFrame } from "./pong-frames.ts";
import { OurEnd, type Owned } from "./pong-our-end.ts";
import type { Line, Transcript } from "./transcript.ts";

/** What a replayed end of ours did. */
export interface Replayed {
  /** By connection, what it sent: a local's header first. */
  readonly sent: ReadonlyMap<number, Uint8Array>;
  /** What it sent after the transcript, once every deadline had passed. */
  readonly later: readonly WireFrame[];
  /** Frames of a probe that an end of ours has no command for, or that name no stream of ours. */
  readonly skipped: readonly WireFrame[];
  /** Why streams ended that did not end in order, oldest first. */
  readonly errors: readonly ErrorCode[];
  /** Why connections were given up, by connection. */
  readonly lost: Readonly<Record<number, ErrorCode>>;
}

/** What both directions of a replay share: the connections, the expectations, the outcome. */
export class Replay {
  readonly transcript: Transcript;
  readonly ends: Map<number, OurEnd> = new Map();
  /** Streams that peers asked for, in order. */
  readonly requested: Owned[] = [];
  readonly skipped: WireFrame[] = [];
  readonly #options: Partial<PongOptions>;
  readonly #expected = new Map<Owned, Uint8Array[]>();
  readonly #expectedEnds: Owned[] = [];
  readonly #scripts = new Map<number, Uint8Array>();

  constructor(transcript: Transcript, options: Partial<PongOptions>) {
    this.transcript = transcript;
    this.#options = options;
  }

  /** Walks through the transcript; `play` feeds the peer's bytes and repeats what our owner did. */
  run(play: (line: Line) => void): Replayed {
    let now = 0;
    for (const line of this.transcript.lines) {
      now = line.at;
      for (const end of this.ends.values()) end.advance(now);
      play(line);
    }
    for (const [{ conn, id, received }, parts] of this.#expected) {
      assertBytes(received, parts, `what reached the owner of stream ${id} on connection ${conn}`);
    }
    for (const { conn, id, isEnded } of this.#expectedEnds) {
      assert.ok(isEnded, `the owner of stream ${id} on connection ${conn} must see its end`);
    }
    const sent = this.#takeOutput();
    for (const end of this.ends.values()) end.advance(now + FOR_EVER_MS);
    const later = [...this.#takeOutput().values()].flatMap((bytes) => cutFrames(bytes).frames);
    assertCourteous(later);
    const ends = [...this.ends.values()];
    return {
      sent,
      later,
      skipped: this.skipped,
      errors: ends.flatMap(({ errors }) => errors),
      lost: Object.fromEntries(
        ends.flatMap(({ conn, lost }) => (lost === undefined ? [] : [[conn, lost]])),
      ),
    };
  }

  start(conn: number, role: PongRole, at: number): OurEnd {
    const { requested } = this;
    const end = new OurEnd(conn, role, { options: this.#options, requested });
    this.ends.set(conn, end);
    end.apply(end.session.start(at), at);
    return end;
  }

  endOf({ conn }: Owned): OurEnd {
    const end = this.ends.get(conn);
    if (end === undefined) throw new Error(`no connection ${conn}`);
    return end;
  }

  /** The owner of `stream` was seen to get these bytes from the recorded end. */
  expect(stream: Owned, bytes: Uint8Array): void {
    const parts = this.#expected.get(stream) ?? [];
    parts.push(bytes);
    this.#expected.set(stream, parts);
  }

  /** The owner of `stream` was seen to get its end; when exactly is free. */
  expectEnd(stream: Owned): void {
    this.#expectedEnds.push(stream);
  }

  /** Whether the line holds bytes of the pong connection. */
  isWireData({ layer, event, opcode }: Line): boolean {
    return event === "data" && layer === this.transcript.wireLayer && (opcode ?? BINARY) <= BINARY;
  }

  /** Whether the line is about the pong connection. */
  isWire({ layer }: Line): boolean {
    return layer === this.transcript.wireLayer || layer === "tcp";
  }

  /** The whole frames that the recorded bytes in our place complete with this line. */
  script({ conn, bytes }: Line, headerBytes: number): readonly WireFrame[] {
    const before = this.#scripts.get(conn);
    const all = Buffer.concat([before ?? NO_BYTES, bytes]);
    const { frames, rest } = cutFrames(before === undefined ? all.subarray(headerBytes) : all);
    this.#scripts.set(conn, rest);
    return frames;
  }

  #takeOutput(): Map<number, Uint8Array> {
    const output = new Map<number, Uint8Array>();
    for (const [conn, end] of this.ends) output.set(conn, Buffer.concat(end.output.splice(0)));
    return output;
  }
}

/** The connection header's length. */
export const HEADER_BYTES = 17;

const NO_BYTES = new Uint8Array(0);

/** The opcode of a whole message; continuations have 0. */
const BINARY = 2;

/** Longer than any deadline of a session. */
const FOR_EVER_MS = 3_600_000;
