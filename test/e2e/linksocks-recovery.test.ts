import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { readExactly, request, REQUEST_BYTES, startTarget } from "../interop/pong-target.ts";
import { FORWARD_TOKEN } from "../support/linksocks-arguments.ts";
import { Lane } from "../support/linksocks-lane.ts";
import { chat, readUntilEnd } from "../support/linksocks-traffic.ts";
import { accepts, lowPort } from "../support/low-port.ts";
import { sluice, startSluice } from "../support/sluice-process.ts";
import { socksConnect } from "../support/socks-app.ts";

describe("linksocks, when something goes away", () => {
  test("comes back within five seconds after the server was started again", async () => {
    await using target = await startTarget();
    const at = { host: "127.0.0.1", port: target.port };
    await using lane = await Lane.start({ mode: "forward" });
    await lane.stopRole("server");
    await lane.startRole("server");
    await lane.ready(5_000);
    await chat(lane.socksPort, at);
  });

  test("comes back when every process was replaced, one by one", async () => {
    await using target = await startTarget();
    const at = { host: "127.0.0.1", port: target.port };
    await using lane = await Lane.start({ mode: "agent" });
    for (const role of ["provider", "client", "server"] as const) {
      await lane.stopRole(role);
      await lane.startRole(role);
      await lane.ready(5_000);
      await chat(lane.socksPort, at);
    }
  });

  for (const role of ["server", "provider"] as const) {
    test(`ends channels hard when the ${role} dies`, async () => {
      await using target = await startTarget();
      await using lane = await Lane.start({ mode: "agent" });
      const app = await socksConnect(lane.socksPort, { host: "127.0.0.1", port: target.port });
      app.write(request("chat"));
      assert.equal((await readExactly(app, REQUEST_BYTES)).byteLength, REQUEST_BYTES);
      const ended = assert.rejects(readUntilEnd(app), { code: "ECONNRESET" });
      await lane.stopRole(role);
      await ended;
    });
  }

  test("lets a connector's request wait for a provider", async () => {
    await using target = await startTarget();
    await using lane = await Lane.start({ mode: "agent" });
    await lane.stopRole("provider");
    const waiting = chat(lane.socksPort, { host: "127.0.0.1", port: target.port });
    await lane.startRole("provider");
    await waiting;
  });

  test("announces connectors of an autonomous provider again at a new server", async () => {
    await using target = await startTarget();
    await using lane = await Lane.start({ mode: "autonomy" });
    await lane.stopRole("client");
    await lane.stopRole("server");
    await lane.startRole("server");
    await lane.startRole("client");
    await lane.ready();
    await chat(lane.socksPort, { host: "127.0.0.1", port: target.port });
  });

  test("announces them again at a server that still knows them", async () => {
    await using target = await startTarget();
    await using lane = await Lane.start({ mode: "autonomy" });
    await lane.stopRole("provider");
    await lane.startRole("provider");
    await lane.ready(10_000);
    await chat(lane.socksPort, { host: "127.0.0.1", port: target.port });
  });

  test("stops for good when the token is wrong, and says so", async () => {
    await using lane = await Lane.start({ mode: "forward" });
    const url = `linksocks+ws://not-the-token@127.0.0.1:${lane.serverPort}`;
    const { code, stderr } = await sluice(["connect", url, "-D", `${await lowPort()}`]);
    assert.equal(code, 4);
    assert.match(stderr, /invalid token/);
    assert.doesNotMatch(stderr, /not-the-token/);
  });

  test("serves what fast open, several WebSockets and the Auth message are for", async () => {
    await using target = await startTarget();
    const at = { host: "127.0.0.1", port: target.port };
    for (const settings of [{ fastOpen: true }, { threads: 2 }, { path: "/socket/" }]) {
      for (const mode of ["forward", "agent"] as const) {
        await using lane = await Lane.start({ mode, ...settings });
        for (let round = 0; round < 3; round++) await chat(lane.socksPort, at);
      }
    }
  });

  test("asks for a user and password where the server's port wants them", async () => {
    await using target = await startTarget();
    const at = { host: "127.0.0.1", port: target.port };
    const login = { user: "alice", password: "secret" };
    await using lane = await Lane.start({
      mode: "reverse",
      serveFlags: ["--user", "alice:secret"],
      login,
    });
    await assert.rejects(socksConnect(lane.socksPort, at), { reply: 0xff });
    const wrong = { user: "alice", password: "wrong" };
    await assert.rejects(socksConnect(lane.socksPort, at, wrong), { reply: 1 });
    (await socksConnect(lane.socksPort, at, login)).destroy();
  });

  test("dials a server that is not there yet", async () => {
    const [serverPort, proxyPort] = [await lowPort(), await lowPort()];
    const url = `linksocks+ws://${FORWARD_TOKEN}@127.0.0.1:${serverPort}`;
    await using connect = startSluice(["connect", url, "-D", `${proxyPort}`]);
    await connect.waitFor(/./);
    assert.ok(await accepts(proxyPort));
    await using target = await startTarget();
    await using _server = startSluice([
      "serve",
      `linksocks+ws://127.0.0.1:${serverPort}`,
      "--client",
      `app=${FORWARD_TOKEN}`,
      "--allow",
      "127.0.0.0/8",
    ]);
    await chat(proxyPort, { host: "127.0.0.1", port: target.port });
  });
});
