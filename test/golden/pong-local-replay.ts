import assert from "node:assert/strict";
import type { Target } from "../../src/address/target.ts";
import { NetworkError } from "../../src/errors.ts";
import type { PongOptions } from "../../src/protocols/pong/options.ts";
import { Type, type WireFrame } from "./pong-frames.ts";
import type { OurEnd, Owned } from "./pong-our-end.ts";
import { HEADER_BYTES, Replay, type Replayed } from "./pong-replay.ts";
import type { Line, Transcript } from "./transcript.ts";

/**
 * Puts a local of ours in the place of the recorded one, with the recorded programs at its SOCKS5
 * port; or in the place of a probe, doing what the probe did.
 */
export function replayLocal(transcript: Transcript, options: Partial<PongOptions>): Replayed {
  const local = new LocalReplay(transcript, options);
  return local.run();
}

class LocalReplay {
  readonly #replay: Replay;
  readonly #apps = new Map<number, App>();

  constructor(transcript: Transcript, options: Partial<PongOptions>) {
    this.#replay = new Replay(transcript, options);
  }

  run(): Replayed {
    return this.#replay.run((line) => this.#play(line));
  }

  #play(line: Line): void {
    if (line.layer === "app") {
      if (line.from === "client") this.#playApp(line);
      else this.#expectAtApp(line);
    } else if (this.#replay.isWire(line)) {
      if (line.from === "server") this.#receive(line);
      else if (this.#replay.isWireData(line)) this.#repeat(line);
    }
  }

  #receive(line: Line): void {
    const { event, conn, bytes, at } = line;
    const end = this.#replay.ends.get(conn);
    if (end === undefined) return;
    if (this.#replay.isWireData(line)) end.apply(end.session.receive(bytes, at), at);
    if (event === "end") end.apply(end.session.receiveEnd(at), at);
  }

  /** A program at the SOCKS5 port asks, sends, ends. */
  #playApp({ event, conn, bytes, at, isFull }: Line): void {
    const app = this.#apps.get(conn) ?? { asked: new Uint8Array(0), answeredBytes: 0 };
    this.#apps.set(conn, app);
    if (event === "end" && app.stream !== undefined) {
      app.stream.isDeaf = isFull;
      this.#finish(app.stream, at);
    }
    if (event !== "data") return;
    let data = bytes;
    if (app.stream === undefined) {
      app.asked = Buffer.concat([app.asked, bytes]);
      const request = socksRequest(app.asked);
      if (request === undefined || request.command !== SOCKS_CONNECT) return;
      app.stream = this.#open(request.target, at, this.#freeEnd(at));
      data = request.rest;
    }
    if (data.byteLength > 0) this.#replay.endOf(app.stream).write(app.stream, data, at);
  }

  #expectAtApp({ event, conn, bytes, at }: Line): void {
    const app = this.#apps.get(conn);
    if (app === undefined) return;
    // The answer to the greeting and the reply are the SOCKS5 end's own.
    const ownBytes = Math.max(0, SOCKS_ANSWER_BYTES - app.answeredBytes);
    app.answeredBytes += bytes.byteLength;
    if (app.stream === undefined) return;
    if (event === "end") {
      this.#replay.expectEnd(app.stream);
      this.#finish(app.stream, at); // having seen it, the program ends its side too
      return;
    }
    const data = bytes.subarray(ownBytes);
    if (data.byteLength > 0) this.#replay.expect(app.stream, data);
  }

  /** What the recorded local sent and no program's line explains. */
  #repeat(line: Line): void {
    const { capturedFrom } = this.#replay.transcript;
    for (const sent of this.#replay.script(line, HEADER_BYTES)) {
      if (capturedFrom.client === "probe") this.#act(sent, line);
      else this.#failAtApp(sent, line);
    }
  }

  /** A program that closed for good takes nothing more: a write to it failed before this CLOSE. */
  #failAtApp({ id, type }: WireFrame, { conn, at }: Line): void {
    const app = [...this.#apps.values()].find(
      ({ stream }) => stream?.conn === conn && stream.id === id,
    );
    if (type !== Type.close || app?.stream?.isDeaf !== true) return;
    const gone = new NetworkError("ERR_CONNECTION_RESET", "the program is gone");
    const end = this.#replay.endOf(app.stream);
    end.apply(end.session.reset(id, gone, at), at);
  }

  /** Does what a probe in our place did, where a local of ours has a command for it. */
  #act(sent: WireFrame, { conn, at }: Line): void {
    const end = this.#replay.ends.get(conn) ?? this.#start(conn, at);
    const { id, type, payload } = sent;
    const stream = end.streams.get(id);
    const isNext = id === 2 * end.streams.size + 1;
    if (type === Type.connect && isNext && payload.byteLength > 4) {
      this.#open(addressOf(payload), at, end);
    } else if (stream === undefined || stream.isClosed) {
      this.#replay.skipped.push(sent);
    } else if (type === Type.data && end.session.writable(id) > 0) {
      end.write(stream, payload, at);
    } else if (type === Type.finish) {
      this.#finish(stream, at);
    } else if (type === Type.close) {
      end.apply(end.session.close(id, at), at);
    } else if (type === Type.rst && payload.byteLength <= 1) {
      const cause = new NetworkError("ERR_ABORTED", "the program gave up");
      end.apply(end.session.reset(id, cause, at), at);
    } else {
      this.#replay.skipped.push(sent);
    }
  }

  #open(target: Target, at: number, end: OurEnd): Owned {
    const { streamId, step } = end.session.open(target, at);
    const stream = end.add(streamId);
    end.apply(step, at);
    return stream;
  }

  #finish(stream: Owned, at: number): void {
    const end = this.#replay.endOf(stream);
    assert.deepEqual(stream.unsent, [], "everything must have left before the end");
    end.apply(end.session.finish(stream.id, at), at);
  }

  #freeEnd(at: number): OurEnd {
    const { ends, transcript } = this.#replay;
    for (const end of ends.values()) {
      if (!end.isOver && end.session.streamCount < transcript.perMaxCount) return end;
    }
    return this.#start(ends.size + 1, at);
  }

  #start(conn: number, at: number): OurEnd {
    const { clientId } = this.#replay.transcript;
    return this.#replay.start(conn, { side: "local", clientId }, at);
  }
}

/** A program at the local's SOCKS5 port. */
interface App {
  /** Its bytes up to its request. */
  asked: Uint8Array;
  /** Bytes it was answered, those of the SOCKS5 end included. */
  answeredBytes: number;
  stream?: Owned;
}

/** What follows the greeting `05 01 00` in a program's bytes. */
function socksRequest(
  asked: Uint8Array,
): { command: number | undefined; target: Target; rest: Uint8Array } | undefined {
  const request = asked.subarray(SOCKS_GREETING_BYTES);
  if (request.byteLength < 10) return undefined;
  const nameBytes = request[3] === NAME ? 1 + (request[4] ?? 0) : 4;
  const target = addressOf(request.subarray(3));
  return { command: request[1], target, rest: request.subarray(4 + nameBytes + 2) };
}

/** Reads an IPv4 or named SOCKS address, without the codec under test. */
function addressOf(bytes: Uint8Array): Target {
  const isName = bytes[0] === NAME;
  const length = isName ? (bytes[1] ?? 0) : 4;
  const start = isName ? 2 : 1;
  const address = bytes.subarray(start, start + length);
  const host = isName ? Buffer.from(address).toString() : address.join(".");
  const port = Buffer.from(bytes).readUInt16BE(start + length);
  return { network: "tcp", host, port };
}

const NAME = 0x03;
const SOCKS_CONNECT = 1;
const SOCKS_GREETING_BYTES = 3;
const SOCKS_ANSWER_BYTES = 12;
