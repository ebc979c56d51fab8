import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startTarget, type Target } from "../interop/pong-target.ts";
import { chat } from "../support/linksocks-traffic.ts";
import { accepts, lowPort } from "../support/low-port.ts";
import { startSluice } from "../support/sluice-process.ts";
import type { Child } from "../support/child-process.ts";

// Ported from the API tests of the reference. Spec: linksocks 8.2.
describe("linksocks, the API at work", () => {
  const scope = new AsyncDisposableStack();
  let port: number;
  let target: Target;

  before(async () => {
    port = await lowPort();
    target = scope.use(await startTarget());
    const url = `linksocks+ws://127.0.0.1:${port}`;
    scope.use(startSluice(["serve", url, "--api-key", KEY, "--allow", "127.0.0.0/8"]));
    await untilListening(port);
  });
  after(() => scope.disposeAsync());

  test("says on / that it is there", async () => {
    const response = await fetch(`http://127.0.0.1:${port}/`);
    assert.match(await response.text(), /API endpoints available/);
  });

  test("wants its key", async () => {
    const response = await fetch(`http://127.0.0.1:${port}/api/status`);
    assert.equal(response.status, 401);
  });

  test("adds forward tokens that work at once", async () => {
    const { token } = await add({ type: "forward" });
    const proxyPort = await lowPort();
    await using _client = connect(token, proxyPort);
    await untilListening(proxyPort);
    await chat(proxyPort, { host: "127.0.0.1", port: target.port });
    const { tokens = [] } = await api("GET", "/api/status");
    assert.deepEqual(tokens, [{ token, type: "forward", clients_count: 1 }]);
  });

  test("adds providers with a port and connectors, and takes them away again", async () => {
    const socksPort = await lowPort();
    await add({ type: "reverse", token: "home", port: socksPort });
    await add({ type: "connector", token: "road", reverse_token: "home" });
    const url = `linksocks+ws://home@127.0.0.1:${port}`;
    await using provider = startSluice(["provide", url, "--allow", "127.0.0.0/8"]);
    await untilListening(socksPort);
    const at = { host: "127.0.0.1", port: target.port };
    await chat(socksPort, at);
    const proxyPort = await lowPort();
    await using connector = connect("road", proxyPort);
    await untilListening(proxyPort);
    await chat(proxyPort, at);

    const taken = await api("POST", "/api/token", { type: "reverse", port: socksPort });
    assert.deepEqual(taken, { success: false, error: `cannot allocate port: ${socksPort}` });

    await api("DELETE", "/api/token/home");
    // Who is turned away for good ends with its code for that.
    assert.deepEqual([(await provider.exit).code, (await connector.exit).code], [4, 4]);
    await untilListening(socksPort, false);
    const again = await add({ type: "reverse", token: "other", port: socksPort });
    assert.equal(again.port, socksPort);
  });

  function connect(token: string, proxyPort: number): Child {
    const url = `linksocks+ws://${token}@127.0.0.1:${port}`;
    return startSluice(["connect", url, "-D", String(proxyPort)]);
  }

  async function add(wish: object): Promise<Answer & { readonly token: string }> {
    const answer = await api("POST", "/api/token", wish);
    assert.equal(answer.success, true);
    return { ...answer, token: answer.token ?? "" };
  }

  async function api(method: string, path: string, body?: object): Promise<Answer> {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: { "x-api-key": KEY },
      ...(body && { body: JSON.stringify(body) }),
    });
    assert.equal(response.status, 200);
    return (await response.json()) as Answer;
  }
});

/** What the API says; the exact shapes are the business of the replayed transcripts. */
interface Answer {
  readonly success?: boolean;
  readonly error?: string;
  readonly token?: string;
  readonly port?: number;
  readonly tokens?: readonly object[];
}

/** Waits until something listens on a port, or nothing any more. */
async function untilListening(port: number, isSo = true): Promise<void> {
  const deadline = performance.now() + LISTEN_MS;
  while ((await accepts(port)) !== isSo) {
    assert.ok(performance.now() < deadline, `port ${port}: not within ${LISTEN_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const KEY = "api-key-1";
const LISTEN_MS = 10_000;
