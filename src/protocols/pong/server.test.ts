import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes, randomChunks } from "../../../test/support/chunks.ts";
import { hex } from "../../../test/support/hex.ts";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { describeFrame } from "../../../test/support/pong-end.ts";
import { Recorder } from "../../../test/support/recorder.ts";
import { turns } from "../../../test/support/turns.ts";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError } from "../../errors.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { Request } from "../../tunnel/request.ts";
import { encodeFrame, encodeHeader, FrameDecoder, FrameType, HEADER_BYTES } from "./codec.ts";
import { encodeExtension, type Extension } from "./extension.ts";
import { PongServer, type PongServerOptions } from "./server.ts";

const ALICE = new Uint8Array(16).fill(0xa1);
const BOB = new Uint8Array(16).fill(0xb0);
const CLIENTS = [
  { name: "alice", id: ALICE },
  { name: "bob", id: BOB },
];

describe("a pong server", () => {
  test("lets a known client in and names it in every request", async () => {
    const house = new House();
    const peer = house.peer();
    peer.say(encodeHeader(BOB));
    peer.frame("connect", 1, hex("01 7f000001 0050"));
    await turns(20);
    const [request] = house.requests;
    assert.deepEqual(request?.target, { network: "tcp", host: "127.0.0.1", port: 80 });
    assert.deepEqual(request?.metadata, { inbound: "pong", source: "peer1", user: "bob" });
    assert.equal(house.server.linkCount, 1);
    assert.match(house.logs.text, /info client connected .*"peer":"peer1","user":"bob"/);
    peer.connection.close();
    await turns(20);
    assert.equal(house.server.linkCount, 0);
    assert.equal(request?.signal.aborted, true, "the peer gave up");
    assert.equal(house.clock.pending, 0);
  });

  test("lets everybody in when told so, without a name", async () => {
    const house = new House({ clients: undefined });
    const peer = house.peer();
    peer.say(encodeHeader(patternBytes(16)));
    peer.frame("connect", 1, hex("01 7f000001 0050"));
    await turns(20);
    assert.equal(house.requests[0]?.metadata.user, undefined);
    assert.doesNotMatch(house.logs.text, /"user"/);
  });

  test("carries a stream from request to end", async () => {
    const house = new House();
    house.onRequest = echo;
    const peer = house.peer();
    peer.say(encodeHeader(ALICE));
    peer.frame("connect", 1, hex("01 7f000001 0050"));
    peer.frame("data", 1, Buffer.from("hello"));
    peer.frame("finish", 1);
    await turns(20);
    assert.deepEqual(peer.said(), ["DATA 1 5", "FINISH 1"]);
  });

  test("answers a rejected request with the code alone", async () => {
    const house = new House();
    house.onRequest = (request) => request.reject(new NetworkError("ERR_DNS", "no such name"));
    const peer = house.peer();
    peer.say(encodeHeader(ALICE));
    peer.frame("connect", 1, hex("03 02 6162 0050"));
    await turns(20);
    assert.deepEqual(peer.said(), ["RST 1 19"]);
  });
});

describe("a pong server and a bad header", () => {
  test("turns away what is no header, in any chunking, and says why once", async () => {
    const wrong = [
      [Buffer.concat([hex("09"), ALICE]), "header", "pong version 9 is not 0"],
      [encodeHeader(new Uint8Array(16)), "auth", "unknown client id"],
      [
        Buffer.from("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
        "header",
        "pong version 71 is not 0",
      ],
    ] as const;
    for (const [bytes, phase, reason] of wrong) {
      await fc.assert(
        fc.asyncProperty(fc.infiniteStream(fc.integer({ min: 1, max: 20 })), async (sizes) => {
          const house = new House();
          const peer = house.peer();
          for (const chunk of randomChunks(bytes, sizes)) {
            peer.say(chunk);
            await turns(1);
          }
          await turns(20);
          assert.deepEqual(peer.recorder.events.slice(0, 1), ["end"]);
          assert.equal(peer.recorder.byteLength, 0, "not a word");
          assert.equal(house.logs.lines.length, 1);
          const line = house.logs.lines[0] ?? "";
          assert.match(line, /^warn connection refused \{"peer":"peer1","transport":"memory"/);
          assert.ok(line.includes(`"phase":"${phase}","reason":"${reason}"`), line);
          assert.equal(house.clock.pending, 0);
        }),
        { numRuns: 5 },
      );
    }
  });

  test("says what was missing when it is cut short", async () => {
    for (let length = 0; length < HEADER_BYTES; length++) {
      const house = new House();
      const peer = house.peer();
      peer.say(encodeHeader(ALICE).subarray(0, length));
      peer.connection.finish();
      await turns(10);
      assert.match(house.logs.text, new RegExp(`"reason":"ended after ${length} of 17 bytes"`));
      assert.equal(house.server.linkCount, 0);
      assert.equal(house.clock.pending, 0);
    }
  });

  test("waits no longer than its deadline, however slowly bytes drip", async () => {
    const house = new House({ headerTimeoutMs: 10_000 });
    const [silent, dripping] = [house.peer(), house.peer()];
    for (let second = 0; second < 10; second++) {
      dripping.say(Uint8Array.of(0));
      await turns();
      house.clock.advance(1_000);
    }
    await turns(10);
    for (const { recorder } of [silent, dripping]) assert.equal(recorder.events[0], "end");
    assert.match(house.logs.text, /"phase":"header","reason":"pong header from peer1 not complete/);
    assert.match(house.logs.text, /pong header from peer2 not complete within 10000 ms/);
    assert.equal(house.clock.pending, 0);
  });

  test("lets only so many peers stand at the door", async () => {
    const house = new House({ maxHandshakes: 2 });
    const [first, second, third] = [house.peer(), house.peer(), house.peer()];
    await turns(10);
    assert.deepEqual(third.recorder.events, ["close ERR_LIMIT"]);
    assert.match(house.logs.text, /"peer":"peer3","phase":"accept","reason":"too many peers/);
    first.say(encodeHeader(ALICE));
    await turns(10);
    const fourth = house.peer();
    second.say(encodeHeader(ALICE));
    fourth.say(encodeHeader(ALICE));
    await turns(10);
    assert.equal(house.server.linkCount, 3);
  });

  test("does not even look at an address that failed too often", async () => {
    const failed: string[] = [];
    const guard = {
      blockedForMs: (peer: string) => (failed.includes(peer) ? 1_000 : 0),
      recordFailure: (peer: string) => failed.push(peer),
    };
    const house = new House({ guard });
    house.peer("evil").say(encodeHeader(new Uint8Array(16)));
    await turns(10);
    assert.deepEqual(failed, ["evil"]);
    const again = house.peer("evil");
    again.say(encodeHeader(ALICE));
    await turns(10);
    assert.deepEqual(again.recorder.events, ["close ERR_LIMIT"]);
    const other = house.peer("good");
    other.say(encodeHeader(ALICE));
    await turns(10);
    assert.equal(house.server.linkCount, 1);
  });

  test("does not blame a peer whose network failed", async () => {
    const failed: string[] = [];
    const guard = { blockedForMs: () => 0, recordFailure: (peer: string) => failed.push(peer) };
    const house = new House({ guard });
    const peer = house.peer();
    await turns();
    peer.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "gone"));
    await turns(10);
    assert.deepEqual(failed, []);
    assert.equal(house.clock.pending, 0);
  });
});

describe("a pong server under attack", () => {
  test("loses the link of a peer that sends garbage, and no other", async () => {
    const house = new House();
    house.onRequest = echo;
    const good = house.peer();
    good.say(encodeHeader(ALICE));
    good.frame("connect", 1, hex("01 7f000001 0050"));
    for (let seed = 1; seed <= 30; seed++) {
      const evil = house.peer();
      evil.say(encodeHeader(BOB));
      evil.say(patternBytes(70_000, seed));
      evil.say(hex("0003 00000001 00"));
      evil.connection.finish();
    }
    await turns(50);
    assert.equal(house.server.linkCount, 1);
    const lost = house.logs.lines.filter((line) => line.startsWith("warn client lost"));
    assert.equal(lost.length, 30);
    for (const line of lost) assert.match(line, /"user":"bob","reason":".+"/);
    good.frame("data", 1, Buffer.from("alive"));
    await turns(10);
    assert.deepEqual(good.said(), ["DATA 1 5"]);
  });

  test("survives a flood of CONNECT and RST with nothing left of it", async () => {
    const house = new House();
    house.onRequest = (request) => house.track(request);
    const [evil, good] = [house.peer(), house.peer()];
    for (const peer of [evil, good]) peer.say(encodeHeader(ALICE));
    for (let round = 0; round < 20; round++) {
      const flood: Uint8Array[] = [];
      for (let index = 0; index < 1_000; index++) {
        const streamId = 1 + 2 * (round * 1_000 + index);
        flood.push(...frame("connect", streamId, hex("01 7f000001 0050")));
        flood.push(...frame("rst", streamId, hex("10")));
      }
      evil.say(Buffer.concat(flood));
      await turns(5);
      assert.equal(house.alive.size, 0);
    }
    assert.equal(house.most, 1);
    house.onRequest = echo;
    good.frame("connect", 1, hex("01 7f000001 0050"));
    good.frame("data", 1, Buffer.from("alive"));
    await turns(10);
    assert.deepEqual(good.said(), ["DATA 1 5"]);
  });

  test("takes no more streams than its limit from a flood of CONNECT", async () => {
    const house = new House();
    house.onRequest = (request) => house.track(request);
    const evil = house.peer();
    evil.say(encodeHeader(ALICE));
    const flood = Array.from({ length: 5_000 }, (_, index) =>
      Buffer.concat(frame("connect", 1 + 2 * index, hex("01 7f000001 0050"))),
    );
    evil.say(Buffer.concat(flood));
    await turns(20);
    assert.equal(house.alive.size, 1_024);
    const refused = evil.said();
    assert.equal(refused.length, 5_000 - 1_024);
    assert.ok(refused.every((text) => /^RST \d+ 1$/.test(text)));
  });

  test("answers a flood of SET with no more than its bound, then ends the link", async () => {
    const house = new House();
    const evil = house.peer();
    evil.say(encodeHeader(ALICE));
    evil.extension({ kind: "hello", maxPayload: 65_528, initialWindow: 1 });
    evil.recorder.connection.pause();
    const ping = Buffer.concat(set({ kind: "ping", nonce: 1 }));
    const flood = Buffer.concat(Array.from({ length: 20_000 }, () => ping));
    for (let round = 0; round < 40 && house.server.linkCount <= 1; round++) {
      evil.say(flood);
      await turns(3);
      if (round > 0 && house.server.linkCount === 0) break;
    }
    assert.equal(house.server.linkCount, 0);
    assert.match(house.logs.text, /peer asks and does not listen: \d+ bytes of answers/);
  });

  test("ignores SET frames it does not know, however large", async () => {
    const house = new House();
    house.onRequest = echo;
    const peer = house.peer();
    peer.say(encodeHeader(ALICE));
    for (let kind = 5; kind < 256; kind++) {
      peer.frame("set", 0, new Uint8Array(65_528).fill(kind));
    }
    peer.frame("connect", 1, hex("01 7f000001 0050"));
    peer.frame("data", 1, Buffer.from("alive"));
    await turns(50);
    assert.deepEqual(peer.said(), ["DATA 1 5"]);
  });
});

describe("a pong server that closes", () => {
  test("lets running streams finish, and takes no new ones", async () => {
    const house = new House();
    house.onRequest = echo;
    const [peer, knocking] = [house.peer(), house.peer()];
    peer.say(encodeHeader(ALICE));
    peer.frame("connect", 1, hex("01 7f000001 0050"));
    await turns(10);
    const closing = house.server.close(10_000);
    await turns(10);
    assert.match(knocking.recorder.events.join(" "), /^close ERR_SHUTDOWN/);
    const late = house.peer();
    await turns(5);
    assert.match(late.recorder.events.join(" "), /^close/);
    peer.frame("data", 1, Buffer.from("going on"));
    peer.frame("connect", 3, hex("01 7f000001 0050"));
    await turns(10);
    assert.deepEqual(peer.said(), ["DATA 1 8", "RST 3 13"]);
    peer.frame("finish", 1);
    await turns(10);
    peer.frame("close", 1);
    await turns(10);
    house.clock.advance(100);
    await closing;
    await turns(10);
    assert.equal(house.server.linkCount, 0);
    assert.equal(house.clock.pending, 0);
    assert.match(house.logs.text, /info client left/);
  });

  test("ends what is left when the grace is over", async () => {
    const house = new House();
    house.onRequest = echo;
    const peer = house.peer();
    peer.say(encodeHeader(ALICE));
    peer.frame("connect", 1, hex("01 7f000001 0050"));
    await turns(10);
    const closing = house.server.close(500);
    house.clock.advance(500);
    await turns(10);
    for (let count = 0; count < 10; count++) {
      house.clock.advance(50);
      await turns(3);
    }
    await closing;
    assert.equal(house.server.linkCount, 0);
    assert.equal(house.clock.pending, 0);
  });
});

/** A server with everything it needs, in memory. */
class House {
  readonly clock = new ManualClock();
  readonly logs = new LogRecorder();
  readonly requests: Request[] = [];
  /** Requests that nobody gave up, of those tracked. */
  readonly alive = new Set<Request>();
  most = 0;
  onRequest: (request: Request) => void = () => {};
  readonly server: PongServer;
  readonly #runtime: PongServerOptions["runtime"];
  #peers = 0;

  constructor(options: Partial<PongServerOptions> = {}) {
    this.#runtime = { clock: this.clock, random: () => 0.5, slabs: new SlabPool() };
    this.server = new PongServer({
      name: "pong",
      clients: CLIENTS,
      runtime: this.#runtime,
      logger: this.logs,
      onRequest: (request) => {
        this.requests.push(request);
        this.onRequest(request);
      },
      ...options,
    });
  }

  peer(name = `peer${++this.#peers}`): Peer {
    const [near, far] = connectionPair(this.#runtime, { names: [name, "house"] });
    this.server.accept(far);
    return new Peer(near);
  }

  track(request: Request): void {
    if (request.signal.aborted) return;
    this.alive.add(request);
    this.most = Math.max(this.most, this.alive.size);
    request.signal.addEventListener("abort", () => this.alive.delete(request));
  }
}

/** A scripted local. */
class Peer {
  readonly recorder: Recorder;
  readonly connection: Recorder["connection"];
  readonly #decoder = new FrameDecoder();
  #read = 0;

  constructor(connection: Recorder["connection"]) {
    this.connection = connection;
    this.recorder = new Recorder(connection);
    connection.resume();
  }

  say(bytes: Uint8Array): void {
    this.connection.write([bytes]);
  }

  frame(type: keyof typeof FrameType, streamId: number, payload?: Uint8Array): void {
    this.connection.write(frame(type, streamId, payload));
  }

  extension(extension: Extension): void {
    this.connection.write(set(extension));
  }

  /** The frames it heard since the last time. */
  said(): string[] {
    const chunks = this.recorder.chunks.slice(this.#read);
    this.#read = this.recorder.chunks.length;
    return chunks.flatMap((chunk) => Array.from(this.#decoder.decode(chunk), describeFrame));
  }
}

function frame(
  type: keyof typeof FrameType,
  streamId: number,
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array[] {
  return encodeFrame({ streamId, type: FrameType[type], payload });
}

function set(extension: Extension): Uint8Array[] {
  return frame("set", 0, encodeExtension(extension));
}

/** Sends back whatever comes. */
function echo(request: Request): void {
  const connection = request.accept();
  connection.attach({
    onData: (chunk) => void connection.write([chunk]),
    onEnd: () => connection.finish(),
    onDrain: () => {},
    onClose: () => {},
  });
  connection.resume();
}
