import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertBytes } from "../../../test/support/hex.ts";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { manualRuntime, TestClient, turns } from "../../../test/support/test-client.ts";
import type { Target } from "../../address/target.ts";
import { NetworkError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import { GodoxyClient, type GodoxyClientOptions } from "./client.ts";
import { encodeHeader, encodeProbe, HEADER_BYTES } from "./header.ts";

describe("godoxy client, streams", () => {
  test("sends header and first payload together, then carries bytes and ends", async () => {
    const { client, agents } = make();
    const stream = await client.open(TARGET, options());
    assert.equal(stream.info.transport, "godoxy");
    stream.write([Buffer.from("hello")]);
    const user = new TestClient(stream);
    await turns();
    const agent = agents[0] ?? assert.fail("not dialled");
    assertBytes(agent.bytes, [HEADER, Buffer.from("hello")]);
    await agent.send("world");
    assert.equal(user.text, "world");
    agent.connection.finish();
    await turns();
    assert.deepEqual(user.events, ["end"]);
    stream.finish();
    await turns();
    assert.deepEqual(
      [agent.events, user.events],
      [
        ["end", "close"],
        ["end", "close"],
      ],
    );
    assert.equal(client.status().streams, 0);
  });

  test("sends the header alone when there is nothing to say, and before an end", async () => {
    const { client, agents } = make();
    await client.open(TARGET, options());
    await turns();
    assertBytes(agents[0]?.bytes ?? assert.fail(), HEADER);
    for (const end of ["finish", "close"] as const) {
      const stream = await client.open(TARGET, options());
      stream[end]();
      await turns();
      const agent = agents.at(-1) ?? assert.fail();
      assertBytes(agent.bytes, HEADER, end);
      assert.equal(agent.events[0], "end", end);
    }
    const doomed = await client.open(TARGET, options());
    doomed.reset(new TunnelError("ERR_ABORTED", "gone"));
    await turns();
    assert.deepEqual(agents.at(-1)?.events, ["close ERR_ABORTED"]);
    assert.equal(agents.at(-1)?.bytes.byteLength, 0);
  });

  test("writes the PROXY header in front of the payload", async () => {
    const { client, agents } = make({ proxyProtocol: "v1" });
    const stream = await client.open({ ...TARGET, host: "10.0.0.5" }, options());
    stream.write([Buffer.from("hello")]);
    await turns();
    const text = agents[0]?.text.slice(HEADER_BYTES);
    assert.equal(text, "PROXY TCP4 192.0.2.1 10.0.0.5 5000 22\r\nhello");
  });

  test("notes a stream that ended without a byte", async () => {
    const { client, agents, log } = make();
    const user = new TestClient(await client.open(TARGET, options()));
    await turns();
    agents[0]?.connection.close();
    await turns();
    assert.equal(user.events[0], "end");
    assert.match(log.text, /^debug stream ended without a byte .*"to":"db\.internal:22"/);
    assert.match(log.text, /the agent's log says/);
  });

  test("reports what kept it from dialling, in bounded time", async () => {
    const refused = new NetworkError("ERR_DIAL_REFUSED", "agent:8890: connection refused");
    const { client: down } = make({ openTls: () => Promise.reject(refused) });
    await assert.rejects(() => down.open(TARGET, options()), refused);
    const { client: silent, runtime } = make({ openTls: never });
    const opening = silent.open(TARGET, options());
    await turns();
    runtime.clock.advance(10_000);
    await assert.rejects(opening, {
      code: "ERR_DIAL_TIMEOUT",
      message: "godoxy+tls://agent:8890: not connected within 10000 ms",
    });
    const abort = new AbortController();
    const aborted = silent.open(TARGET, options(abort.signal));
    abort.abort(new Error("enough"));
    await assert.rejects(aborted, /enough/);
    const long: Target = { ...TARGET, host: "x".repeat(256) };
    await assert.rejects(() => silent.open(long, options()), { code: "ERR_ADDRESS_UNSUPPORTED" });
    const { client: udpOnly } = make({ openTls: undefined });
    await assert.rejects(() => udpOnly.open(TARGET, options()), {
      code: "ERR_COMMAND_UNSUPPORTED",
    });
  });

  test("bounds streams, those being dialled included", async () => {
    const { client, agents } = make({ limits: { maxStreams: 1 } });
    const stream = await client.open(TARGET, options());
    await assert.rejects(() => client.open(TARGET, options()), { code: "ERR_LIMIT" });
    stream.reset(new TunnelError("ERR_ABORTED", "gone"));
    await client.open(TARGET, options());
    assert.equal(agents.length, 2);
  });

  test("lets streams finish when it closes, then resets them", async () => {
    const { client, agents, runtime } = make();
    const user = new TestClient(await client.open(TARGET, options()));
    const closing = client.close(100);
    await turns();
    await assert.rejects(() => client.open(TARGET, options()), { code: "ERR_SHUTDOWN" });
    assert.equal(client.status().state, "closed");
    for (let step = 0; step < 2; step++) {
      runtime.clock.advance(50);
      await turns();
    }
    await closing;
    await turns();
    assert.deepEqual(user.events, ["close ERR_SHUTDOWN"]);
    assert.deepEqual(agents[0]?.events, ["close ERR_SHUTDOWN"]);
    assert.equal(runtime.clock.pending, 0);
  });
});

describe("godoxy client, pool", () => {
  test("takes a connection that is open already, and opens another in its place", async () => {
    const { client, agents } = make({ pool: { size: 2 } });
    client.start();
    await turns();
    // One of the three is the probe.
    assert.equal(agents.length, 3);
    const stream = await client.open(TARGET, options());
    stream.write([Buffer.from("x")]);
    await turns();
    assert.equal(agents.length, 4);
    assert.ok(agents.slice(0, 3).some(({ bytes }) => bytes.byteLength === HEADER_BYTES + 1));
    await client.close(0);
    await turns();
  });

  test("replaces what grows old, before the agent gives up, while streams are opened", async () => {
    const { client, agents, runtime } = make({
      pool: { size: 1, warmMs: 20_000 },
      limits: { probeIntervalMs: 0 },
    });
    await client.open(TARGET, options());
    await turns();
    assert.equal(agents.length, 2, "the stream's own, and one for the next");
    runtime.clock.advance(7_999);
    await turns();
    assert.equal(agents[1]?.events.length, 0);
    runtime.clock.advance(1);
    await turns();
    assert.deepEqual([agents[1]?.events[0], agents.length], ["end", 3]);
    runtime.clock.advance(8_000);
    await turns();
    assert.equal(agents.length, 4);
    runtime.clock.advance(8_000);
    await turns();
    assert.deepEqual([agents[3]?.events[0], agents.length], ["end", 4], "nobody needs one now");
    assert.equal(runtime.clock.pending, 0);
  });

  test("drops what the agent ended or broke, and tries again only when needed", async () => {
    for (const how of ["end", "reset", "data"] as const) {
      const { client, agents, log, runtime } = make({
        pool: { size: 1 },
        limits: { probeIntervalMs: 0 },
      });
      await client.open(TARGET, options());
      await turns();
      const waiting = agents[1]?.connection ?? assert.fail("no pool");
      if (how === "end") waiting.close();
      if (how === "reset") waiting.reset(new NetworkError("ERR_CONNECTION_RESET", "alert"));
      if (how === "data") waiting.write([Buffer.from("HTTP/1.1 400")]);
      await turns();
      assert.equal(agents.length, 2, how);
      assert.match(log.text, /debug connection to the agent failed/, how);
      await client.open(TARGET, options());
      await turns();
      assert.equal(agents.length, 3, `${how}: streams dial for themselves`);
      runtime.clock.advance(5_000);
      await client.open(TARGET, options());
      await turns();
      assert.equal(agents.length, 5, `${how}: one for the stream, one ahead`);
    }
  });
});

describe("godoxy client, probes", () => {
  test("waits for the agent's end, which alone is an answer", async () => {
    const { client, agents, runtime } = make();
    let isDone = false;
    const probing = client.probe(options()).then(() => (isDone = true));
    await turns();
    assert.equal(agents[0]?.bytes.byteLength, 0, "first it looks whether our certificate will do");
    runtime.clock.advance(SILENCE_MS);
    await turns();
    assertBytes(agents[0]?.bytes ?? assert.fail(), encodeProbe());
    assert.equal(isDone, false);
    agents[0]?.connection.close();
    await probing;
    assert.equal(client.status().state, "up");
    assert.equal(client.status().detail, "godoxy+tls://agent:8890: TCP yes");
  });

  test("fails on an alert, on data, on silence, and when it is called off", async () => {
    const alert = new TunnelError("ERR_TLS", "unknown ca");
    const cases: readonly [(made: Made) => void, RegExp][] = [
      [({ agents }) => agents[0]?.connection.reset(alert), /unknown ca/],
      [({ agents }) => agents[0]?.connection.close(), /ended the connection before it was asked/],
      [({ agents }) => void agents[0]?.send("HTTP/1.1 400"), /answered a health probe with data/],
      [({ runtime }) => runtime.clock.advance(5_000), /over tls not answered within 5000 ms/],
    ];
    for (const [act, expected] of cases) {
      const made = make();
      const probing = assert.rejects(made.client.probe(options()), expected);
      await turns();
      act(made);
      await probing;
      const { state, detail } = made.client.status();
      assert.equal(state, "down");
      assert.match(detail, /TCP no \(/);
    }
    const { client } = make();
    const abort = new AbortController();
    const probing = client.probe(options(abort.signal));
    abort.abort(new Error("enough"));
    await assert.rejects(probing, /enough/);
  });

  test("asks again and again, sooner after a failure", async () => {
    const { client, agents, runtime } = make();
    client.start();
    assert.equal(client.status().state, "connecting");
    let fails = false;
    const asked = async (): Promise<void> => {
      await turns();
      runtime.clock.advance(SILENCE_MS);
      await turns();
      const { connection } = agents.at(-1) ?? assert.fail("not dialled");
      if (fails) connection.reset(new NetworkError("ERR_CONNECTION_RESET", "gone"));
      else connection.close();
      await turns();
    };
    await asked();
    assert.equal(client.status().state, "up");
    fails = true;
    runtime.clock.advance(60_000);
    await asked();
    assert.deepEqual([agents.length, client.status().state], [2, "down"]);
    fails = false;
    runtime.clock.advance(2_000);
    await asked();
    assert.deepEqual([agents.length, client.status().state], [3, "up"]);
    runtime.clock.advance(59_999);
    await turns();
    assert.equal(agents.length, 3);
    await client.close(0);
    assert.equal(runtime.clock.pending, 0);
  });

  test("asks soon when a stream could not be opened, but not in a storm", async () => {
    let fails = false;
    const made = make({
      openTls: () => {
        count++;
        if (fails) return Promise.reject(new NetworkError("ERR_DIAL_REFUSED", "refused"));
        const [near, far] = connectionPair(made.runtime);
        far.attach({ onData: () => far.close(), onEnd() {}, onDrain() {}, onClose() {} });
        far.resume();
        return Promise.resolve(near);
      },
    });
    let count = 0;
    made.client.start();
    await turns();
    made.runtime.clock.advance(SILENCE_MS);
    await turns();
    assert.equal(made.client.status().state, "up");
    fails = true;
    for (let tries = 0; tries < 10; tries++) {
      await assert.rejects(() => made.client.open(TARGET, options()), /refused/);
    }
    assert.equal(count, 11);
    made.runtime.clock.advance(4_999);
    await turns();
    assert.equal(made.client.status().state, "up");
    made.runtime.clock.advance(1);
    await turns();
    assert.deepEqual([count, made.client.status().state], [12, "down"]);
  });
});

interface Made {
  readonly client: GodoxyClient;
  readonly runtime: ReturnType<typeof manualRuntime>;
  readonly log: LogRecorder;
  /** The agent's ends of all that was dialled. */
  readonly agents: TestClient[];
}

function make(overrides: Partial<GodoxyClientOptions> = {}): Made {
  const runtime = manualRuntime();
  const log = new LogRecorder();
  const agents: TestClient[] = [];
  const client = new GodoxyClient({
    name: "office",
    description: "godoxy+tls://agent:8890",
    runtime,
    logger: log,
    openTls: async () => {
      const [near, far] = connectionPair(runtime, { names: ["here", "agent:8890"] });
      const agent = new TestClient(far);
      agents.push(agent);
      return await Promise.resolve(near);
    },
    ...overrides,
  });
  return { client, runtime, log, agents };
}

function options(signal: AbortSignal = new AbortController().signal): {
  readonly signal: AbortSignal;
  readonly metadata: { readonly inbound: string; readonly source: string };
} {
  return { signal, metadata: { inbound: "test", source: "192.0.2.1:5000" } };
}

/** Dials until it is told to stop. */
function never(signal: AbortSignal): Promise<Connection> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

const TARGET: Target = { network: "tcp", host: "db.internal", port: 22 };

/** How long a probe waits before it asks, when dialling took no time. */
const SILENCE_MS = 50;
const HEADER: Uint8Array = encodeHeader({ host: "db.internal", port: "22" });
