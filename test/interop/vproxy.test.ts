import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import type net from "node:net";
import { pipeline } from "node:stream/promises";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { basename } from "node:path";
import { readUntilEnd } from "../support/linksocks-traffic.ts";
import type { Impairment } from "../support/lossy-udp.ts";
import { type Origin, patternHash, patternStream, tcpOrigin } from "../support/origin.ts";
import { SocksRefused } from "../support/socks-app.ts";
import {
  answer,
  readAll,
  readExactly,
  READY,
  request,
  REQUEST_BYTES,
  startTarget,
  type Target,
} from "./pong-target.ts";
import { type LaneKind, OURS } from "./vproxy-arguments.ts";
import { type LaneOptions, VproxyLane } from "./vproxy-lane.ts";

const MB = 1_000_000;
const BULK = 16 * MB;
const BULK_MS = 60_000;
const isQuick = process.env["SLUICE_INTEROP_QUICK"] !== undefined;

const BAD: Impairment = { loss: 0.1, duplication: 0.02, reordering: 0.05, lateMs: 30 };
const KINDS: readonly LaneKind[] = ["tcp", "tls", "kcp", "kcp+tls", "kcptun"];

const program = process.env["SLUICE_INTEROP_VPROXY"] ?? "";

if (program === "") {
  test("vproxy interop", {
    skip: "SLUICE_INTEROP_VPROXY names no command that runs vproxy's server, agent and kcptun",
  });
} else {
  for (const kind of KINDS) {
    for (const programs of [
      { server: program, client: OURS },
      { server: OURS, client: program },
    ]) {
      describeLane({ kind, programs }, testEverything);
    }
  }
  if (!isQuick) {
    // The harness itself, on what the original can do alone.
    for (const kind of ["kcp", "kcptun"] as const) {
      describeLane({ kind, programs: { server: program, client: program } }, testBasics);
    }
  }
  describe(`variations with ${basename(program)}`, testVariations);
}

/** What a lane's tests have at hand. */
interface Bench {
  readonly lane: VproxyLane;
  readonly six: Target;
  /** Speaks first, then echoes. */
  readonly banner: Origin;
}

function describeLane(options: LaneOptions, define: (bench: () => Bench) => void): void {
  describe(titleOf(options), () => {
    const scope = new AsyncDisposableStack();
    let bench: Bench | undefined;
    before(async () => {
      bench = {
        six: scope.use(await startTarget("::1")),
        banner: scope.use(await startBanner()),
        lane: scope.use(await VproxyLane.start(options)),
      };
    });
    after(() => scope.disposeAsync());
    define(() => {
      assert.ok(bench !== undefined, "the lane did not start");
      return bench;
    });
  });
}

function testBasics(bench: () => Bench): void {
  test("carries a request and its answer", async () => {
    await chat(await bench().lane.open());
  });

  test(`carries ${BULK / MB} MB down`, { timeout: BULK_MS }, async () => {
    await download(await bench().lane.open(), BULK);
  });

  test(`carries ${BULK / MB} MB up`, { timeout: BULK_MS }, async () => {
    await upload(await bench().lane.open(), BULK);
  });

  test("carries what cannot be compressed, both ways at once", { timeout: BULK_MS }, async () => {
    const app = await bench().lane.open();
    app.on("error", () => {});
    const sent = Array.from({ length: 64 }, () => randomBytes(65_536));
    app.write(request("chat"));
    const writing = pipeline(sent, app, { end: false });
    const hash = createHash("sha256");
    await readExactly(app, REQUEST_BYTES);
    for (let count = 0; count < sent.length * 64; count++)
      hash.update(await readExactly(app, 1024));
    await writing;
    app.destroy();
    const expected = createHash("sha256").update(Buffer.concat(sent)).digest("hex");
    assert.equal(hash.digest("hex"), expected);
  });

  test("carries 50 connections at once", { timeout: BULK_MS }, async () => {
    const { lane } = bench();
    await Promise.all(Array.from({ length: 50 }, async () => await chat(await lane.open())));
  });

  test("carries 8 MB up and down at once", { timeout: BULK_MS }, async () => {
    const { lane } = bench();
    const ways = [upload, download, upload, download];
    await Promise.all(ways.map(async (way) => await way(await lane.open(), 2 * MB)));
  });
}

function testEverything(bench: () => Bench): void {
  testBasics(bench);

  test("reaches a target by name and by IPv6 address", async (t) => {
    const { lane, six } = bench();
    if (lane.kind === "kcptun") {
      t.skip("its server names the target");
      return;
    }
    await chat(await lane.open({ host: "localhost", port: lane.target.port }));
    await chat(await lane.open({ host: "::1", port: six.port }));
  });

  test("delivers an answer that comes after the program's end", async () => {
    const { lane } = bench();
    // Once the program has ended, its server loses what the target says together with its own end.
    const isLossy = !lane.isOurs("server") && lane.kind.startsWith("kcp");
    for (let round = 0; round < 5; round++) {
      for (const wish of isLossy ? (["linger"] as const) : (["late", "after", "linger"] as const)) {
        const app = await lane.open();
        app.end(request(wish));
        const { text } = await readUntilEnd(app);
        const expected = wish === "late" ? "late, but not too late" : "after your end";
        assert.equal(text, answer(expected));
      }
    }
  });

  test("passes the target's end on at once", async () => {
    const { lane } = bench();
    const app = await lane.open();
    app.write(request("echo"));
    const { text, afterMs } = await readUntilEnd(app);
    app.end();
    assert.equal(text, request("echo").toString());
    assert.ok(afterMs < 1_500, `the end came after ${afterMs} ms`);
  });

  test("leaves no connection behind programs that left", async () => {
    const { lane } = bench();
    const apps = await Promise.all(Array.from({ length: 3 }, () => lane.open()));
    for (const app of apps) {
      app.on("error", () => {});
      app.write(request("drip"));
      assert.ok((await readExactly(app, 10)).byteLength > 0);
      app.destroy();
    }
    await until(() => lane.target.open.size === 0, "no connection at the target", 20_000);
  });

  test("says when a target cannot be reached", async (t) => {
    const { lane } = bench();
    if (lane.kind === "kcptun") {
      t.skip("its server names the target");
      return;
    }
    assert.equal(await refusal(lane, { host: "127.0.0.1", port: 1 }), refusalOf(lane, "refused"));
    const nowhere = { host: "no-such-host.invalid", port: 80 };
    assert.equal(await refusal(lane, nowhere), refusalOf(lane, "unknown"));
  });

  test("loses nothing of a target that speaks first", async (t) => {
    const { lane, banner } = bench();
    if (lane.kind === "kcptun") {
      t.skip("its server names the target");
      return;
    }
    const greet = async (): Promise<void> => {
      const app = await lane.open({ host: "127.0.0.1", port: banner.port });
      app.on("error", () => {});
      // Neither the original's server nor its agent goes on before it. Spec: vproxy 1.8.
      app.write(request("chat"));
      const text = (await readExactly(app, 2 * REQUEST_BYTES)).toString();
      app.destroy();
      assert.equal(text, `${answer("welcome")}${request("chat").toString()}`);
    };
    for (let round = 0; round < 5; round++) await Promise.all(Array.from({ length: 10 }, greet));
  });

  test("loses nothing to a slow reader", { timeout: BULK_MS }, async () => {
    const { lane } = bench();
    await download(await lane.open(), 8 * MB, 5);
    await upload(await lane.open(), 8 * MB, "sip");
  });

  test("keeps its connections through a minute of silence", { timeout: 120_000 }, async (t) => {
    if (isQuick) {
      t.skip("quick");
      return;
    }
    const { lane } = bench();
    const app = await lane.open();
    app.on("error", () => {});
    app.write(request("chat"));
    await readExactly(app, REQUEST_BYTES);
    await sleep(45_000);
    app.write(answer("still there"));
    assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), answer("still there"));
    app.destroy();
    await Promise.all(Array.from({ length: 10 }, async () => await chat(await lane.open())));
  });

  for (const role of ["server", "client"] as const) {
    test(`comes back after the ${role} was started again`, { timeout: 120_000 }, async (t) => {
      const { lane } = bench();
      await lane.stopRole(role);
      const from = performance.now();
      lane.startRole(role);
      await lane.ready(100_000);
      t.diagnostic(`back after ${Math.round(performance.now() - from)} ms`);
      await chat(await lane.open());
    });
  }
}

function testVariations(): void {
  const sides = [
    { server: program, client: OURS },
    { server: OURS, client: program },
  ];
  for (const programs of sides) {
    for (const kind of KINDS.filter((it) => it !== "kcptun")) {
      test(`lets in another user: ${titleOf({ kind, programs })}`, async () => {
        await using lane = await VproxyLane.start({ kind, programs, user: "bob" });
        await chat(await lane.open());
      });

      test(`keeps out a wrong password: ${titleOf({ kind, programs })}`, async () => {
        const options = { kind, programs, password: "wr0ng", isHopeless: true };
        await using lane = await VproxyLane.start(options);
        await expectKeptOut(lane);
      });
    }
    for (const kind of ["tcp", "kcp"] as const) {
      test(`says each step alone: ${titleOf({ kind, programs })}`, async () => {
        await using lane = await VproxyLane.start({ kind, programs, isStrict: true });
        for (let round = 0; round < 5; round++) await chat(await lane.open());
        await download(await lane.open(), 4 * MB);
        await upload(await lane.open(), 4 * MB);
      });
    }
    for (const kind of ["kcp", "kcptun"] as const) {
      test(`10 % lost: ${titleOf({ kind, programs })}`, { timeout: BULK_MS }, async () => {
        await using lane = await VproxyLane.start({ kind, programs, impairment: BAD });
        await download(await lane.open(), BULK);
        await upload(await lane.open(), BULK);
        await Promise.all(Array.from({ length: 50 }, async () => await chat(await lane.open())));
      });

      test(`compresses: ${titleOf({ kind, programs })}`, { timeout: BULK_MS }, async () => {
        await using lane = await VproxyLane.start({ kind, programs, query: ["gzip=1024"] });
        await download(await lane.open(), 4 * MB);
        await upload(await lane.open(), 4 * MB);
      });
    }
  }

  test("a banner comes first through our client and server", async () => {
    for (const kind of ["tcp", "kcp"] as const) {
      const programs = { server: OURS, client: OURS };
      await using banner = await startBanner();
      await using lane = await VproxyLane.start({ kind, programs });
      const app = await lane.open({ host: "127.0.0.1", port: banner.port });
      app.on("error", () => {});
      assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), answer("welcome"));
      app.destroy();
    }
  });
}

/** One request and its answer. */
async function chat(app: net.Socket): Promise<void> {
  app.on("error", () => {});
  try {
    app.write(request("chat"));
    assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), request("chat").toString());
  } finally {
    app.destroy();
  }
}

async function download(app: net.Socket, size: number, pauseMs = 0): Promise<void> {
  const hash = createHash("sha256");
  let bytes = 0;
  app.write(request(`down ${size}`));
  for await (const chunk of app) {
    const part = chunk as Buffer;
    hash.update(part);
    bytes += part.byteLength;
    if (pauseMs > 0) await sleep(pauseMs);
  }
  app.destroy();
  assert.equal(bytes, size);
  assert.equal(hash.digest("hex"), await patternHash(size));
}

async function upload(app: net.Socket, size: number, wish: "up" | "sip" = "up"): Promise<void> {
  app.on("error", () => {});
  app.write(request(`${wish} ${size}`));
  assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), READY);
  const [said] = await Promise.all([
    readExactly(app, REQUEST_BYTES),
    pipeline(patternStream(size), app, { end: false }),
  ]);
  app.destroy();
  assert.equal(said.toString(), answer(`${size} ${await patternHash(size)}`));
}

/** How an application hears of a target: a SOCKS5 code, or 0 and then the end. */
async function refusal(
  lane: VproxyLane,
  to: { host: string; port: number },
): Promise<number | undefined> {
  try {
    const app = await lane.open(to);
    app.on("error", () => {});
    app.write(request("chat"));
    const rest = await Promise.race([readAll(app).catch(() => Buffer.alloc(0)), sleep(10_000)]);
    app.destroy();
    assert.equal(rest?.byteLength, 0, "the connection neither carried nothing nor ended");
    return 0;
  } catch (thrown) {
    if (!(thrown instanceof SocksRefused)) throw thrown;
    return thrown.reply;
  }
}

/** What {@link refusal} is, by who speaks to the application and who dials. */
function refusalOf(lane: VproxyLane, why: "refused" | "unknown"): number {
  // The original's server says yes before it dials, and ends then. Spec: vproxy 1.8.
  if (!lane.isOurs("server") && why === "refused") return 0;
  // Its agent and its server have one code for what cannot be had. Spec: vproxy 1.7.
  if (!lane.isOurs("client")) return 2;
  return why === "refused" ? 5 : 4;
}

/** Asserts that nothing goes through, and that our end says why. */
async function expectKeptOut(lane: VproxyLane): Promise<void> {
  await assert.rejects(lane.ready(8_000));
  const ours = lane.isOurs("client") ? "client" : "server";
  const { stdout, stderr } = lane.child(ours);
  assert.match(`${stdout}${stderr}`, /password|401|login/i);
}

function startBanner(): Promise<Origin> {
  return tcpOrigin((socket) => {
    socket.write(answer("welcome"));
    socket.pipe(socket);
  });
}

function titleOf({ kind, programs }: LaneOptions): string {
  const agent = kind === "kcptun" ? "client" : "agent";
  const client = programs.client === OURS ? "our client" : `their ${agent}`;
  return `${kind}: ${client}, ${programs.server === OURS ? "our" : "their"} server`;
}

async function until(condition: () => boolean, what: string, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `${what}: not within ${withinMs} ms`);
    await sleep(10);
  }
}
