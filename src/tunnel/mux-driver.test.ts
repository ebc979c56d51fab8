import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { patternBytes } from "../../test/support/chunks.ts";
import { type Cut, CutLink } from "../../test/support/cut-link.ts";
import { assertBytes } from "../../test/support/hex.ts";
import { Recorder } from "../../test/support/recorder.ts";
import { settled, turns } from "../../test/support/turns.ts";
import type { Target } from "../address/target.ts";
import { SlabPool } from "../bytes/slab-pool.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import { MisuseError, NetworkError, PolicyError, type TunnelError } from "../errors.ts";
import { encodeFrame, FrameType, HEADER_BYTES } from "../protocols/pong/codec.ts";
import type { PongOptions } from "../protocols/pong/options.ts";
import { PongSession } from "../protocols/pong/session.ts";
import type { Connection } from "./connection.ts";
import { connectionPair } from "./connection-pair.ts";
import { MuxDriver, type MuxDriverOptions } from "./mux-driver.ts";
import type { MuxStream } from "./mux-stream.ts";
import type { SlowReaderPolicy } from "./slow-readers.ts";

describe("a driver of a link", () => {
  test("opens, carries both ways, half-closes and forgets", async () => {
    const link = await connect();
    const { near, far } = await link.stream();
    near.connection.write([Buffer.from("question")]);
    near.connection.finish();
    await far.ended();
    far.connection.write([Buffer.from("answer")]);
    far.connection.finish();
    await Promise.all([near.closed(), far.closed()]);
    assert.equal(far.text, "question");
    assert.equal(near.text, "answer");
    assert.deepEqual(near.events, ["end", "close"]);
    assert.deepEqual(far.events, ["end", "close"]);
    await link.isEmpty();
  });

  test("names the ends of its streams", async () => {
    const link = await connect();
    const { near, far } = await link.stream();
    assert.deepEqual(near.connection.info, {
      transport: "pong",
      local: "link",
      peer: "example.com:80",
    });
    assert.equal(far.connection.info.peer, "example.com:80");
  });

  test("rejects an open that the peer refused, with the peer's reason", async () => {
    const link = await connect();
    const opening = link.local.open(TARGET, NEVER);
    const request = await link.request();
    request.stream.reset(new NetworkError("ERR_DIAL_REFUSED", "refused"));
    await assert.rejects(opening, { name: "StreamReset", code: "ERR_DIAL_REFUSED" });
    await link.isEmpty();
  });

  test("rejects an open that is given up, and tells the peer", async () => {
    const link = await connect();
    const abort = new AbortController();
    const opening = link.local.open(TARGET, abort.signal);
    const { signal, stream } = await link.request();
    const reason = new PolicyError("ERR_ABORTED", "client went away");
    abort.abort(reason);
    await assert.rejects(opening, reason);
    await turns();
    assert.ok(signal.aborted);
    const late = new Recorder(stream);
    link.remote.accept(stream);
    stream.write([Buffer.from("too late")]);
    assert.deepEqual(late.events, ["close ERR_CONNECTION_RESET"]);
    await link.isEmpty();
  });

  test("opens nothing for a caller who left before", async () => {
    const link = await connect();
    await assert.rejects(link.local.open(TARGET, AbortSignal.abort(LOST)), LOST);
    await link.isEmpty();
  });

  test("rejects an open for a target that the peer cannot be asked for", async () => {
    const link = await connect();
    const unnamed = { ...TARGET, host: "x".repeat(300) };
    await assert.rejects(link.local.open(unnamed, NEVER), { code: "ERR_ADDRESS_UNSUPPORTED" });
    await link.isEmpty();
  });

  test("takes no streams after its end", async () => {
    const link = await connect();
    link.local.close();
    assert.equal(link.local.isOpen, false);
    assert.throws(() => void link.local.open(TARGET, NEVER), MisuseError);
  });

  test("flushes what was written when it closes, and ends what is left with an error", async () => {
    const link = await connect();
    const { near, far } = await link.stream();
    near.connection.write([patternBytes(200_000)]);
    link.local.close();
    link.local.close();
    assert.deepEqual(near.events, ["close ERR_TUNNEL_LOST"]);
    await link.over();
    assertBytes(far.chunks, patternBytes(200_000));
    assert.deepEqual(far.events, ["close ERR_TUNNEL_LOST"]);
    assert.deepEqual(link.closes, { local: [undefined], remote: ["ERR_TUNNEL_LOST"] });
  });

  test("ends at once when aborted", async () => {
    const link = await connect();
    const { near, far } = await link.stream();
    link.local.abort(LOST);
    link.local.abort(LOST);
    assert.deepEqual(near.events, ["close ERR_TUNNEL_LOST"]);
    await far.closed();
    await link.over();
    assert.deepEqual(link.closes.local, ["ERR_CONNECTION_RESET"]);
  });

  test("ends at a frame that cannot be", async () => {
    const link = await connect();
    const { near, far } = await link.stream();
    link.wire.near.write([Uint8Array.of(0, 1, 0, 0, 0, 1, 0)]);
    await Promise.all([near.closed(), far.closed()]);
    await link.over();
    assert.deepEqual(link.closes.remote, ["ERR_PROTOCOL"]);
    assert.equal(far.closeError?.code, "ERR_TUNNEL_LOST");
    assert.match(far.closeError?.message ?? "", /pong frame length 1 is below 7/);
  });

  test("leaves nothing behind after a thousand streams", { timeout: 10_000 }, async () => {
    const link = await connect();
    for (let round = 0; round < 10; round++) {
      const streams = await Promise.all(Array.from({ length: 100 }, () => link.stream()));
      for (const [index, { near, far }] of streams.entries()) {
        near.connection.write([patternBytes(100)]);
        if (index % 4 === 0) near.connection.reset(LOST);
        else if (index % 4 === 1) far.connection.close();
        else if (index % 4 === 2) near.connection.close();
        else {
          near.connection.finish();
          far.connection.finish();
        }
      }
      await Promise.all(streams.flatMap(({ near, far }) => [near.closed(), far.closed()]));
      for (const { near, far } of streams) {
        for (const { events } of [near, far]) {
          assert.equal(events.filter((event) => event.startsWith("close")).length, 1);
        }
      }
    }
    await link.isEmpty();
    assert.equal(link.clock.pending, 2, "one keepalive on either side");
  });

  test("says that a stream closed also when its id was kept back a while", async () => {
    const link = await connect({ options: { extensions: false } });
    const { near } = await link.stream();
    near.connection.close();
    assert.equal(link.local.streamCount, 1, "a pong-go may still be dialling");
    const before = link.streamsClosed.local;
    link.clock.advance(11_000);
    assert.equal(link.local.streamCount, 0);
    assert.ok(link.streamsClosed.local > before, "whoever counts streams must hear of it");
  });
});

describe("a driver under pressure", () => {
  test("stops the source of a stream while the link is full", async () => {
    const link = await connect();
    const { near, far } = await link.stream();
    link.wire.pause("up");
    let written = 0;
    const pump = (): void => {
      while (written < 8 * MIB) {
        written += CHUNK.byteLength;
        if (!near.connection.write([CHUNK.slice()])) return;
      }
    };
    near.onDrain = pump;
    pump();
    const stalled = await settled(() => written);
    assert.ok(stalled <= MIB, `${stalled} bytes written into a link that takes none`);
    link.wire.resume("up");
    await far.received(8 * MIB);
    assert.equal(far.byteLength, 8 * MIB);
  });

  test("gives every stream its turn when the link has room again", async () => {
    const link = await connect();
    const streams = await Promise.all(Array.from({ length: 20 }, () => link.stream()));
    link.wire.pause("up");
    for (const { near } of streams) {
      const pump = (): void => {
        while (near.connection.write([CHUNK.slice()]));
      };
      near.onDrain = pump;
      pump();
    }
    await turns(50);
    link.wire.resume("up");
    await turns(200);
    const got = streams.map(({ far }) => far.byteLength);
    assert.ok(Math.min(...got) > 0, got.join(" "));
    assert.ok(Math.max(...got) <= 8 * Math.min(...got), got.join(" "));
    link.local.abort(LOST);
  });

  test("bounds a slow reader by its window and lets the others go on", async () => {
    const link = await connect();
    const [slow, quick] = [await link.stream(), await link.stream()];
    slow.far.connection.pause();
    let written = 0;
    while (slow.near.connection.write([CHUNK.slice()])) written += CHUNK.byteLength;
    for (let count = 0; count < 200; count++) {
      slow.near.connection.write([CHUNK.slice()]);
      quick.near.connection.write([CHUNK.slice()]);
      await quick.far.received((count + 1) * CHUNK.byteLength);
    }
    const { queuedBytes } = slow.farStream;
    assert.ok(queuedBytes <= 256 * 1024, `${queuedBytes} bytes queued`);
    assert.ok(queuedBytes > 0);
    link.clock.advance(10_000);
    assert.deepEqual(slow.far.events, [], "it is not reset");
    slow.far.connection.resume();
    const total = written + 201 * CHUNK.byteLength;
    await slow.far.received(total);
    assert.equal(slow.far.byteLength, total);
  });

  test("resets a stalled reader on a wire without windows, and nobody else", async () => {
    const link = await connect({ options: { extensions: false }, slowReaders: SMALL });
    const [slow, quick] = [await link.stream(), await link.stream()];
    await stall(slow, 3);
    assert.ok(slow.farStream.queuedBytes > SMALL.maxStreamBytes);
    assert.ok(slow.farStream.queuedBytes <= SMALL.maxStreamBytes + 2 * CHUNK.byteLength);
    quick.near.connection.write([Buffer.from("hello")]);
    await turns(30);
    assert.equal(quick.far.text, "", "the link is paused: the wire has nothing finer");
    link.clock.advance(500);
    await quick.far.received(5);
    assert.deepEqual(slow.far.events, ["close ERR_SLOW_READER"]);
    await slow.near.closed();
    assert.equal(slow.near.closeError?.code, "ERR_STREAM_RESET");
    assert.deepEqual(quick.far.events, []);
  });

  test("waits for a stalled reader under the policy pause", async () => {
    const slowReaders = { ...SMALL, mode: "pause" } as const;
    const link = await connect({ options: { extensions: false }, slowReaders });
    const [slow, quick] = [await link.stream(), await link.stream()];
    await stall(slow, 3);
    quick.near.connection.write([Buffer.from("hello")]);
    for (let count = 0; count < 10; count++) {
      link.clock.advance(1_000);
      await turns();
    }
    assert.equal(quick.far.text, "");
    assert.deepEqual(slow.far.events, []);
    slow.far.connection.resume();
    await quick.far.received(5);
    await slow.far.received(3 * CHUNK.byteLength);
    assert.deepEqual(slow.far.events, []);
  });

  test("goes on after a slow reader left", async () => {
    const link = await connect({ options: { extensions: false }, slowReaders: SMALL });
    const [slow, quick] = [await link.stream(), await link.stream()];
    await stall(slow, 3);
    slow.far.connection.reset(LOST);
    quick.near.connection.write([Buffer.from("hello")]);
    await quick.far.received(5);
  });

  test("ends a link whose peer makes it answer and does not listen", async () => {
    const link = await connect();
    const { near, far } = await link.stream();
    link.wire.pause("down");
    const asking = Buffer.concat(
      Array.from({ length: 10_000 }, (_, index) =>
        Buffer.concat(
          encodeFrame({ streamId: 3 + 2 * index, type: FrameType.relay, payload: ZERO }),
        ),
      ),
    );
    let sent = 0;
    while (link.closes.remote.length === 0 && sent < 50) {
      link.wire.near.write([asking]);
      sent++;
      await turns(2);
    }
    assert.deepEqual(link.closes.remote, ["ERR_LIMIT"]);
    assert.equal(far.closeError?.code, "ERR_TUNNEL_LOST");
    await near.closed();
  });
});

describe("a link that is cut", () => {
  for (const extensions of [true, false]) {
    for (const how of ["reset", "end"] as const) {
      for (const direction of ["up", "down"] as const) {
        const way = `${how}, ${direction}, ${extensions ? "with" : "without"} extensions`;
        test(`ends every stream once with an error, wherever it is cut: ${way}`, async () => {
          const whole = await converse({ options: { extensions } });
          const total = whole.wire.bytes[direction];
          assert.ok(total > 40, `${total} bytes`);
          // All at the same time: each has its own clock, and they share the turns.
          await Promise.all(
            Array.from({ length: total }, (_, afterBytes) =>
              converse({ options: { extensions }, cut: { direction, afterBytes, how } }),
            ),
          );
        });
      }
    }
  }

  test("is noticed on both sides within twice the keepalive when it swallows everything", async () => {
    const link = await connect({ options: { keepaliveMs: 1_000 } });
    const { near, far } = await link.stream();
    const opening = link.local.open(TARGET, NEVER);
    await link.request();
    link.wire.blackHole();
    for (let count = 0; count < 19; count++) {
      link.clock.advance(100);
      await turns();
    }
    assert.deepEqual([...near.events, ...far.events], []);
    link.clock.advance(100);
    assert.deepEqual(near.events, ["close ERR_TUNNEL_LOST"]);
    assert.deepEqual(far.events, ["close ERR_TUNNEL_LOST"]);
    await assert.rejects(opening, { code: "ERR_TUNNEL_LOST" });
    assert.deepEqual(link.closes, { local: ["ERR_PEER_SILENT"], remote: ["ERR_PEER_SILENT"] });
    assert.equal(link.clock.pending, 0);
  });
});

/**
 * A conversation with streams in every state, over a link that may break: everybody must be told,
 * once, and nothing may remain.
 */
async function converse(options: TestLinkOptions): Promise<TestLink> {
  const { cut } = options;
  const link = new TestLink(options);
  const opens = Array.from({ length: 5 }, () => link.open());
  await turns(6);
  const [first, second, third, fourth] = link.requests;
  for (const request of [first, second, third]) if (request) link.accept(request);
  fourth?.stream.reset(new NetworkError("ERR_DIAL_REFUSED", "refused"));
  await turns(6);
  const nears = opens.map(({ owner }) => owner());
  nears[0]?.connection.write([Buffer.from("one")]);
  first?.stream.write([Buffer.from("two")]);
  nears[1]?.connection.finish();
  third?.stream.write([Buffer.from("three")]);
  third?.stream.close();
  await turns(6);
  nears[0]?.connection.write([Buffer.from("four")]);
  second?.stream.write([Buffer.from("five")]);
  await turns(6);
  if (cut === undefined) {
    assert.equal(nears[0]?.text, "two");
    assert.equal(nears[2]?.text, "three");
    assert.deepEqual(link.closes, { local: [], remote: [] });
    return link;
  }
  await turns(10);
  const where = JSON.stringify(cut);
  assert.equal(link.closes.local.length, 1, `ends of the local link ${where}`);
  assert.equal(link.closes.remote.length, 1, `ends of the remote link ${where}`);
  const outcomes = await Promise.all(opens.map(({ outcome }) => outcome));
  for (const outcome of outcomes) {
    if (!(outcome instanceof Recorder)) continue;
    const closes = outcome.events.filter((event) => event.startsWith("close"));
    assert.equal(closes.length, 1, `${outcome.events.join(" ")} ${where}`);
    const isOver = outcome === nears[2] || outcome === nears[3];
    if (!isOver) assert.deepEqual(closes, ["close ERR_TUNNEL_LOST"], where);
  }
  for (const { owner, signal } of link.requests) {
    const closes = owner.events.filter((event) => event.startsWith("close"));
    assert.equal(closes.length, 1, `${owner.events.join(" ")} ${where}`);
    const isAnswered = owner.connection === third?.stream || owner.connection === fourth?.stream;
    if (!isAnswered) assert.deepEqual(closes, ["close ERR_TUNNEL_LOST"], where);
    assert.ok(signal.aborted || owner.isAccepted, where);
  }
  assert.equal(link.clock.pending, 0, `timers left ${where}`);
  assert.equal(link.local.isOpen || link.remote.isOpen, false);
  return link;
}

class RequestOwner extends Recorder {
  isAccepted = false;
}

interface TestRequest {
  readonly stream: MuxStream;
  readonly owner: RequestOwner;
  readonly signal: AbortSignal;
}

interface TestOpen {
  /** Its owner, or why there is none. */
  readonly outcome: Promise<Recorder | TunnelError>;
  readonly owner: () => Recorder | undefined;
}

interface TestLinkOptions {
  readonly options?: Partial<PongOptions>;
  readonly slowReaders?: Partial<SlowReaderPolicy>;
  readonly cut?: Cut | undefined;
}

/** Two drivers with a wire between them that can be paused and cut. */
class TestLink {
  readonly clock = new ManualClock();
  readonly wire: CutLink;
  readonly local: MuxDriver;
  readonly remote: MuxDriver;
  readonly requests: TestRequest[] = [];
  readonly closes: { local: (string | undefined)[]; remote: (string | undefined)[] } = {
    local: [],
    remote: [],
  };
  readonly streamsClosed = { local: 0, remote: 0 };

  constructor({ options = {}, slowReaders, cut }: TestLinkOptions = {}) {
    const { clock } = this;
    const runtime = { clock, random: () => 0.5, slabs: new SlabPool() };
    this.wire = new CutLink(runtime, cut);
    const role = { side: "local", clientId: new Uint8Array(16) } as const;
    const sessions = {
      local: new PongSession(role, options),
      remote: new PongSession({ side: "remote" }, options),
    };
    const shared = (side: "local" | "remote"): MuxDriverOptions => ({
      connection: side === "local" ? this.wire.near : withoutHeader(runtime, this.wire.far),
      session: sessions[side],
      runtime,
      system: "pong",
      slowReaders,
      onStreamClosed: () => this.streamsClosed[side]++,
      onClose: (error) => this.closes[side].push(error?.code),
    });
    this.local = new MuxDriver(shared("local"));
    this.remote = new MuxDriver({
      ...shared("remote"),
      onRequest: (stream, _target, signal) => {
        this.requests.push({ stream, signal, owner: new RequestOwner(stream) });
      },
    });
    this.remote.start(sessions.remote.start(clock.now()));
    this.local.start(sessions.local.start(clock.now()));
  }

  /** Opens a stream that is accepted when the test says so. */
  open(): TestOpen {
    let owner: Recorder | undefined;
    const outcome = this.local.isOpen
      ? this.local.open(TARGET, NEVER).then(
          (stream) => {
            owner = new Recorder(stream);
            stream.resume();
            return owner;
          },
          (error: TunnelError) => error,
        )
      : Promise.resolve(LOST);
    return { outcome, owner: () => owner };
  }

  accept({ stream, owner }: TestRequest): void {
    owner.isAccepted = true;
    this.remote.accept(stream);
    stream.resume();
  }

  /** The next request that no test took yet. */
  async request(): Promise<TestRequest> {
    for (;;) {
      const request = this.requests.shift();
      if (request !== undefined) return request;
      await turns(1);
    }
  }

  /** Opens a stream and accepts it. */
  async stream(): Promise<{ near: Recorder; far: Recorder; farStream: MuxStream }> {
    const { outcome } = this.open();
    const request = await this.request();
    this.accept(request);
    if (this.local.streamCount > 0) this.clock.advance(0);
    const near = await outcome;
    assert.ok(near instanceof Recorder);
    return { near, far: request.owner, farStream: request.stream };
  }

  async isEmpty(): Promise<void> {
    await turns(10);
    assert.equal(this.local.streamCount, 0);
    assert.equal(this.remote.streamCount, 0);
    assert.deepEqual(this.closes, { local: [], remote: [] });
  }

  async over(): Promise<void> {
    while (this.closes.local.length === 0 || this.closes.remote.length === 0) await turns(1);
    await turns(10);
    assert.equal(this.clock.pending, 0, "timers left");
  }
}

/** Both ends know each other. */
async function connect(options: TestLinkOptions = {}): Promise<TestLink> {
  const link = new TestLink(options);
  await turns(10);
  return link;
}

/** Fills a stream whose reader stands still. */
async function stall(
  { near, far }: { readonly near: Recorder; readonly far: Recorder },
  chunks: number,
): Promise<void> {
  far.connection.pause();
  for (let count = 0; count < chunks; count++) near.connection.write([CHUNK.slice()]);
  await turns(30);
}

/** What a server does with the connection header, in the middle of a wire. */
function withoutHeader(runtime: MuxDriverOptions["runtime"], from: Connection): Connection {
  const [near, middle] = connectionPair(runtime, { names: ["far", "link"] });
  let missing = HEADER_BYTES;
  from.attach({
    onData: (chunk) => {
      const skip = Math.min(missing, chunk.byteLength);
      missing -= skip;
      if (!middle.write([chunk.subarray(skip)])) from.pause();
    },
    onEnd: () => middle.finish(),
    onDrain: () => middle.resume(),
    onClose: (error) => (error === undefined ? middle.close() : middle.reset(error)),
  });
  middle.attach({
    onData: (chunk) => {
      if (!from.write([chunk])) middle.pause();
    },
    onEnd: () => from.finish(),
    onDrain: () => from.resume(),
    onClose: (error) => (error === undefined ? from.close() : from.reset(error)),
  });
  from.resume();
  middle.resume();
  return near;
}

const TARGET: Target = { network: "tcp", host: "example.com", port: 80 };
const NEVER = new AbortController().signal;
const LOST = new NetworkError("ERR_CONNECTION_RESET", "gone");
const MIB = 1024 * 1024;
const CHUNK = patternBytes(64 * 1024);
const ZERO = new Uint8Array(0);
const SMALL = { maxStreamBytes: 100_000, stallMs: 500 };
