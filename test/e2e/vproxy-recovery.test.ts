import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { startTarget } from "../interop/pong-target.ts";
import { chat } from "../support/linksocks-traffic.ts";
import { lowPort } from "../support/low-port.ts";
import { startSluice } from "../support/sluice-process.ts";
import { socksConnect } from "../support/socks-app.ts";
import { VPROXY_TRANSPORTS, VproxyTunnel } from "../support/vproxy-tunnel.ts";
import { skipWithout } from "../support/which.ts";

const skip = skipWithout("openssl");

for (const transport of VPROXY_TRANSPORTS) {
  describe(`vproxy over ${transport}, when something is wrong`, { skip, timeout: 120_000 }, () => {
    test("stops for good when the password is wrong, and says so", async () => {
      await using tunnel = await VproxyTunnel.start({ transport, password: "hunter2" });
      const { code, stderr } = await tunnel.connect.exit;
      assert.equal(code, 4, stderr);
      assert.match(stderr, /user or password/);
      assert.doesNotMatch(stderr, /hunter2/);
      await tunnel.serve.waitFor(/password/, { on: "stderr" });
      assert.doesNotMatch(tunnel.serve.stderr, /hunter2/);
    });

    test("says that the clocks differ when that is the reason, and goes on trying", async () => {
      await using tunnel = await VproxyTunnel.start({ transport, connectEnv: TEN_MINUTES_LATE });
      await tunnel.connect.waitFor(/clock/, { on: "stderr" });
      assert.match(tunnel.connect.stderr, /our clock is (9|10) min .*behind the server's/);
      assert.equal(tunnel.connect.process.exitCode, null);
      await tunnel.serve.waitFor(/clock/, { on: "stderr" });
    });

    test("comes back after the server was started again", async () => {
      await using target = await startTarget();
      const at = { host: "127.0.0.1", port: target.port };
      await using tunnel = await VproxyTunnel.start({ transport });
      await chat(tunnel.proxyPort, at);
      await tunnel.stopServe();
      await tunnel.startServe();
      await within(10_000, () => chat(tunnel.proxyPort, at));
    });

    test("dials for each stream when nothing is kept ready", async () => {
      await using target = await startTarget();
      const at = { host: "127.0.0.1", port: target.port };
      await using tunnel = await VproxyTunnel.start({ transport, connectQuery: "pool=0&strict" });
      await Promise.all(Array.from({ length: 10 }, () => chat(tunnel.proxyPort, at)));
      await chat(tunnel.proxyPort, at);
    });

    test("waits for a server that is not there yet", async () => {
      await using target = await startTarget();
      await using tunnel = await VproxyTunnel.start({ transport, isAlone: true });
      await tunnel.startServe();
      const at = { host: "127.0.0.1", port: target.port };
      await within(10_000, () => chat(tunnel.proxyPort, at));
    });
  });
}

for (const transport of ["kcp", "kcp+tls"] as const) {
  // Over TCP a server that was killed ends its connections like one that is done.
  test(`vproxy over ${transport} ends streams hard when the server dies`, {
    skip,
    timeout: 60_000,
  }, async () => {
    await using target = await startTarget();
    await using tunnel = await VproxyTunnel.start({ transport });
    const app = await socksConnect(tunnel.proxyPort, { host: "127.0.0.1", port: target.port });
    const ended = once(app, "error");
    await tunnel.stopServe();
    app.write("x".repeat(100));
    const [error] = await ended;
    assert.ok(error instanceof Error && "code" in error);
    assert.equal(error.code, "ECONNRESET");
  });
}

test("vproxy answers browsers beside its agents", { skip, timeout: 60_000 }, async () => {
  await using tunnel = await VproxyTunnel.start({ transport: "tcp", serveQuery: "webroot=docs" });
  const base = `http://127.0.0.1:${tunnel.servePort}`;
  const page = await fetch(`${base}/protocols.md`);
  assert.equal(page.status, 200);
  assert.match(await page.text(), /# Protocols/);
  assert.equal((await fetch(`${base}/nothing`)).status, 404);
  assert.equal((await fetch(`${base}/tools/resolve?domain=localhost`)).status, 401);
});

test("vproxy sends browsers on to https", { skip, timeout: 60_000 }, async () => {
  const port = await lowPort();
  const serveQuery = `redirect=${port}&domain=localhost`;
  await using tunnel = await VproxyTunnel.start({ transport: "tls", serveQuery });
  const moved = await fetch(`http://127.0.0.1:${port}/a?b=c`, { redirect: "manual" });
  assert.equal(moved.status, 301);
  assert.equal(moved.headers.get("location"), `https://localhost:${tunnel.servePort}/a?b=c`);
});

for (const transport of VPROXY_TRANSPORTS) {
  test(`vproxy over ${transport} hears that its server says goodbye`, {
    skip,
    timeout: 60_000,
  }, async () => {
    await using tunnel = await VproxyTunnel.start({ transport });
    await tunnel.connect.waitFor(/"tunnel up"/, { on: "stderr" });
    tunnel.serve.kill("SIGTERM");
    const { code } = await tunnel.serve.exit;
    assert.equal(code, 0);
    await tunnel.connect.waitFor(/"tunnel down"/, { on: "stderr", deadlineMs: 3_000 });
  });
}

test("vproxy over KCP refuses a second server on its port", { timeout: 60_000 }, async () => {
  await using tunnel = await VproxyTunnel.start({ transport: "kcp" });
  const url = `vproxy+kcp://127.0.0.1:${tunnel.servePort}`;
  for (const query of ["", "?health=off"]) {
    await using other = startSluice(["serve", `${url}${query}`, "--client", "a=b"]);
    const { code, stderr } = await other.exit;
    assert.equal(code, 3, stderr);
    assert.match(stderr, /the address is already in use/);
  }
});

/** Tries until it works, or time is up. */
async function within(ms: number, act: () => Promise<void>): Promise<void> {
  const until = performance.now() + ms;
  for (;;) {
    try {
      await act();
      return;
    } catch (thrown) {
      if (performance.now() > until) throw thrown;
    }
  }
}

/** A program whose wall clock is ten minutes behind. */
const TEN_MINUTES_LATE = {
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`
    const { now } = Date;
    globalThis.Date = class extends Date {
      constructor(...args) { args.length ? super(...args) : super(now() - 600_000); }
      static now() { return now() - 600_000; }
    };`)}`,
};
