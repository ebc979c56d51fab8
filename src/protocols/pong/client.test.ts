import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CutLink } from "../../../test/support/cut-link.ts";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { Recorder } from "../../../test/support/recorder.ts";
import { turns } from "../../../test/support/turns.ts";
import type { Target } from "../../address/target.ts";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError, PolicyError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { silentLogger } from "../../tunnel/logger.ts";
import type { Request } from "../../tunnel/request.ts";
import { PongClient, type PongClientOptions, type PongPoolOptions } from "./client.ts";
import { encodeFrame, FrameType } from "./codec.ts";
import { encodeExtension } from "./extension.ts";
import type { PongOptions } from "./options.ts";
import { PongServer } from "./server.ts";

describe("a pong client", () => {
  test("dials for the first open, and again for nobody", async () => {
    const pool = new Pool();
    assert.equal(pool.client.status().state, "idle");
    const stream = await pool.open();
    stream.connection.write([Buffer.from("hello")]);
    await stream.received(5);
    assert.equal(stream.text, "hello");
    await pool.open();
    assert.equal(pool.dials, 1);
    assert.deepEqual(
      { ...pool.client.status(), latencyMs: 0 },
      { state: "up", detail: "pong+memory", latencyMs: 0, links: 1, streams: 2 },
    );
  });

  test("dials its spare connections at the start, one at a time", async () => {
    const pool = new Pool({ spare: 3 });
    pool.client.start();
    pool.client.start();
    assert.equal(pool.client.status().state, "connecting");
    await turns(30);
    assert.equal(pool.dials, 3);
    assert.equal(pool.mostDialling, 1);
    assert.equal(pool.client.status().links, 3);
  });

  test("dials one connection at a time under a burst of opens", async () => {
    const pool = new Pool({ maxStreams: 100, spare: 0 });
    await Promise.all(Array.from({ length: 500 }, () => pool.open()));
    assert.equal(pool.dials, 5);
    assert.equal(pool.mostDialling, 1);
    assert.equal(pool.client.status().streams, 500);
  });

  test("spreads streams over its connections, the emptiest first", async () => {
    const pool = new Pool({ maxStreams: 3, spare: 2 });
    pool.client.start();
    await turns(20);
    for (let count = 0; count < 4; count++) await pool.open();
    assert.deepEqual(pool.requestsByLink(), [2, 2]);
    assert.equal(pool.dials, 2);
    for (let count = 0; count < 4; count++) await pool.open();
    assert.deepEqual(pool.requestsByLink(), [3, 3, 1, 1]);
  });

  test("holds no more connections than its limit, and serves who waits when a stream ends", async () => {
    const pool = new Pool({ maxStreams: 1, maxLinks: 2 });
    const first = await pool.open();
    await pool.open();
    const third = pool.open();
    await turns(20);
    assert.equal(pool.dials, 2);
    first.connection.close();
    await third;
    assert.equal(pool.dials, 2);
  });

  test("serves who waits when a pong-go's id is free at last", async () => {
    const pool = new Pool({ maxStreams: 1, maxLinks: 1, waitMs: 60_000 }, { extensions: false });
    const first = await pool.open();
    first.connection.close();
    const second = pool.open();
    await turns(20);
    pool.clock.advance(11_000);
    await second;
  });

  test("hands the peer's refusal on", async () => {
    const pool = new Pool();
    pool.onRequest = (request) => request.reject(new NetworkError("ERR_DIAL_REFUSED", "no"));
    await assert.rejects(pool.open(), { name: "StreamReset", code: "ERR_DIAL_REFUSED" });
  });

  test("tells its status whenever it changes", async () => {
    const pool = new Pool();
    pool.fails = REFUSED;
    pool.client.start();
    await turns();
    pool.fails = undefined;
    pool.clock.advance(250);
    await turns(20);
    await pool.client.close(0);
    await turns(20);
    const states = pool.states.filter((state, index) => state !== pool.states[index - 1]);
    assert.deepEqual(states, ["connecting", "down", "up", "closed"]);
    assert.equal(pool.clock.pending, 0);
  });
});

describe("a pong client whose peer is away", () => {
  test("tries again with full jitter, ever more rarely", async () => {
    const pool = new Pool();
    pool.fails = REFUSED;
    const waits: number[] = [];
    pool.client.start();
    for (const chance of [0.5, 0.5, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]) {
      pool.random = chance;
      await turns(5);
      const before = pool.clock.now();
      const next = pool.clock.next ?? 0;
      waits.push(next - before);
      pool.clock.advance(next - before);
    }
    assert.deepEqual(waits, [125, 250, 25, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    assert.equal(pool.mostDialling, 1);
    assert.match(pool.logs.text, /tunnel down.*"reason":"refused".*"hint":"look".*"retryInMs":125/);
  });

  test("lets an open wait, and fails it with reason and hint", async () => {
    const pool = new Pool();
    pool.fails = REFUSED;
    const opening = pool.open();
    const failed = assert.rejects(opening, {
      code: "ERR_TUNNEL_DOWN",
      message: "test: no connection for example.com:80 within 5000 ms: refused",
      hint: "look",
      cause: REFUSED,
    });
    await pool.passTime(5_000);
    await failed;
    assert.equal(pool.client.status().state, "down");
    assert.equal(pool.client.status().detail, "refused");
  });

  test("is idle, not down, when it will not dial by itself", async () => {
    const pool = new Pool({ spare: 0 });
    pool.fails = REFUSED;
    const failed = assert.rejects(pool.open(), { code: "ERR_TUNNEL_DOWN" });
    await pool.passTime(5_000);
    await failed;
    await pool.passTime(30_000);
    assert.equal(pool.states.at(-1), "idle");
    assert.equal(pool.client.status().detail, "dials when needed; last time: refused");
    assert.equal(pool.clock.pending, 0);
  });

  test("serves an open that waited when a connection comes up", async () => {
    const pool = new Pool();
    pool.fails = REFUSED;
    const opening = pool.open();
    await pool.passTime(2_000);
    pool.fails = undefined;
    await pool.passTime(3_000);
    await opening;
  });

  test("forgets an open that is given up while it waits", async () => {
    const pool = new Pool();
    pool.hangs = true;
    const abort = new AbortController();
    const opening = pool.open(abort.signal);
    const reason = new PolicyError("ERR_ABORTED", "left");
    abort.abort(reason);
    await assert.rejects(opening, reason);
    await assert.rejects(pool.open(abort.signal), reason);
    pool.hangs = false;
    await pool.client.close(0);
    await turns();
    assert.equal(pool.clock.pending, 0);
  });

  test("gives up a dial that hangs", async () => {
    const pool = new Pool();
    pool.hangs = true;
    pool.client.start();
    await pool.passTime(10_000);
    assert.equal(pool.client.status().detail, "pong+memory: not connected within 10000 ms");
  });
});

describe("a pong client whose connection ends", () => {
  test("reconnects by itself, and serves opens that came meanwhile", async () => {
    const pool = new Pool();
    const stream = await pool.open();
    await pool.passTime(5_000);
    pool.links[0]?.reset();
    await stream.closed();
    assert.equal(stream.closeError?.code, "ERR_TUNNEL_LOST");
    const again = await pool.open();
    assert.equal(again.events.length, 0);
    assert.equal(pool.dials, 2);
    assert.match(pool.logs.text, /tunnel connection ended/);
  });

  test("reconnects while opens wait for a full pool", async () => {
    const pool = new Pool({ maxStreams: 1, maxLinks: 1 });
    await pool.open();
    const waiting = pool.open();
    await pool.passTime(4_000);
    pool.links[0]?.reset();
    await waiting;
    assert.equal(pool.dials, 2);
  });

  test("leaves an idle pong-go alone that closed in order, until somebody asks", async () => {
    const pool = new Pool({}, { extensions: false });
    pool.client.start();
    await pool.passTime(70_000);
    assert.equal(pool.dials, 1);
    pool.links[0]?.far.close();
    await turns(20);
    assert.equal(pool.dials, 1);
    assert.equal(pool.client.status().state, "idle");
    await pool.open();
    assert.equal(pool.dials, 2);
  });

  for (const [way, session] of Object.entries({
    "may be anybody": {},
    "is declared a HEAD": { peer: "head" },
    "is declared a v0.9.4": { peer: "v0.9.4" },
    "is asked nothing": { extensions: false },
  } as const)) {
    for (const how of ["close", "reset"] as const) {
      test(`reports a peer that ${way} and turns it down by a ${how}`, async () => {
        const pool = new Pool({}, session);
        pool.onLink = (link) => {
          if (how === "close") link.far.close();
          else link.reset();
        };
        const opening = pool.open();
        if (way === "may be anybody") {
          await assert.rejects(opening, (error: TunnelError) => {
            assert.match(error.message, /peer closed the connection \d+ ms after our header/);
            assert.match(error.hint ?? "", /client id/);
            return error.code === "ERR_AUTH";
          });
        } else {
          // Nobody waits for such a peer's word, so the stream opens first.
          const stream = await opening;
          await stream.closed();
          assert.equal(stream.closeError?.code, "ERR_TUNNEL_LOST");
        }
        await pool.passTime(10_000);
        assert.ok(pool.dials <= 20, `${pool.dials} dials in 10 s`);
        assert.ok(pool.dials >= 3, `${pool.dials} dials in 10 s`);
        assert.equal(pool.client.status().state, "down");
        assert.match(pool.client.status().detail, /peer closed the connection \d+ ms after/);
        assert.match(pool.logs.text, /tunnel down.*"hint":"check the client id/);
        await pool.client.close(0);
      });
    }
  }

  test("passes on what the transport knows of the reason, with its hint", async () => {
    const pool = new Pool();
    const alert = new TunnelError("ERR_TLS", "the server wants a client certificate", {
      hint: "show one",
    });
    pool.onLink = (link) => link.reset(alert);
    await assert.rejects(pool.open(), (error: TunnelError) => {
      assert.match(error.message, /after our header: the server wants a client certificate$/);
      assert.equal(error.hint, "show one");
      return true;
    });
    await pool.client.close(0);
  });

  test("does not hammer a peer that introduces itself and leaves", async () => {
    const pool = new Pool();
    pool.onLink = (link) => {
      const hello = { kind: "hello", maxPayload: 65_528, initialWindow: 65_536 } as const;
      const payload = encodeExtension(hello);
      link.far.write(encodeFrame({ streamId: 0, type: FrameType.set, payload }));
      link.far.close();
    };
    pool.client.start();
    await pool.passTime(60_000);
    assert.ok(pool.dials <= 40, `${pool.dials} dials in a minute`);
    assert.ok(pool.dials >= 4, `${pool.dials} dials in a minute`);
  });

  test("starts its waits anew after a connection that lasted", async () => {
    const pool = new Pool();
    pool.fails = REFUSED;
    pool.client.start();
    await pool.passTime(60_000);
    pool.fails = undefined;
    await pool.passTime(60_000);
    assert.equal(pool.client.status().state, "up");
    pool.fails = REFUSED;
    pool.links.at(-1)?.reset();
    await turns();
    assert.match(pool.logs.lines.at(-1) ?? "", /"retryInMs":125/);
  });

  test("tells a wrong client id apart from a lost network", async () => {
    const pool = new Pool();
    pool.server = server(pool, [{ name: "alice", id: new Uint8Array(16).fill(0xa1) }]);
    await assert.rejects(pool.open(), { code: "ERR_AUTH" });
    assert.match(pool.logs.text, /"phase":"auth"/);
  });
});

describe("a pong client that tidies up", () => {
  test("closes idle connections beyond the spare ones", async () => {
    const pool = new Pool({ maxStreams: 1, spare: 1 });
    const streams = [await pool.open(), await pool.open(), await pool.open()];
    await turns(20);
    assert.equal(pool.client.status().links, 4, "one beyond those that are full");
    for (const { connection } of streams) connection.close();
    await pool.passTime(59_000);
    assert.equal(pool.client.status().links, 4);
    await pool.passTime(2_000);
    assert.equal(pool.client.status().links, 1);
    await pool.passTime(120_000);
    assert.equal(pool.client.status().links, 1);
    assert.equal(pool.dials, 4);
  });

  test("closes idle connections to a pong-go as well", async () => {
    const pool = new Pool({ maxStreams: 1, spare: 0 }, { extensions: false, keepaliveMs: 0 });
    const stream = await pool.open();
    stream.connection.close();
    await pool.passTime(11_000 + 61_000);
    assert.equal(pool.client.status().links, 0);
    assert.equal(pool.clock.pending, 0);
  });

  test("does not blame the peer for a connection it closed itself", async () => {
    const pool = new Pool({ maxAgeMs: 500 });
    pool.isServed = false;
    pool.client.start();
    await pool.passTime(600);
    assert.equal(pool.dials, 2);
    assert.doesNotMatch(pool.logs.text, /tunnel down/);
    assert.match(pool.logs.text, /no longer needed/);
  });

  test("keeps a connection that is used", async () => {
    const pool = new Pool({ spare: 0 });
    await pool.open();
    await pool.passTime(600_000);
    assert.equal(pool.client.status().links, 1);
  });

  test("opens nothing on an old connection, and closes it when its last stream ends", async () => {
    const pool = new Pool({ maxAgeMs: 10_000 });
    const old = await pool.open();
    await pool.passTime(10_000);
    await pool.open();
    assert.equal(pool.dials, 2);
    assert.equal(pool.client.status().links, 2);
    old.connection.close();
    await turns(20);
    pool.clock.advance(1);
    await turns(20);
    assert.equal(pool.client.status().links, 1);
  });
});

describe("a pong client that closes", () => {
  test("lets streams finish, opens none, and leaves nothing behind", async () => {
    const pool = new Pool();
    const stream = await pool.open();
    const closing = pool.client.close(10_000);
    await assert.rejects(pool.open(), { code: "ERR_SHUTDOWN" });
    await pool.passTime(1_000);
    assert.deepEqual(stream.events, []);
    stream.connection.close();
    await pool.passTime(100);
    await closing;
    await turns(20);
    assert.equal(pool.client.status().state, "closed");
    assert.equal(pool.clock.pending, 0);
    await pool.client.close(0);
    assert.equal(pool.dials, 1);
  });

  test("ends what is left when the grace is over", async () => {
    const pool = new Pool();
    const stream = await pool.open();
    const closing = pool.client.close(1_000);
    await pool.passTime(1_000);
    await closing;
    assert.deepEqual(stream.events, ["close ERR_TUNNEL_LOST"]);
    await turns(20);
    assert.equal(pool.clock.pending, 0);
  });

  test("fails who waits, and stops dialling", async () => {
    const pool = new Pool();
    pool.hangs = true;
    const waiting = pool.open();
    const failed = assert.rejects(waiting, { code: "ERR_SHUTDOWN" });
    await pool.client.close(0);
    await failed;
    await turns();
    assert.equal(pool.clock.pending, 0);
    assert.equal(pool.client.status().state, "closed");
  });

  test("closes a connection whose dial succeeds too late", async () => {
    const pool = new Pool();
    pool.ignoresAbort = true;
    pool.client.start();
    const closing = pool.client.close(0);
    await closing;
    await turns(20);
    assert.equal(pool.dials, 1);
    assert.equal(pool.client.status().links, 0);
    const far = new Recorder(pool.links[0]?.far ?? assert.fail());
    far.connection.resume();
    await turns();
    assert.match(far.events.join(" "), /^(end|close)/);
    assert.equal(pool.clock.pending, 0);
  });
});

const TARGET: Target = { network: "tcp", host: "example.com", port: 80 };
const METADATA = { inbound: "test", source: "127.0.0.1:1" };
const REFUSED = new NetworkError("ERR_DIAL_REFUSED", "refused", { hint: "look" });

/** A client, its dialer, and a server that accepts everything and echoes. */
class Pool {
  readonly clock = new ManualClock();
  readonly logs = new LogRecorder();
  readonly client: PongClient;
  readonly states: string[] = [];
  readonly links: CutLink[] = [];
  readonly #requests: Request[] = [];
  readonly runtime: PongClientOptions["runtime"];
  server: PongServer;
  random = 0.5;
  /** What every dial fails with. */
  fails: TunnelError | undefined;
  hangs = false;
  ignoresAbort = false;
  /** Whether dialled connections reach the server. */
  isServed = true;
  onLink: ((link: CutLink) => void) | undefined;
  onRequest: (request: Request) => void = echo;
  dials = 0;
  mostDialling = 0;
  #dialling = 0;

  constructor(pool: Partial<PongPoolOptions> = {}, session: Partial<PongOptions> = {}) {
    this.runtime = { clock: this.clock, random: () => this.random, slabs: new SlabPool() };
    this.server = server(this, undefined);
    this.client = new PongClient({
      name: "test",
      runtime: this.runtime,
      logger: this.logs,
      clientId: new Uint8Array(16),
      pool,
      session,
      dialer: { description: "pong+memory", dial: (options) => this.#dial(options.signal) },
      onStatus: ({ state }) => this.states.push(state),
    });
  }

  /** Opens a stream with an owner that reads; a hello or its absence gets the time it takes. */
  async open(signal: AbortSignal = new AbortController().signal): Promise<Recorder> {
    const connection = await this.client.open(TARGET, { signal, metadata: METADATA });
    const owner = new Recorder(connection);
    connection.resume();
    return owner;
  }

  /** Time passes in steps small enough for everything that follows from each other. */
  async passTime(ms: number): Promise<void> {
    const until = this.clock.now() + ms;
    while (this.clock.now() < until) {
      await turns(6);
      const next = Math.min(this.clock.next ?? until, until);
      this.clock.advance(Math.max(next - this.clock.now(), 0));
    }
    await turns(6);
  }

  took(request: Request): void {
    this.#requests.push(request);
    this.onRequest(request);
  }

  /** How many streams each connection got, in the order they were dialled. */
  requestsByLink(): number[] {
    const counts = new Map<string, number>();
    for (const { metadata } of this.#requests) {
      counts.set(metadata.source, (counts.get(metadata.source) ?? 0) + 1);
    }
    return [...counts.values()];
  }

  async #dial(signal: AbortSignal): Promise<Connection> {
    this.dials++;
    this.#dialling++;
    this.mostDialling = Math.max(this.mostDialling, this.#dialling);
    try {
      await turns(2);
      if (!this.ignoresAbort) signal.throwIfAborted();
      if (this.fails !== undefined) throw this.fails;
      if (this.hangs) {
        await new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        });
      }
      const link = new CutLink(this.runtime, undefined, `near${this.dials}`);
      this.links.push(link);
      if (this.onLink !== undefined) this.onLink(link);
      else if (this.isServed && !this.ignoresAbort) this.server.accept(link.far);
      return link.near;
    } finally {
      this.#dialling--;
    }
  }
}

function server(
  pool: Pool,
  clients: ConstructorParameters<typeof PongServer>[0]["clients"],
): PongServer {
  return new PongServer({
    name: "memory",
    clients,
    runtime: pool.runtime,
    logger: clients === undefined ? silentLogger : pool.logs,
    onRequest: (request) => pool.took(request),
  });
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
