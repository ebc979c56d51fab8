import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import dgram from "node:dgram";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { run } from "../support/child-process.ts";
import { startUdpEcho } from "../support/linksocks-traffic.ts";
import type { Origin } from "../support/origin.ts";
import { sluice } from "../support/sluice-process.ts";
import { type GodoxyLaneOptions, GodoxyLane } from "./godoxy-lane.ts";
import {
  chat,
  comeBack,
  download,
  echo,
  echoAtLast,
  listenFor,
  startBanner,
  until,
  upload,
} from "./godoxy-traffic.ts";
import {
  answer,
  readExactly,
  request,
  REQUEST_BYTES,
  startTarget,
  type Target,
} from "./pong-target.ts";

const MB = 1_000_000;
const BULK = 16 * MB;
const BULK_MS = 60_000;
/** Longer than an end takes that is relayed. */
const SILENCE_MS = 700;
const AGENTS = ["theirs", "ours"] as const;

const harness = process.env["SLUICE_INTEROP_GODOXY"] ?? "";

if (harness === "") {
  test("godoxy interop", {
    skip: "SLUICE_INTEROP_GODOXY names no harness around GoDoxy's stream package",
  });
} else {
  for (const agent of AGENTS) {
    describeLane({ harness, agent }, (bench) => {
      testStreams(bench);
      testEnds(bench, agent);
      testDatagrams(bench);
      testProbes(bench, agent);
      testRestart(bench);
    });
    describeLane({ harness, agent, host: "::1" }, testBasics);
    for (const maker of ["theirs", "ours"] as const) {
      for (const form of ["pem", "pair"] as const) {
        describeLane({ harness, agent, maker, form }, testBasics);
      }
    }
  }
  describeLane({ harness, agent: "theirs", query: ["pool=4"] }, (bench) => {
    testStreams(bench);
    testRestart(bench);
  });
}

/** What a lane's tests have at hand. */
interface Bench {
  readonly lane: GodoxyLane;
  readonly target: Target;
  readonly six: Target;
  readonly banner: Origin;
  readonly udp: Origin;
  readonly udpSix: Origin;
}

function describeLane(options: GodoxyLaneOptions, define: (bench: () => Bench) => void): void {
  const { agent, maker, form, host, query = [] } = options;
  const roles = agent === "theirs" ? "our client, their agent" : "their client, our agent";
  const made = maker === undefined ? [] : [`certificates ${maker}, ${form ?? "pem"}`];
  const title = [roles, ...made, ...(host === undefined ? [] : [host]), ...query].join("; ");
  describe(title, () => {
    const scope = new AsyncDisposableStack();
    let bench: Bench | undefined;
    before(async () => {
      bench = {
        target: scope.use(await startTarget()),
        six: scope.use(await startTarget("::1")),
        banner: scope.use(await startBanner()),
        udp: scope.use(await startUdpEcho()),
        udpSix: scope.use(await startUdpEcho("::1")),
        lane: scope.use(await GodoxyLane.start(options)),
      };
    });
    after(async () => await scope.disposeAsync());
    define(() => {
      assert.ok(bench !== undefined, "the lane did not start");
      return bench;
    });
  });
}

const on = ({ port }: Origin, host = "127.0.0.1"): { host: string; port: number } => {
  return { host, port };
};

function testBasics(bench: () => Bench): void {
  test("carries a request and its answer", async () => {
    const { lane, target } = bench();
    await chat(await lane.open(on(target)));
  });

  test("carries datagrams", async () => {
    const { lane, udp } = bench();
    await using datagrams = await lane.associate(on(udp));
    for (const size of [1, 1_200]) await echo(datagrams, size);
  });
}

function testStreams(bench: () => Bench): void {
  testBasics(bench);

  test(`carries ${BULK / MB} MB down`, { timeout: BULK_MS }, async () => {
    const { lane, target } = bench();
    await download(await lane.open(on(target)), BULK);
  });

  test(`carries ${BULK / MB} MB up`, { timeout: BULK_MS }, async () => {
    const { lane, target } = bench();
    await upload(await lane.open(on(target)), BULK);
  });

  test("carries 8 MB up and down at once", { timeout: BULK_MS }, async () => {
    const { lane, target } = bench();
    const ways = [upload, download, upload, download];
    await Promise.all(ways.map(async (way) => await way(await lane.open(on(target)), 2 * MB)));
  });

  test("loses nothing to a slow reader", { timeout: BULK_MS }, async () => {
    const { lane, target } = bench();
    await download(await lane.open(on(target)), 8 * MB, 2);
  });

  test("carries 50 connections at once", { timeout: BULK_MS }, async () => {
    const { lane, target } = bench();
    const many = Array.from({ length: 50 }, async () => await chat(await lane.open(on(target))));
    await Promise.all(many);
  });

  test("reaches a target by name and by IPv6 address", async () => {
    const { lane, target, six } = bench();
    await chat(await lane.open(on(target, "localhost")));
    await chat(await lane.open(on(six, "::1")));
  });

  test("delivers what a target says first", async () => {
    const { lane, banner } = bench();
    const greet = async (): Promise<void> => {
      const app = await lane.open(on(banner));
      app.on("error", () => {});
      assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), answer("welcome"));
      await chat(app);
    };
    for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: 10 }, greet));
  });

  test("leaves no connection behind programs that left while the target speaks", async () => {
    const { lane, target } = bench();
    const others = target.open.size;
    const apps = await Promise.all(Array.from({ length: 3 }, () => lane.open(on(target))));
    for (const app of apps) {
      app.on("error", () => {});
      app.write(request("drip"));
      assert.ok((await readExactly(app, 10)).byteLength > 0);
    }
    for (const app of apps) app.destroy();
    await until(() => target.open.size <= others, "the target's connections end", 20_000);
  });
}

function testEnds(bench: () => Bench, agent: "ours" | "theirs"): void {
  if (agent === "ours") {
    test("our agent passes the target's end and its reset on", async () => {
      const { lane, target } = bench();
      await using ended = lane.stdio(on(target));
      ended.process.stdin?.write(request("echo"));
      const { code, stdout } = await ended.exit;
      assert.deepEqual([code, stdout], [0, request("echo").toString()]);
      await using reset = lane.stdio(on(target));
      reset.process.stdin?.write(request("reset"));
      const told = await reset.exit;
      assert.equal(told.stdout, answer("before the reset"));
      assert.match(told.stderr, /connection reset/);
    });

    test("our agent ends what leads nowhere, and says why", async () => {
      const { lane } = bench();
      for (const host of ["127.0.0.1", "no-such-host.invalid"]) {
        await using child = lane.stdio({ host, port: 1 });
        const { code, stdout } = await child.exit;
        assert.deepEqual([code, stdout], [0, ""]);
        await lane.agent.waitFor(new RegExp(`${host}[^\n]*(refused|resolve|find)`), {
          on: "stderr",
        });
      }
    });
    return;
  }

  // Spec: godoxy 4.1, end of stream is not propagated.
  test("their agent passes neither end on before the other", async () => {
    const { lane, target } = bench();
    const app = await lane.open(on(target));
    app.write(request("echo"));
    assert.deepEqual(await listenFor(app, SILENCE_MS), {
      text: request("echo").toString(),
      hasEnded: false,
    });
    app.end();
    assert.deepEqual(await listenFor(app, 5_000), { text: "", hasEnded: true });
    const asking = await lane.open(on(target));
    asking.end(request("after"));
    assert.deepEqual(await listenFor(asking, SILENCE_MS), { text: "", hasEnded: false });
    asking.destroy();
  });

  test("an answer comes after our client's end", async () => {
    const { lane, target } = bench();
    const app = await lane.open(on(target));
    app.end(request("late"));
    assert.deepEqual(await listenFor(app, 5_000), {
      text: answer("late, but not too late"),
      hasEnded: true,
    });
  });

  test("their agent ends what leads nowhere without a word", async () => {
    const { lane } = bench();
    for (const host of ["127.0.0.1", "no-such-host.invalid"]) {
      const app = await lane.open({ host, port: 1 });
      app.on("error", () => {});
      assert.deepEqual(await listenFor(app, 15_000), { text: "", hasEnded: true });
      app.destroy();
    }
  });
}

function testDatagrams(bench: () => Bench): void {
  test("carries datagrams of every size the original takes", async () => {
    const { lane, udp } = bench();
    await using datagrams = await lane.associate(on(udp));
    const sizes = [1, 275, 276, 1_199, 1_200, 1_435, 1_436, 4_096, 8_154, 8_155];
    for (const size of sizes) await echo(datagrams, size);
  });

  // Spec: godoxy 3.4.
  test("sessions survive datagrams that are too large for the original", async () => {
    const { lane, udp } = bench();
    await using datagrams = await lane.associate(on(udp));
    await echo(datagrams, 1);
    for (const size of [8_156, 16_384]) {
      datagrams.send(randomBytes(size));
      await echo(datagrams, 8_155);
    }
  });

  test("carries sessions side by side, in order", async () => {
    const { lane, udp } = bench();
    const one = async (): Promise<void> => {
      await using datagrams = await lane.associate(on(udp));
      await echo(datagrams, 10);
      for (let n = 0; n < 50; n++) {
        datagrams.send(Buffer.from(`${n}`));
        // Loopback drops what comes in one burst.
        if (n % 5 === 4) await until(() => datagrams.received.length === n + 2, `${n}`, 10_000);
      }
      const order = datagrams.received.slice(1).map(String);
      assert.deepEqual(
        order,
        Array.from({ length: 50 }, (_, n) => `${n}`),
      );
    };
    await Promise.all(Array.from({ length: 25 }, one));
  });

  test("reaches targets by name and by IPv6 address", async () => {
    const { lane, udp, udpSix } = bench();
    await using named = await lane.associate(on(udp, "localhost"));
    await echo(named, 100);
    await using six = await lane.associate(on(udpSix, "::1"));
    await echo(six, 100);
  });

  test("opens another session after a target that nobody listens on", async () => {
    const { lane } = bench();
    const socket = dgram.createSocket("udp4").bind(0, "127.0.0.1");
    await once(socket, "listening");
    const { port } = socket.address();
    socket.close();
    await using datagrams = await lane.associate({ host: "127.0.0.1", port });
    for (let n = 0; n < 5; n++) datagrams.send(Buffer.from("anybody?"));
    await using echoing = dgram.createSocket("udp4");
    await new Promise((resolve) => setTimeout(resolve, 500));
    echoing.on("message", (data, from) => echoing.send(data, from.port, from.address));
    echoing.bind(port, "127.0.0.1");
    await once(echoing, "listening");
    await echoAtLast(datagrams, 15_000);
  });
}

function testProbes(bench: () => Bench, agent: "ours" | "theirs"): void {
  if (agent === "theirs") {
    test("our probe finds out what their agent can do", async () => {
      const { lane } = bench();
      const { code, stdout, stderr } = await lane.ourPing("tls");
      assert.equal(code, 0, stderr);
      assert.match(stdout, /TCP yes, UDP yes/);
      await lane.agent.waitFor(/Health check received/, { on: "stderr" });
    });

    test("strangers hear that they are: our client", async () => {
      const { lane } = bench();
      const { folder, form } = lane.stranger;
      for (const kind of ["tls", "dtls"] as const) {
        // Both the certificate and the CA are another's: we refuse theirs.
        const distrusting = await lane.ourPing(kind, { folder, form });
        assert.equal(distrusting.code, 3);
        assert.match(distrusting.stderr, /certificate/);
        // The CA is theirs: they refuse ours.
        const own = `cert=file:${join(folder, "client.pem")}&key=file:${join(folder, "client.key")}`;
        const query = [`ca=file:${join(lane.identity.folder, "ca.pem")}`, own];
        const refused = await sluice(["ping", lane.url(kind, query)]);
        assert.equal(refused.code, 3);
        assert.match(refused.stderr, /certificate|alert|handshake/i);
      }
    });
    return;
  }

  test("their probes and their detection find out what our agent can do", async () => {
    const { lane } = bench();
    assert.equal((await lane.theirProbe()).stdout, "tcp ok\nudp ok\n");
    const zip = join(lane.identity.folder, "agent.zip");
    const args = ["detect", "--agent", `127.0.0.1:${lane.port}`, "--zip", zip];
    const { stdout, stderr } = await run(harness, args);
    assert.match(stdout, /^name=.+ version=v\d+\.\d+\.\d+\S* runtime=docker tcp=true udp=true\n/);
    assert.doesNotMatch(stderr, /limited|mismatch/);
  });

  test("strangers hear that they are: their client", async () => {
    const { lane, target } = bench();
    const distrusting = await lane.theirProbe(lane.stranger);
    assert.equal(distrusting.code, 1);
    assert.match(distrusting.stdout, /tcp failed: .*certificate.*\nudp failed: .*certificate/);
    const own = lane.stranger.folder;
    const files = ["--cert", join(own, "client.pem"), "--key", join(own, "client.key")];
    const trusting = ["--ca", join(lane.identity.folder, "ca.pem"), ...files];
    const to = ["--agent", `127.0.0.1:${lane.port}`];
    // Over TLS 1.3 their probe does not notice. Spec: godoxy 2.6.
    const refused = await run(harness, ["probe", ...to, ...trusting]);
    assert.match(refused.stdout, /udp failed: .*alert: Alert Fatal: UnknownCA/);
    const args = ["tcp", ...to, "--target", `127.0.0.1:${target.port}`, ...trusting];
    const told = await run(harness, args, { input: request("echo") });
    assert.equal(told.stdout, "");
    for (const phase of ["tls", "dtls"]) {
      await lane.agent.waitFor(new RegExp(`"${phase} handshake"`), { on: "stderr" });
    }
  });
}

function testRestart(bench: () => Bench): void {
  test("comes back after the agent was killed and started again", async (t) => {
    const { lane, target, udp } = bench();
    await lane.killAgent();
    await lane.startAgent();
    const from = performance.now();
    await comeBack(lane, target.port);
    t.diagnostic(`back after ${Math.round(performance.now() - from)} ms`);
    for (let n = 0; n < 5; n++) await chat(await lane.open(on(target)));
    await using datagrams = await lane.associate(on(udp));
    await echo(datagrams, 100);
  });
}
