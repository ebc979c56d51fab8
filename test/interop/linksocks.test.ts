import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Lane } from "../support/linksocks-lane.ts";
import {
  chat,
  download,
  echoDatagrams,
  readUntilEnd,
  startUdpEcho,
  upload,
} from "../support/linksocks-traffic.ts";
import { type Origin, tcpOrigin } from "../support/origin.ts";
import { SocksRefused, socksConnect } from "../support/socks-app.ts";
import {
  foreignLane,
  laneOf,
  type MixedLane,
  mixedLanes,
  referencePrograms,
} from "./linksocks-lanes.ts";
import { answer, readExactly, request, startTarget, type Target } from "./pong-target.ts";

const MB = 1_000_000;
const isQuick = process.env["SLUICE_INTEROP_QUICK"] !== undefined;
const BULK = isQuick ? 16 * MB : 100 * MB;
const BULK_MS = 60_000;

const programs = referencePrograms();

if (programs.length === 0) {
  test("LinkSocks interop", {
    skip: "SLUICE_INTEROP_LINKSOCKS names no LinkSocks program (several: separated by ':')",
  });
}

for (const program of programs) {
  for (const lane of mixedLanes(program)) describeLane(lane, testEverything);
  // The harness itself, on what the reference can do alone.
  if (!isQuick) {
    for (const mode of ["forward", "agent"] as const) {
      describeLane(foreignLane(program, mode), testBasics);
    }
  }
  describe(`variations with ${program}`, () => {
    testVariations(program);
  });
}

/** What a lane's tests have at hand. */
interface Bench {
  readonly lane: Lane;
  readonly target: Target;
  readonly six: Target;
  /** Speaks first, then echoes. */
  readonly banner: Origin;
  /** Echoes datagrams: two on IPv4, one on IPv6. */
  readonly datagrams: readonly [Origin, Origin, Origin];
}

function describeLane({ title, options }: MixedLane, define: (bench: () => Bench) => void): void {
  describe(title, () => {
    const scope = new AsyncDisposableStack();
    let bench: Bench | undefined;
    before(async () => {
      bench = {
        target: scope.use(await startTarget()),
        six: scope.use(await startTarget("::1")),
        banner: scope.use(
          await tcpOrigin((socket) => {
            socket.write(answer("welcome"));
            socket.pipe(socket);
          }),
        ),
        datagrams: [
          scope.use(await startUdpEcho()),
          scope.use(await startUdpEcho()),
          scope.use(await startUdpEcho("::1")),
        ],
        lane: scope.use(await Lane.start(options)),
      };
    });
    after(() => scope.disposeAsync());
    define(() => {
      assert.ok(bench !== undefined);
      return bench;
    });
  });
}

function testBasics(bench: () => Bench): void {
  test("carries a request and its answer", async () => {
    const { lane, target } = bench();
    await chat(lane.socksPort, at(target));
  });

  test("reaches a target by name and by IPv6 address", async () => {
    const { lane, target, six } = bench();
    await chat(lane.socksPort, { host: "localhost", port: target.port });
    await chat(lane.socksPort, { host: "::1", port: six.port });
  });

  test(`carries ${BULK / MB} MB down`, { timeout: BULK_MS }, async () => {
    const { lane, target } = bench();
    await download(lane.socksPort, at(target), { size: BULK });
  });

  test(`carries ${BULK / MB} MB up`, { timeout: BULK_MS }, async () => {
    const { lane, target } = bench();
    await upload(lane.socksPort, at(target), { size: BULK });
  });

  test("refuses what cannot be reached", async () => {
    const { lane } = bench();
    const isOurs = lane.isOurs(lane.socksSide);
    const refused = { host: "127.0.0.1", port: 1 };
    const nowhere = { host: "no-such-host.invalid", port: 80 };
    assert.equal(await reply(lane, refused), isOurs ? 5 : 4);
    assert.equal(await reply(lane, nowhere), 4);
  });

  test("carries datagrams to several targets of one association", async () => {
    const { lane, datagrams } = bench();
    const [one, two, six] = datagrams;
    const targets = [at(one), at(two), { host: "::1", port: six.port }];
    const named = { host: "localhost", port: one.port };
    await echoDatagrams(lane.socksPort, [...targets, named], {
      rounds: 5,
      names: { localhost: "127.0.0.1" },
    });
  });

  test("carries 100 connections at once", { timeout: BULK_MS }, async () => {
    const { lane, target } = bench();
    await Promise.all(Array.from({ length: 100 }, () => chat(lane.socksPort, at(target))));
  });
}

function testEverything(bench: () => Bench): void {
  // First: later it would wait behind all that the reference takes five seconds each to clean up.
  test("leaves no connection behind programs that left", async (t) => {
    const { lane, target } = bench();
    if (lane.roles.length === 3 && !lane.isOurs("server")) {
      t.skip("the reference's server does not pass a connector's end on. Spec: linksocks 7.1.9");
      return;
    }
    const apps = await Promise.all(
      Array.from({ length: 3 }, () => socksConnect(lane.socksPort, at(target))),
    );
    for (const app of apps) {
      app.on("error", () => {});
      app.write(request("drip"));
      assert.ok((await readExactly(app, 10)).byteLength > 0);
      app.destroy();
    }
    await until(() => target.open.size === 0, "no connection at the target", 40_000);
  });

  testBasics(bench);

  test("loses nothing of a target that speaks first", async (t) => {
    const { lane, banner } = bench();
    // Its server passes data on before the answer that came first. Spec: linksocks 3.3, 7.1.7.
    if (lane.exitSide === "provider" && !lane.isOurs("server") && !lane.isOurs("provider")) {
      t.skip("the reference loses it between its own provider and server");
      return;
    }
    const greet = async (): Promise<void> => {
      const app = await socksConnect(lane.socksPort, at(banner));
      app.on("error", () => {});
      app.write(request("chat"));
      const text = (await readExactly(app, 2 * answer("").length)).toString();
      app.destroy();
      assert.equal(text, `${answer("welcome")}${request("chat").toString()}`);
    };
    for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 10 }, greet));
  });

  test("delivers an answer that comes after the program's end", async (t) => {
    const { lane, target } = bench();
    if (!lane.isOurs(lane.socksSide)) {
      t.skip("the reference closes a half-closed connection. Spec: linksocks 3.8");
      return;
    }
    const app = await socksConnect(lane.socksPort, at(target));
    app.end(request("late"));
    const { text } = await readUntilEnd(app);
    assert.equal(text, answer("late, but not too late"));
  });

  test("passes the target's end on at once", async (t) => {
    const { lane, target } = bench();
    if (!lane.isOurs(lane.socksSide)) {
      t.skip("the reference waits for five seconds. Spec: linksocks 7.1.1");
      return;
    }
    const app = await socksConnect(lane.socksPort, at(target));
    app.write(request("echo"));
    const { text, afterMs } = await readUntilEnd(app);
    app.end();
    assert.equal(text, request("echo").toString());
    assert.ok(afterMs < 1_000, `the end came after ${afterMs} ms`);
  });

  test("loses nothing to a slow reader", { timeout: BULK_MS }, async (t) => {
    const { lane, target } = bench();
    const size = 8 * MB;
    const [reads, sips] = [lane.isOurs(lane.socksSide), lane.isOurs(lane.exitSide)];
    if (reads) await download(lane.socksPort, at(target), { size, pauseMs: 5 });
    if (sips) await upload(lane.socksPort, at(target), { size, wish: "sip" });
    if (!reads && !sips) t.skip("the reference drops what its reader does not take in time");
  });

  test("comes back after the server was started again", { timeout: BULK_MS }, async (t) => {
    const { lane, target } = bench();
    if (lane.mode === "autonomy") {
      t.skip("a connector that is faster than its provider is refused for good");
      return;
    }
    await lane.stopRole("server");
    await lane.startRole("server");
    await lane.ready();
    await chat(lane.socksPort, at(target));
  });
}

function testVariations(program: string): void {
  const ways = [
    { title: "fast open", settings: { fastOpen: true } },
    { title: "three WebSockets per client", settings: { threads: 3 } },
    { title: "the Auth message", settings: { path: "/socket/" } },
  ] as const;
  const positions = [
    laneOf(program, "forward", ["client"]),
    laneOf(program, "forward", ["server"]),
    laneOf(program, "reverse", ["provider"]),
    laneOf(program, "reverse", ["server"]),
    laneOf(program, "agent", ["client"]),
    laneOf(program, "agent", ["server"]),
    laneOf(program, "agent", ["client", "provider"]),
  ];
  for (const { title, settings } of ways) {
    for (const { title: position, options } of positions) {
      test(`${title}, ${position}`, async () => {
        await using target = await startTarget();
        await using lane = await Lane.start({ ...options, ...settings });
        for (let round = 0; round < 5; round++) {
          await Promise.all(Array.from({ length: 10 }, () => chat(lane.socksPort, at(target))));
        }
        await download(lane.socksPort, at(target), { size: 4 * MB });
        await upload(lane.socksPort, at(target), { size: 4 * MB });
      });
    }
  }
}

function at({ port }: { readonly port: number }): { host: string; port: number } {
  return { host: "127.0.0.1", port };
}

async function reply(
  lane: Lane,
  target: { host: string; port: number },
): Promise<number | undefined> {
  try {
    (await socksConnect(lane.socksPort, target)).destroy();
    return 0;
  } catch (thrown) {
    assert.ok(thrown instanceof SocksRefused);
    return thrown.reply;
  }
}

async function until(condition: () => boolean, what: string, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `${what}: not within ${withinMs} ms`);
    await sleep(10);
  }
}
