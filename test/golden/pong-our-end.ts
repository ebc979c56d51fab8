import assert from "node:assert/strict";
import type { ErrorCode } from "../../src/errors.ts";
import type { PongOptions } from "../../src/protocols/pong/options.ts";
import type { PongRole } from "../../src/protocols/pong/peer.ts";
import { PongSession } from "../../src/protocols/pong/session.ts";
import type { MuxEvent, Step } from "../../src/tunnel/session.ts";

/** One stream as its owner sees it. */
export interface Owned {
  readonly conn: number;
  readonly id: number;
  readonly received: Uint8Array[];
  /** What the session had no room for yet. */
  readonly unsent: Uint8Array[];
  /** Whether the peer's side ended, in whatever way. */
  isEnded: boolean;
  isClosed: boolean;
  /** Whether the owner is gone, so that nothing reaches it any more. */
  isDeaf?: boolean;
  /** Whether the peer's answer to our end was played. */
  isConfirmed?: boolean;
}

/** One session of ours, and what became of its streams. */
export class OurEnd {
  readonly conn: number;
  readonly session: PongSession;
  readonly output: Uint8Array[] = [];
  readonly streams: Map<number, Owned> = new Map();
  readonly errors: ErrorCode[] = [];
  lost: ErrorCode | undefined;
  isOver = false;
  readonly #requested: Owned[];

  /** @param requested collects the streams that peers ask for, over all connections */
  constructor(
    conn: number,
    role: PongRole,
    { options, requested }: { options: Partial<PongOptions>; requested: Owned[] },
  ) {
    this.conn = conn;
    this.session = new PongSession(role, options);
    this.#requested = requested;
  }

  add(id: number): Owned {
    const stream: Owned = {
      conn: this.conn,
      id,
      received: [],
      unsent: [],
      isEnded: false,
      isClosed: false,
    };
    this.streams.set(id, stream);
    return stream;
  }

  write(stream: Owned, bytes: Uint8Array, now: number): void {
    stream.unsent.push(bytes);
    this.flush(stream, now);
  }

  flush(stream: Owned, now: number): void {
    for (let next = stream.unsent[0]; next !== undefined; next = stream.unsent[0]) {
      const room = this.session.writable(stream.id);
      if (room <= 0) return;
      const part = next.subarray(0, Math.min(room, next.byteLength));
      stream.unsent.shift();
      if (part.byteLength < next.byteLength) stream.unsent.unshift(next.subarray(part.byteLength));
      this.apply(this.session.write(stream.id, part, now), now);
    }
  }

  advance(now: number): void {
    for (;;) {
      const { deadline } = this.session;
      if (this.isOver || deadline === undefined || deadline > now) return;
      this.apply(this.session.tick(deadline), deadline);
    }
  }

  apply({ events, output }: Step<MuxEvent>, now: number): void {
    for (const chunk of output) this.output.push(chunk.slice());
    for (const event of events) this.#hear(event, now);
  }

  #hear(event: MuxEvent, now: number): void {
    switch (event.type) {
      case "ready":
      case "streamAccepted":
        break;
      case "streamRequested":
        this.#requested.push(this.add(event.streamId));
        break;
      case "streamData": {
        const stream = this.streams.get(event.streamId);
        if (stream?.isDeaf !== true) stream?.received.push(event.data.slice());
        break;
      }
      case "streamFinished": {
        const stream = this.streams.get(event.streamId);
        assert.equal(stream?.isEnded, false, "the end of a stream is told once");
        if (stream !== undefined) stream.isEnded = true;
        break;
      }
      case "streamWritable": {
        const stream = this.streams.get(event.streamId);
        if (stream !== undefined) this.flush(stream, now);
        break;
      }
      case "streamClosed": {
        const stream = this.streams.get(event.streamId);
        assert.equal(stream?.isClosed, false, "a stream closes once");
        if (stream !== undefined) Object.assign(stream, { isEnded: true, isClosed: true });
        if (event.error !== undefined) this.errors.push(event.error.code);
        break;
      }
      case "closed":
        this.isOver = true;
        this.lost = event.error?.code;
        for (const stream of this.streams.values()) {
          Object.assign(stream, { isEnded: true, isClosed: true });
        }
        break;
    }
  }
}
