import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, test } from "node:test";
import { SlabPool } from "../bytes/slab-pool.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import { NetworkError, PolicyError, StreamReset, type TunnelError } from "../errors.ts";
import { createBlockOutbound } from "../outbound/block/block-outbound.ts";
import { createTunnelOutbound } from "../outbound/tunnel/tunnel-outbound.ts";
import type { Connection } from "../tunnel/connection.ts";
import { connectionPair } from "../tunnel/connection-pair.ts";
import type { LogFields, Logger } from "../tunnel/logger.ts";
import type { Metadata, Outbound, Request } from "../tunnel/request.ts";
import { createRelay, type Relay, type RelayLimits, type StreamEvent } from "./relay.ts";
import { Router } from "./router.ts";

interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** A relay with one outbound whose dials the test settles. */
class Bench {
  readonly clock = new ManualClock();
  readonly runtime = { clock: this.clock, random: () => 0, slabs: new SlabPool() };
  readonly lines: Line[] = [];
  readonly events: StreamEvent[] = [];
  readonly dials: (PromiseWithResolvers<Connection> & { readonly signal: AbortSignal })[] = [];
  readonly relay: Relay;

  constructor(limits: RelayLimits = {}, onStream?: (event: StreamEvent) => void) {
    const home: Outbound = createTunnelOutbound("home", {
      open: (_target, { signal }) => {
        const dial = Promise.withResolvers<Connection>();
        this.dials.push({ ...dial, signal });
        return dial.promise;
      },
    });
    const rude: Outbound = {
      name: "rude",
      dial: () => {
        throw new Error("threw instead of rejecting");
      },
    };
    const outbounds = new Map([home, rude, createBlockOutbound()].map((each) => [each.name, each]));
    const log =
      (level: string) =>
      (message: string, fields: LogFields = {}): void =>
        void this.lines.push({ level, message, fields });
    const logger: Logger = {
      debug: log("debug"),
      info: log("info"),
      warn: log("warn"),
      error: log("error"),
      child: () => logger,
    };
    this.relay = createRelay({
      router: new Router({ routes: [], outbounds, fallback: "home" }),
      logger,
      runtime: this.runtime,
      limits,
      onStream: (event) => {
        this.events.push(event);
        onStream?.(event);
      },
    });
  }

  /** Puts in a request. */
  ask(metadata: Partial<Metadata> = {}): Asked {
    const asked = new Asked(this, metadata);
    this.relay.onRequest(asked.request);
    return asked;
  }

  /** Lets the latest dial succeed; the other end is the server's. */
  async connect(): Promise<Connection> {
    const [target, server] = connectionPair(this.runtime);
    this.dials.at(-1)?.resolve(target);
    await turn();
    return server;
  }
}

/** One request, as an inbound sees it. */
class Asked {
  readonly gone = new AbortController();
  readonly browser: Connection;
  rejected: TunnelError | undefined;
  accepted = 0;
  readonly request: Request;

  constructor(bench: Bench, metadata: Partial<Metadata>) {
    const [browser, client] = connectionPair(bench.runtime);
    this.browser = browser;
    this.request = {
      target: { network: "tcp", host: "name.example", port: 443 },
      metadata: { inbound: "socks 127.0.0.1:1080", source: "127.0.0.1:5555", ...metadata },
      signal: this.gone.signal,
      accept: () => {
        this.accepted++;
        return client;
      },
      reject: (error) => {
        assert.equal(this.rejected, undefined, "rejected twice");
        this.rejected = error;
      },
    };
  }
}

/** Takes everything; resolves with the error of the close. */
function drain(
  connection: Connection,
  onEnd: () => void = () => {},
): Promise<TunnelError | undefined> {
  return new Promise((resolve) => {
    connection.attach({ onData: () => {}, onEnd, onDrain: () => {}, onClose: resolve });
    connection.resume();
  });
}

describe("relay", () => {
  test("joins the client to the target and logs one line about it", async () => {
    const bench = new Bench();
    const asked = bench.ask({ user: "alice" });
    assert.deepEqual(bench.relay.streams(), [
      {
        id: 1,
        state: "dialling",
        from: "socks 127.0.0.1:1080",
        source: "127.0.0.1:5555",
        user: "alice",
        to: "name.example:443",
        via: "home",
        bytesUp: 0,
        bytesDown: 0,
        since: 0,
      },
    ]);
    const server = await bench.connect();
    assert.equal(asked.accepted, 1);
    const served = drain(server, () => server.finish());
    const browsed = drain(asked.browser);
    server.write([new Uint8Array(2_000)]);
    asked.browser.write([new Uint8Array(300)]);
    while ((bench.relay.streams()[0]?.bytesDown ?? 0) < 2_000) await turn();
    assert.equal(bench.relay.streams()[0]?.state, "open");
    assert.equal(bench.relay.streams()[0]?.bytesUp, 300);
    bench.clock.advance(1_500);
    asked.browser.finish();
    await Promise.all([served, browsed]);
    await turn();
    assert.deepEqual(bench.relay.streams(), []);
    assert.deepEqual(bench.lines, [
      {
        level: "info",
        message: "stream closed",
        fields: {
          stream: 1,
          user: "alice",
          source: "127.0.0.1:5555",
          from: "socks 127.0.0.1:1080",
          to: "name.example:443",
          via: "home",
          bytesUp: 300,
          bytesDown: 2_000,
          durationMs: 1_500,
          reason: "finished",
          code: undefined,
          fault: undefined,
        },
      },
    ]);
    assert.deepEqual(
      bench.events.map(({ type, stream }) => [type, stream.state, stream.bytesDown]),
      [
        ["opened", "open", 0],
        ["closed", "closed", 2_000],
      ],
    );
    assert.equal(bench.clock.pending, 0);
  });

  test("rejects with the outbound's error and blames who is to blame", async () => {
    const cases = [
      [new NetworkError("ERR_DIAL_REFUSED", "no"), "target"],
      [new NetworkError("ERR_TUNNEL_DOWN", "no"), "peer"],
      [new PolicyError("ERR_POLICY_DENIED", "no"), "client"],
      [new PolicyError("ERR_LIMIT", "no"), "ours"],
    ] as const;
    for (const [error, fault] of cases) {
      const bench = new Bench();
      const asked = bench.ask();
      bench.dials[0]?.reject(error);
      await turn();
      assert.equal(asked.rejected, error);
      assert.equal(asked.accepted, 0);
      const [line] = bench.lines;
      assert.equal(line?.message, "stream refused");
      assert.deepEqual([line?.fields["reason"], line?.fields["fault"]], ["no", fault]);
      assert.deepEqual(
        bench.events.map(({ type, stream }) => [type, stream.state]),
        [["closed", "refused"]],
      );
      assert.equal(bench.clock.pending, 0);
    }
  });

  test("rejects what is routed to block, to nowhere, and to an outbound that throws", async () => {
    const bench = new Bench();
    const asked = ["block", "nowhere", "rude"].map((via) => bench.ask({ via }));
    await turn();
    assert.deepEqual(
      asked.map(({ rejected }) => rejected?.code),
      ["ERR_ROUTE_BLOCKED", "ERR_TUNNEL_DOWN", "ERR_DIAL_FAILED"],
    );
    assert.equal(bench.clock.pending, 0);
  });

  test("gives up after its deadline, and resets a target that comes too late", async () => {
    const bench = new Bench({ dialTimeoutMs: 1_000 });
    const asked = bench.ask();
    bench.clock.advance(1_000);
    await turn();
    assert.equal(asked.rejected?.code, "ERR_DIAL_TIMEOUT");
    assert.equal(asked.rejected?.message, "name.example:443 via home: not open within 1000 ms");
    assert.equal(bench.dials[0]?.signal.aborted, true);
    const late = await bench.connect();
    assert.equal((await drain(late))?.code, "ERR_DIAL_TIMEOUT");
    assert.equal(asked.accepted, 0);
    assert.equal(bench.clock.pending, 0);
  });

  test("gives up when the client does, also before it started", async () => {
    const bench = new Bench();
    const asked = bench.ask();
    asked.gone.abort(new NetworkError("ERR_ABORTED", "client closed"));
    await turn();
    assert.equal(asked.rejected?.message, "client closed");
    assert.equal(bench.lines[0]?.fields["fault"], "client");
    const early = new Asked(bench, {});
    early.gone.abort();
    bench.relay.onRequest(early.request);
    await turn();
    assert.equal(early.rejected?.code, "ERR_ABORTED");
    assert.equal(bench.dials.length, 1, "nothing was dialled for a client that had gone");
    assert.equal(bench.clock.pending, 0);
  });

  test("blames the leg that broke", async () => {
    const cases = [
      ["browser", new NetworkError("ERR_CONNECTION_RESET", "reset"), "client"],
      ["server", new NetworkError("ERR_CONNECTION_RESET", "reset"), "target"],
      ["server", new NetworkError("ERR_TUNNEL_LOST", "lost"), "peer"],
      ["browser", new NetworkError("ERR_TUNNEL_LOST", "lost"), "peer"],
      ["server", new StreamReset("ERR_DIAL_REFUSED", "late no", 5), "target"],
    ] as const;
    for (const [end, error, fault] of cases) {
      const bench = new Bench();
      const { browser } = bench.ask();
      const server = await bench.connect();
      const [breaking, other] = end === "browser" ? [browser, server] : [server, browser];
      const heard = drain(other);
      breaking.reset(error);
      assert.equal(await heard, error, "a hard end stays hard");
      await turn();
      const { fields } = bench.lines[0] ?? assert.fail("no line");
      assert.deepEqual([fields["code"], fields["fault"]], [error.code, fault]);
      assert.equal(bench.clock.pending, 0);
    }
  });

  test("logs a target that was gone before the client was accepted", async () => {
    const bench = new Bench();
    bench.ask();
    const [target, server] = connectionPair(bench.runtime);
    server.reset(new NetworkError("ERR_CONNECTION_RESET", "early"));
    await turn();
    bench.dials[0]?.resolve(target);
    while (bench.lines.length === 0) await turn();
    assert.equal(bench.lines[0]?.fields["reason"], "early");
    assert.equal(bench.lines[0]?.fields["fault"], "target");
  });

  test("resets the target when accepting fails", async () => {
    const bench = new Bench();
    const { request } = new Asked(bench, {});
    bench.relay.onRequest({
      ...request,
      accept: () => {
        throw new Error("inbound bug");
      },
    });
    const server = await bench.connect();
    assert.equal((await drain(server))?.code, "ERR_CLOSED");
    assert.deepEqual(bench.relay.streams(), []);
    assert.equal(bench.lines[0]?.fields["fault"], "ours");
  });

  test("refuses past its limit, saying so once a second at most", async () => {
    const bench = new Bench({ maxStreams: 2 });
    bench.ask();
    bench.ask();
    const refused = Array.from({ length: 50 }, () => bench.ask());
    for (const { rejected } of refused) {
      assert.equal(rejected?.code, "ERR_LIMIT");
      assert.equal(rejected.message, "2 streams are open, the limit of this relay");
    }
    assert.equal(bench.dials.length, 2);
    bench.clock.advance(1_000);
    bench.ask();
    assert.deepEqual(
      bench.lines.map(({ level, fields }) => [level, fields["requests"]]),
      [
        ["warn", 1],
        ["warn", 50],
      ],
    );
    bench.dials[0]?.reject(new NetworkError("ERR_DIAL_REFUSED", "no"));
    await turn();
    const fits = bench.ask();
    assert.equal(fits.rejected, undefined);
  });

  test("kills one stream, dialled or open, and no other", async () => {
    const bench = new Bench();
    const open = bench.ask();
    const server = await bench.connect();
    const dialling = bench.ask();
    bench.ask();
    assert.equal(bench.relay.kill(9), false);
    assert.equal(bench.relay.kill(1), true);
    assert.equal(bench.relay.kill(2), true);
    assert.equal((await drain(open.browser))?.message, "killed by the operator");
    assert.equal((await drain(server))?.code, "ERR_CLOSED");
    assert.equal(dialling.rejected?.code, "ERR_CLOSED");
    assert.deepEqual(
      bench.relay.streams().map(({ id }) => id),
      [3],
    );
    assert.deepEqual(
      bench.lines.map(({ fields }) => fields["fault"]),
      ["ours", "ours"],
    );
  });

  test("closes at once when nothing runs, and refuses afterwards", async () => {
    const bench = new Bench();
    await bench.relay.close(10_000);
    assert.equal(bench.ask().rejected?.code, "ERR_SHUTDOWN");
    assert.equal(bench.clock.pending, 0);
  });

  test("lets streams finish within the grace", async () => {
    const bench = new Bench();
    const { browser } = bench.ask();
    const server = await bench.connect();
    const closing = bench.relay.close(10_000);
    void drain(server, () => server.finish());
    void drain(browser);
    browser.finish();
    await closing;
    assert.equal(bench.lines[0]?.fields["reason"], "finished");
    assert.equal(bench.clock.pending, 0);
  });

  test("ends what still runs after the grace, or sooner when asked again", async () => {
    for (const isHurried of [false, true]) {
      const bench = new Bench();
      const { browser } = bench.ask();
      const server = await bench.connect();
      const dialling = bench.ask();
      const closing = bench.relay.close(10_000);
      if (isHurried) await bench.relay.close(0);
      else bench.clock.advance(10_000);
      await closing;
      assert.equal((await drain(browser))?.code, "ERR_SHUTDOWN");
      assert.equal((await drain(server))?.code, "ERR_SHUTDOWN");
      assert.equal(dialling.rejected?.code, "ERR_SHUTDOWN");
      assert.deepEqual(bench.relay.streams(), []);
      assert.equal(bench.clock.pending, 0);
    }
  });

  test("outlives an onStream that throws", async () => {
    const bench = new Bench({}, () => {
      throw new Error("user bug");
    });
    bench.ask();
    await bench.connect();
    assert.equal(bench.lines[0]?.message, "a handler threw");
    assert.equal(bench.relay.streams()[0]?.state, "open");
  });

  test("leaves nothing behind after a thousand streams of every kind", async () => {
    const bench = new Bench();
    for (let at = 0; at < 1_000; at++) {
      const { browser, gone } = bench.ask();
      if (at % 3 === 0) bench.dials.at(-1)?.reject(new NetworkError("ERR_DIAL_REFUSED", "no"));
      else if (at % 3 === 1) gone.abort();
      else {
        const server = await bench.connect();
        void drain(browser);
        void drain(server, () => server.finish());
        browser.finish();
      }
    }
    while (bench.relay.streams().length > 0) await turn();
    assert.equal(bench.lines.length, 1_000);
    assert.equal(bench.clock.pending, 0);
  });
});
