import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { answer, readExactly, request, startTarget, type Target } from "../interop/pong-target.ts";
import type { LinksocksMode } from "../support/linksocks-arguments.ts";
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
import { SocksRefused, type SocksTarget, socksConnect } from "../support/socks-app.ts";
import { until } from "../support/test-client.ts";

const MB = 1_000_000;

// Ported from the black-box cases of the reference's own tests, and what they leave out.
// Spec: linksocks 8.2.
for (const mode of ["forward", "reverse", "agent", "autonomy"] as const) {
  describe(`linksocks, ${mode} mode`, () => testMode(mode));
}

function testMode(mode: LinksocksMode): void {
  const scope = new AsyncDisposableStack();
  let lane: Lane;
  let target: Target;
  let six: Target;
  let datagrams: readonly [Origin, Origin, Origin];
  const at = ({ port }: Origin): SocksTarget => ({ host: "127.0.0.1", port });

  before(async () => {
    target = scope.use(await startTarget());
    six = scope.use(await startTarget("::1"));
    datagrams = [
      scope.use(await startUdpEcho()),
      scope.use(await startUdpEcho()),
      scope.use(await startUdpEcho("::1")),
    ];
    lane = scope.use(await Lane.start({ mode }));
  });
  after(() => scope.disposeAsync());

  test("reaches targets by IPv4 address, IPv6 address and name", async () => {
    await chat(lane.socksPort, at(target));
    await chat(lane.socksPort, { host: "::1", port: six.port });
    await chat(lane.socksPort, { host: "localhost", port: target.port });
  });

  test("says why a target cannot be reached", async () => {
    await assert.rejects(socksConnect(lane.socksPort, { host: "127.0.0.1", port: 1 }), {
      reply: 5,
    });
    const nowhere = { host: "no-such-host.invalid", port: 80 };
    await assert.rejects(socksConnect(lane.socksPort, nowhere), { reply: 4 });
  });

  for (const host of ["127.0.0.1", "localhost", "::1"]) {
    test(`brings ten of ten datagrams back from ${host}`, async () => {
      const { port } = datagrams[host === "::1" ? 2 : 0];
      await echoDatagrams(lane.socksPort, [{ host, port }], { rounds: 10, names: NAMES });
    });
  }

  test("serves several targets of one association", async () => {
    const [one, two, three] = datagrams;
    const targets = [at(one), at(two), { host: "::1", port: three.port }];
    await echoDatagrams(lane.socksPort, targets, { rounds: 4 });
  });

  test("carries 100 requests, ten at a time", async () => {
    for (let round = 0; round < 10; round++) {
      await Promise.all(Array.from({ length: 10 }, () => chat(lane.socksPort, at(target))));
    }
  });

  test("serves 25 associations with ten datagrams each", async () => {
    const [one] = datagrams;
    const associations = Array.from({ length: 25 }, () =>
      echoDatagrams(lane.socksPort, [at(one)], { rounds: 10 }),
    );
    await Promise.all(associations);
  });

  test("carries 20 MB each way whole", async () => {
    await download(lane.socksPort, at(target), { size: 20 * MB });
    await upload(lane.socksPort, at(target), { size: 20 * MB });
  });

  test("loses nothing to a slow reader or a slow target", async () => {
    await download(lane.socksPort, at(target), { size: 8 * MB, pauseMs: 5 });
    await upload(lane.socksPort, at(target), { size: 8 * MB, wish: "sip" });
  });

  test("passes both ends on, each in its direction", async () => {
    const app = await socksConnect(lane.socksPort, at(target));
    app.end(request("after"));
    assert.equal((await readUntilEnd(app)).text, answer("after your end"));

    const heard = await socksConnect(lane.socksPort, at(target));
    heard.write(request("echo"));
    const { text, afterMs } = await readUntilEnd(heard);
    heard.end();
    assert.equal(text, request("echo").toString());
    assert.ok(afterMs < 500, `the end came after ${afterMs} ms`);
  });

  test("delivers what a target says first", async () => {
    await using banner = await tcpOrigin((socket) => void socket.write(answer("welcome")));
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const app = await socksConnect(lane.socksPort, at(banner));
        assert.equal((await readExactly(app, 100)).toString(), answer("welcome"));
        app.destroy();
      }),
    );
  });

  test("tells an application that its target reset", async () => {
    const app = await socksConnect(lane.socksPort, at(target));
    app.write(request("reset"));
    assert.equal((await readExactly(app, 100)).toString(), answer("before the reset"));
    await assert.rejects(readUntilEnd(app), { code: "ECONNRESET" });
  });

  test("leaves no connection behind applications that left", async () => {
    const apps = await Promise.all(
      Array.from({ length: 5 }, () => socksConnect(lane.socksPort, at(target))),
    );
    for (const app of apps) {
      app.write(request("drip"));
      assert.ok((await readExactly(app, 10)).byteLength > 0);
      app.on("error", () => {}).destroy();
    }
    await until(() => target.open.size === 0, "no connection at the target");
  });

  if (mode === "agent" || mode === "autonomy") {
    test(`${mode === "agent" ? "opens" : "does not open"} a SOCKS5 port at the server`, async () => {
      if (mode === "agent") await chat(lane.reversePort, at(target));
      else await assert.rejects(socksConnect(lane.reversePort, at(target)), SocksRefused);
    });
  }

  if (mode === "reverse") {
    test("spreads requests over five providers", async () => {
      for (let count = 1; count < 5; count++) {
        await lane.startAnother("provider").waitFor(/"tunnel up"/, {
          on: "stderr",
        });
      }
      for (let round = 0; round < 10; round++) {
        await Promise.all(Array.from({ length: 10 }, () => chat(lane.socksPort, at(target))));
      }
      const [one] = datagrams;
      const associations = Array.from({ length: 25 }, () =>
        echoDatagrams(lane.socksPort, [at(one)], { rounds: 4 }),
      );
      await Promise.all(associations);
    });
  }
}

const NAMES = { localhost: "127.0.0.1" };
