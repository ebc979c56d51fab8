import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import {
  manualRuntime,
  memoryClient,
  TestClient,
  turns,
} from "../../../test/support/test-client.ts";
import { singleBytes } from "../../../test/support/chunks.ts";
import { formatTarget } from "../../address/target.ts";
import { NetworkError, PolicyError } from "../../errors.ts";
import { splice } from "../../relay/splice.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { Request } from "../../tunnel/request.ts";
import { GodoxyAgent } from "./agent.ts";
import type { ClientIdentity } from "./agent-context.ts";
import { encodeHeader, encodeProbe } from "./header.ts";
import type { GodoxyAgentLimits } from "./limits.ts";

describe("godoxy agent, streams", () => {
  test("asks for what the header names, with who asks, and hands over what came behind it", async () => {
    const { join, requests } = make();
    const client = join();
    await client.send(header("db.internal", "5432"), "hello");
    const request = requests[0] ?? assert.fail("no request");
    assert.deepEqual(request.target, { network: "tcp", host: "db.internal", port: 5432 });
    const source = "192.0.2.1:5000";
    assert.deepEqual(request.metadata, { inbound: "agent", source, user: "alice" });
    const stream = request.accept();
    assert.equal(stream.info.transport, "godoxy");
    assert.equal(new TestClient(stream).text, "hello");
    await turns();
    stream.write([Buffer.from("world")]);
    await turns();
    assert.equal(client.text, "world");
  });

  test("takes a header a byte at a time", async () => {
    const { join, requests } = make();
    const client = join();
    for (const byte of singleBytes(header("a", "1"))) await client.send(byte);
    assert.equal(requests.length, 1);
  });

  test("carries ends each way, and resets as resets", async () => {
    for (const how of ["client ends", "target ends", "client resets", "target resets"] as const) {
      const { runtime, join, requests, agent } = make();
      const client = join();
      await client.send(header("a", "1"));
      const [far, near] = connectionPair(runtime);
      const target = new TestClient(far);
      const stream = requests[0]?.accept() ?? assert.fail("no request");
      splice(stream, near, { clock: runtime.clock, onClose: () => {} });
      const reset = new NetworkError("ERR_CONNECTION_RESET", how);
      if (how === "client ends") client.connection.finish();
      if (how === "target ends") far.finish();
      if (how === "client resets") client.connection.reset(reset);
      if (how === "target resets") far.reset(reset);
      await turns();
      if (how === "client ends") {
        assert.deepEqual(target.events, ["end"], how);
        await target.send("the answer after the end");
        assert.equal(client.text, "the answer after the end", how);
        far.finish();
      }
      if (how === "target ends") {
        assert.deepEqual(client.events, ["end"], how);
        await client.send("more");
        assert.equal(target.text, "more", how);
        client.connection.finish();
      }
      await turns();
      const [heard] = [how.startsWith("client") ? target.events : client.events];
      if (how.endsWith("resets")) assert.deepEqual(heard, ["close ERR_CONNECTION_RESET"], how);
      assert.equal(agent.streamCount, 0, how);
    }
  });

  test("is silent about probes, and closes them", async () => {
    const { join, requests, log, agent } = make();
    const client = join();
    await client.send(encodeProbe());
    assert.deepEqual([client.text, client.events[0], requests.length], ["", "end", 0]);
    const flagged = join();
    await flagged.send(encodeHeader({ host: "127.0.0.1", port: "22", flags: 3 }), "payload");
    assert.deepEqual([flagged.text, flagged.events[0], requests.length], ["", "end", 0]);
    assert.match(log.text, /^debug health probe .*\ndebug health probe .*$/);
    assert.equal(agent.streamCount, 0);
  });

  test("closes without a byte on a bad header, and logs which check failed", async () => {
    const [version, checksum, port] = [header("a", "1"), header("a", "1"), header("a", "1")];
    version[0] = 0x31;
    checksum[20] = 1;
    port[264] = 6;
    const cases: readonly [Uint8Array, RegExp][] = [
      [version, /warn godoxy header refused .*"phase":"header".*header version 312e/],
      [checksum, /header checksum/],
      [port, /header port length 6 exceeds 5/],
      [header("[::1]", "80"), /header host has brackets/],
      [header("a", ""), /header names no port/],
      [header("a", "nope"), /neither a number nor a service/],
    ];
    for (const [bytes, line] of cases) {
      const { join, requests, log, agent } = make();
      const client = join();
      await client.send(bytes, "payload");
      assert.deepEqual([client.text, client.events[0], requests.length], ["", "end", 0]);
      assert.match(log.text, line);
      assert.match(log.text, /"peer":"192\.0\.2\.1:5000","user":"alice"/);
      assert.equal(agent.streamCount, 0);
    }
  });

  test("logs a cut header, but makes no fuss about a client that said nothing", async () => {
    const { join, log } = make();
    const silent = join();
    silent.connection.finish();
    await turns();
    assert.match(log.text, /^debug godoxy client left/);
    const cut = join();
    await cut.send(header("a", "1").subarray(0, 274));
    cut.connection.finish();
    await turns();
    assert.match(log.text, /warn godoxy header refused .*ended after 274 of 275 bytes/);
    assert.equal(cut.events[0], "end");
  });

  test("waits ten seconds for a header, however it drips", async () => {
    const { join, runtime, log, agent } = make();
    const client = join();
    for (let second = 1; second < 10; second++) {
      runtime.clock.advance(1_000);
      await client.send(Uint8Array.of(0x30));
    }
    runtime.clock.advance(999);
    await turns();
    assert.deepEqual(client.events, []);
    runtime.clock.advance(1);
    await turns();
    assert.deepEqual([client.text, client.events[0]], ["", "end"]);
    assert.match(log.text, /ERR_HANDSHAKE_TIMEOUT.*"elapsedMs":10000/);
    assert.equal(agent.streamCount, 0);
  });

  test("gives a target ten seconds, and closes without a byte then", async () => {
    const { join, runtime, requests, log, agent } = make();
    const client = join();
    await client.send(header("slow.example", "80"), "early");
    const request = requests[0] ?? assert.fail("no request");
    request.signal.addEventListener("abort", () => request.reject(request.signal.reason));
    runtime.clock.advance(9_999);
    assert.equal(request.signal.aborted, false);
    runtime.clock.advance(1);
    await turns();
    assert.deepEqual([client.text, client.events[0]], ["", "end"]);
    assert.match(log.text, /slow\.example:80 not reached within 10000 ms/);
    assert.equal(agent.streamCount, 0);
  });

  test("closes without a byte what policy or target refuse, and logs why", async () => {
    const { join, requests, log, runtime, agent } = make();
    const client = join();
    await client.send(header("127.0.0.1", "22"));
    const why = "127.0.0.1 is a loopback address";
    requests[0]?.reject(new PolicyError("ERR_POLICY_DENIED", why, { hint: "--allow it" }));
    await turns();
    assert.deepEqual([client.text, client.events[0]], ["", "end"]);
    assert.match(log.text, /debug stream refused .*"to":"127\.0\.0\.1:22".*loopback.*--allow it/);
    assert.equal(agent.streamCount, 0);
    assert.equal(runtime.clock.pending, 0);
  });

  test("tells whoever dials that the client is gone", async () => {
    const { join, requests, agent } = make();
    const client = join();
    await client.send(header("a", "1"));
    client.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "reset"));
    await turns();
    const request = requests[0] ?? assert.fail("no request");
    assert.equal(request.signal.aborted, true);
    request.reject(new NetworkError("ERR_ABORTED", "gone"));
    assert.equal(agent.streamCount, 0);
  });

  test("bounds streams per key and in total, and forgets those that ended", async () => {
    const { join, agent, log, runtime } = make({ maxStreams: 3, maxStreamsPerKey: 2 });
    const first = join({ name: "alice", key: "A" });
    join({ name: "alice", key: "A" });
    const third = join({ name: "alice", key: "A" });
    await turns();
    assert.deepEqual(third.events, ["close ERR_LIMIT"]);
    assert.match(log.text, /warn streams refused .*"count":1.*2 streams of this client are open/);
    join({ name: "bob", key: "B" });
    const fifth = join({ name: "carol", key: "C" });
    await turns();
    assert.deepEqual(fifth.events, ["close ERR_LIMIT"]);
    assert.equal(log.lines.length, 1, "one line a second");
    runtime.clock.advance(1_000);
    join({ name: "carol", key: "C" });
    assert.match(log.text, /"count":2.*3 streams are open/);
    assert.equal(agent.streamCount, 3);
    await first.send(encodeProbe());
    assert.equal(agent.streamCount, 2);
    const sixth = join({ name: "carol", key: "C" });
    await turns();
    assert.deepEqual(sixth.events, []);
  });

  test("closes: takes nothing new, lets streams finish, then resets them", async () => {
    const { join, requests, agent, runtime } = make();
    const [early, late] = [join(), join()];
    await late.send(header("a", "1"));
    const stream = new TestClient(requests[0]?.accept() ?? assert.fail("no request"));
    const closing = agent.close(1_000);
    await turns();
    assert.equal(early.events[0], "end");
    const refused = join();
    await turns();
    assert.deepEqual(refused.events, ["close ERR_SHUTDOWN"]);
    for (let ms = 0; ms < 1_000; ms += 50) {
      assert.deepEqual(late.events, [], `${ms}`);
      runtime.clock.advance(50);
      await turns();
    }
    await closing;
    await turns();
    assert.deepEqual(late.events, ["close ERR_SHUTDOWN"]);
    assert.deepEqual(stream.events, ["close ERR_SHUTDOWN"]);
    assert.equal(agent.streamCount, 0);
  });
});

function header(host: string, port: string): Uint8Array {
  return encodeHeader({ host, port });
}

interface Made {
  readonly agent: GodoxyAgent;
  readonly runtime: ReturnType<typeof manualRuntime>;
  readonly log: LogRecorder;
  readonly requests: Request[];
  readonly join: (client?: ClientIdentity) => TestClient;
}

function make(limits: Partial<GodoxyAgentLimits> = {}): Made {
  const runtime = manualRuntime();
  const log = new LogRecorder();
  const requests: Request[] = [];
  const agent = new GodoxyAgent({
    name: "agent",
    runtime,
    logger: log,
    limits,
    onRequest: (request) => {
      assert.ok(formatTarget(request.target));
      requests.push(request);
    },
  });
  return {
    agent,
    runtime,
    log,
    requests,
    join: (client = { name: "alice", key: "A" }) => {
      const [peer, connection] = memoryClient(runtime);
      agent.accept(connection, client);
      return peer;
    },
  };
}
