import { type ErrorCode, NetworkError } from "../../src/errors.ts";
import type { PongOptions } from "../../src/protocols/pong/options.ts";
import { cutFrames, frame, joinFrames, Type, type WireFrame } from "./pong-frames.ts";
import type { Owned } from "./pong-our-end.ts";
import { HEADER_BYTES, Replay, type Replayed } from "./pong-replay.ts";
import type { Line, Transcript } from "./transcript.ts";

/**
 * Puts a remote of ours in the place of the recorded one, with the recorded targets behind it; or
 * in the place of a probe, doing what the probe did.
 */
export function replayRemote(transcript: Transcript, options: Partial<PongOptions>): Replayed {
  const remote = new RemoteReplay(transcript, options);
  return remote.run();
}

class RemoteReplay {
  readonly #replay: Replay;
  readonly #isScripted: boolean;
  readonly #headers = new Map<number, Uint8Array>();
  readonly #targets = new Map<number, Owned>();
  /** How many of the requested streams were answered. */
  #answered = 0;

  constructor(transcript: Transcript, options: Partial<PongOptions>) {
    this.#replay = new Replay(transcript, options);
    this.#isScripted = transcript.capturedFrom.server === "probe";
  }

  run(): Replayed {
    return this.#replay.run((line) => this.#play(line));
  }

  #play(line: Line): void {
    if (line.layer === "dst") {
      if (this.#isScripted) return; // a target of the recorded local, not of ours
      if (line.from === "client") this.#expectAtTarget(line);
      else this.#playTarget(line);
    } else if (this.#replay.isWire(line)) {
      if (line.from === "client") this.#receive(line);
      else if (this.#replay.isWireData(line)) this.#repeat(line);
    }
    if (this.#isScripted) this.#acceptAll(line.at);
    else if (this.#replay.transcript.capturedFrom.client === "reference") this.#confirm(line.at);
  }

  #receive(line: Line): void {
    const { event, conn, bytes, at } = line;
    if (this.#replay.isWireData(line)) {
      const frames = this.#withoutHeader(line);
      if (this.#headers.get(conn)?.byteLength !== HEADER_BYTES) return;
      const end = this.#replay.ends.get(conn) ?? this.#replay.start(conn, { side: "remote" }, at);
      if (frames.byteLength > 0) end.apply(end.session.receive(frames, at), at);
    } else if (event === "end" && bytes.byteLength === 0) {
      const end = this.#replay.ends.get(conn);
      end?.apply(end.session.receiveEnd(at), at);
    }
  }

  #withoutHeader({ conn, bytes }: Line): Uint8Array {
    const before = this.#headers.get(conn) ?? new Uint8Array(0);
    const header = Buffer.concat([before, bytes]).subarray(0, HEADER_BYTES);
    this.#headers.set(conn, header);
    return bytes.subarray(header.byteLength - before.byteLength);
  }

  /** A target speaks, ends, resets. */
  #playTarget({ event, conn, bytes, at }: Line): void {
    const stream = this.#targets.get(conn);
    if (stream === undefined) return;
    const end = this.#replay.endOf(stream);
    if (event === "data") end.write(stream, bytes, at);
    if (event === "end") end.apply(end.session.finish(stream.id, at), at);
    if (event === "reset") {
      const cause = new NetworkError("ERR_CONNECTION_RESET", "the target reset");
      end.apply(end.session.reset(stream.id, cause, at), at);
    }
  }

  #expectAtTarget({ event, conn, bytes, at }: Line): void {
    if (event === "open") {
      const stream = this.#replay.requested[this.#answered];
      if (stream === undefined) return; // for a stream that ours did not take
      this.#answered += 1;
      this.#targets.set(conn, stream);
      const end = this.#replay.endOf(stream);
      end.apply(end.session.accept(stream.id, at), at);
      return;
    }
    const stream = this.#targets.get(conn);
    if (stream === undefined) return;
    if (event === "data") this.#replay.expect(stream, bytes);
    if (event === "end") this.#replay.expectEnd(stream);
  }

  /** What the recorded remote sent and no target's line explains. */
  #repeat(line: Line): void {
    for (const sent of this.#replay.script(line, 0)) {
      if (this.#isScripted) this.#act(sent, line);
      else if (sent.type === Type.rst) this.#refuse(sent, line);
    }
  }

  /** A dial that failed shows on the wire alone. */
  #refuse({ id, payload }: WireFrame, { conn, at }: Line): void {
    const stream = this.#replay.requested[this.#answered];
    if (stream?.id !== id || stream.conn !== conn || stream.isClosed) return;
    this.#answered += 1;
    const end = this.#replay.endOf(stream);
    end.apply(end.session.reset(id, failure(payload[0]), at), at);
  }

  /** Does what a probe in our place did, where a remote of ours has a command for it. */
  #act(sent: WireFrame, { conn, at }: Line): void {
    const end = this.#replay.ends.get(conn);
    const { id, type, payload } = sent;
    const stream = end?.streams.get(id);
    if (end === undefined || stream === undefined || stream.isClosed) {
      this.#replay.skipped.push(sent);
    } else if (type === Type.data && payload.byteLength > 0) {
      end.write(stream, payload, at);
    } else if (type === Type.finish) {
      end.apply(end.session.finish(id, at), at);
    } else if (type === Type.close) {
      end.apply(end.session.close(id, at), at);
    } else if (type === Type.rst) {
      end.apply(end.session.reset(id, failure(payload[0]), at), at);
    } else {
      this.#replay.skipped.push(sent);
    }
  }

  #acceptAll(at: number): void {
    const { requested } = this.#replay;
    for (const stream of requested.slice(this.#answered)) {
      const end = this.#replay.endOf(stream);
      end.apply(end.session.accept(stream.id, at), at);
    }
    this.#answered = requested.length;
  }

  /** A pong-go local answers FINISH with CLOSE, which is not in a transcript that has no FINISH. */
  #confirm(at: number): void {
    for (const end of this.#replay.ends.values()) {
      const finished = cutFrames(Buffer.concat(end.output)).frames.filter(
        ({ type }) => type === Type.finish,
      );
      for (const { id } of finished) {
        const stream = end.streams.get(id);
        if (stream === undefined || stream.isConfirmed === true) continue;
        stream.isConfirmed = true;
        end.apply(end.session.receive(joinFrames([frame(Type.close, id)]), at), at);
      }
    }
  }
}

function failure(code: number | undefined): NetworkError {
  const known = code === undefined ? undefined : FAILURES[code];
  return new NetworkError(known ?? "ERR_STREAM_RESET", `as recorded with code ${code ?? "none"}`);
}

/** The error of ours that a recorded code stands for. */
const FAILURES: Readonly<Record<number, ErrorCode | undefined>> = {
  5: "ERR_DIAL_REFUSED",
  16: "ERR_DIAL_TIMEOUT",
  19: "ERR_DNS",
};
