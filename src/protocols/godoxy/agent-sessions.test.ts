import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DatagramRecorder, datagramPair } from "../../../test/support/datagram-pair.ts";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { PacketRecorder } from "../../../test/support/packet-recorder.ts";
import { manualRuntime, turns } from "../../../test/support/test-client.ts";
import { NetworkError, PolicyError, TunnelError } from "../../errors.ts";
import type { PacketRequest } from "../../tunnel/request.ts";
import { GodoxyAgent } from "./agent.ts";
import { encodeHeader, encodeProbe } from "./header.ts";
import type { GodoxyAgentLimits } from "./limits.ts";

describe("godoxy agent, udp sessions", () => {
  test("carries datagrams to and from the one target of the header, empty ones too", async () => {
    const { join, requests } = make();
    const client = join();
    say(client, header("198.51.100.1", "53"));
    say(client, "early");
    const request = requests[0] ?? assert.fail("no request");
    assert.deepEqual(request.target, { network: "udp", host: "198.51.100.1", port: 53 });
    const source = "192.0.2.1:5000";
    assert.deepEqual(request.metadata, { inbound: "agent", source, user: "alice" });
    const packets = new PacketRecorder(request.accept());
    say(client, "");
    say(client, "late");
    const from = "< 198.51.100.1:53";
    assert.deepEqual(packets.events, [`early ${from}`, ` ${from}`, `late ${from}`]);
    packets.send("answer", "198.51.100.1", 53);
    packets.send("", "::ffff:198.51.100.1", 53);
    packets.send("stranger", "198.51.100.2", 53);
    packets.send("other port", "198.51.100.1", 54);
    assert.deepEqual(client.events, ["answer", ""]);
    client.connection.close();
    await turns();
    assert.equal(packets.events.at(-1), "close");
  });

  test("takes answers to a name from wherever the name led", () => {
    const { join, requests } = make();
    const client = join();
    say(client, header("name.example", "53"));
    const packets = new PacketRecorder(requests[0]?.accept() ?? assert.fail("no request"));
    packets.send("answer", "198.51.100.9", 53);
    packets.send("other port", "198.51.100.9", 54);
    assert.deepEqual(client.events, ["answer"]);
  });

  test("reads a header in pieces, but none that shares a record with payload", () => {
    const bytes = header("a", "1");
    const { join, requests } = make();
    const pieces = join();
    for (const [from, to] of [
      [0, 100],
      [100, 100],
      [100, 274],
      [274, 275],
    ]) {
      say(pieces, bytes.subarray(from, to));
    }
    assert.equal(requests.length, 1);
    for (const datagrams of [
      [Buffer.concat([bytes, Buffer.from("payload")])],
      [Buffer.from("payload"), bytes],
      [bytes.subarray(0, 200), bytes.subarray(199)],
    ]) {
      const { join: again, log, requests: asked, agent } = make();
      const client = again();
      for (const datagram of datagrams) say(client, datagram);
      assert.deepEqual(client.events, ["close"]);
      assert.equal(asked.length, 0);
      assert.match(
        log.text,
        /^warn godoxy header refused .*header records of \d+ bytes are not 275/,
      );
      assert.equal(agent.sessionCount, 0);
    }
  });

  test("is silent about probes, and closes them", () => {
    const { join, requests, log, agent, runtime } = make();
    const client = join();
    say(client, encodeProbe());
    assert.deepEqual([client.events, requests.length], [["close"], 0]);
    assert.match(log.text, /^debug health probe/);
    assert.deepEqual([agent.sessionCount, runtime.clock.pending], [0, 0]);
  });

  test("closes without a datagram on a bad header, and logs which check failed", () => {
    const [version, checksum, port] = [header("a", "1"), header("a", "1"), header("a", "1")];
    version[4] = 0x31;
    checksum[271] = 0;
    port[264] = 255;
    const cases: readonly [Uint8Array, RegExp][] = [
      [version, /header version/],
      [checksum, /header checksum/],
      [port, /header port length 255/],
      [header("a", "0"), /header port 0 is not 1\.\.65535/],
      [new Uint8Array(275), /header version/],
    ];
    for (const [bytes, line] of cases) {
      const { join, requests, log, agent, runtime } = make();
      const client = join();
      say(client, bytes);
      assert.deepEqual([client.events, requests.length], [["close"], 0]);
      assert.match(log.text, line);
      assert.match(log.text, /"user":"alice","reason"/);
      assert.deepEqual([agent.sessionCount, runtime.clock.pending], [0, 0]);
    }
  });

  test("waits ten seconds for a header, and as long for the answer to it", () => {
    const { join, runtime, log, agent, requests } = make();
    const silent = join();
    runtime.clock.advance(9_999);
    assert.deepEqual(silent.events, []);
    runtime.clock.advance(1);
    assert.deepEqual(silent.events, ["close"]);
    assert.match(log.text, /header not complete within 10000 ms/);
    const unanswered = join();
    say(unanswered, header("a", "1"));
    runtime.clock.advance(10_000);
    assert.deepEqual(unanswered.events, ["close"]);
    const request = requests[0] ?? assert.fail("no request");
    assert.equal(request.signal.aborted, true);
    request.reject(new TunnelError("ERR_ABORTED", "too late"));
    assert.deepEqual([agent.sessionCount, runtime.clock.pending], [0, 0]);
  });

  test("ends a session on which neither side spoke for three minutes", () => {
    const { join, runtime, requests, agent } = make();
    const client = join();
    say(client, header("a", "1"));
    const packets = new PacketRecorder(requests[0]?.accept() ?? assert.fail("no request"));
    runtime.clock.advance(179_999);
    say(client, "up");
    runtime.clock.advance(179_999);
    packets.send("down", "192.0.2.7", 1);
    runtime.clock.advance(179_999);
    assert.deepEqual(client.events, ["down"]);
    runtime.clock.advance(1);
    assert.deepEqual(client.events, ["down", "close"]);
    assert.equal(packets.events.at(-1), "close ERR_IDLE_TIMEOUT");
    assert.deepEqual([agent.sessionCount, runtime.clock.pending], [0, 0]);
  });

  test("closes when the target is refused, or turns out to be unreachable", () => {
    const { join, requests, log, agent } = make();
    const refused = join();
    say(refused, header("127.0.0.1", "53"));
    requests[0]?.reject(new PolicyError("ERR_POLICY_DENIED", "a loopback address"));
    assert.deepEqual(refused.events, ["close"]);
    assert.match(log.text, /^debug udp session refused .*127\.0\.0\.1:53\/udp.*a loopback address/);
    const lost = join();
    say(lost, header("a", "1"));
    const packets = new PacketRecorder(requests[1]?.accept() ?? assert.fail("no request"));
    packets.channel.close(new NetworkError("ERR_DIAL_REFUSED", "port unreachable"));
    packets.channel.close();
    assert.deepEqual(lost.events, ["close"]);
    assert.deepEqual(packets.events, ["close ERR_DIAL_REFUSED"]);
    assert.equal(agent.sessionCount, 0);
  });

  test("counts and logs what is too long for the client", () => {
    const { join, requests, log } = make();
    const client = join();
    say(client, header("a", "1"));
    const packets = new PacketRecorder(requests[0]?.accept() ?? assert.fail("no request"));
    for (const size of [8_155, 8_156, 16_384, 16_385, 60_000]) {
      packets.send("x".repeat(size), "192.0.2.7", 1);
    }
    assert.deepEqual(
      client.events.map(({ length }) => length),
      [8_155, 8_156, 16_384],
    );
    packets.channel.close();
    assert.equal(log.lines.length, 3);
    assert.match(log.text, /datagram longer than the original's clients receive .*"bytes":8156/);
    assert.match(log.text, /datagram dropped, too long for DTLS .*"bytes":16385/);
    assert.match(log.text, /udp session lost datagrams .*"tooLong":2,"risky":2/);
  });

  test("bounds what waits for an answer", () => {
    const { join, requests, log } = make();
    const client = join();
    say(client, header("a", "1"));
    for (let count = 0; count < 40; count++) say(client, "x");
    const packets = new PacketRecorder(requests[0]?.accept() ?? assert.fail("no request"));
    assert.equal(packets.events.length, 32);
    packets.channel.close();
    assert.match(log.text, /"overflowed":8/);
  });

  test("bounds sessions per key and in total, and forgets those that ended", () => {
    const { join, agent, log } = make({ maxSessions: 3, maxSessionsPerKey: 2 });
    const [first] = [join("A"), join("A")];
    assert.deepEqual(join("A").events, ["close"]);
    assert.match(log.text, /warn udp sessions refused .*2 udp sessions of this client are open/);
    join("B");
    assert.deepEqual(join("C").events, ["close"]);
    first.connection.close();
    assert.equal(agent.sessionCount, 2);
    assert.deepEqual(join("C").events, []);
  });

  test("refuses every session where nobody takes datagrams", () => {
    const runtime = manualRuntime();
    const log = new LogRecorder();
    const agent = new GodoxyAgent({ name: "agent", runtime, logger: log, onRequest: () => {} });
    const [near, far] = datagramPair();
    agent.acceptDatagrams(far, { name: "alice", key: "A" });
    const client = new DatagramRecorder(near);
    say(client, header("a", "1"));
    assert.deepEqual(client.events, ["close"]);
    assert.match(log.text, /this agent carries no datagrams/);
  });

  test("closes: a moment of silence ends what runs, and nothing new is taken", async () => {
    const { join, requests, agent, runtime } = make();
    const [early, late] = [join(), join()];
    say(late, header("a", "1"));
    const packets = new PacketRecorder(requests[0]?.accept() ?? assert.fail("no request"));
    const closing = agent.close(10_000);
    assert.deepEqual(early.events, ["close"]);
    assert.deepEqual(join().events, ["close"]);
    runtime.clock.advance(999);
    await turns();
    assert.deepEqual(late.events, []);
    runtime.clock.advance(1);
    assert.deepEqual([late.events, packets.events], [["close"], ["close"]]);
    runtime.clock.advance(50);
    await turns();
    runtime.clock.advance(50);
    await closing;
    assert.equal(agent.sessionCount, 0);
  });
});

function header(host: string, port: string): Uint8Array {
  return encodeHeader({ host, port });
}

function say(client: DatagramRecorder, data: Uint8Array | string): void {
  client.connection.send(Uint8Array.from(Buffer.from(data)));
}

interface Made {
  readonly agent: GodoxyAgent;
  readonly runtime: ReturnType<typeof manualRuntime>;
  readonly log: LogRecorder;
  readonly requests: PacketRequest[];
  readonly join: (key?: string) => DatagramRecorder;
}

function make(limits: Partial<GodoxyAgentLimits> = {}): Made {
  const runtime = manualRuntime();
  const log = new LogRecorder();
  const requests: PacketRequest[] = [];
  const agent = new GodoxyAgent({
    name: "agent",
    runtime,
    logger: log,
    limits,
    onRequest: () => assert.fail("no stream"),
    onPacketRequest: (request) => void requests.push(request),
  });
  return {
    agent,
    runtime,
    log,
    requests,
    join: (key = "A") => {
      const [near, far] = datagramPair({ names: ["192.0.2.1:5000", "127.0.0.1:8890"] });
      const client = new DatagramRecorder(near);
      agent.acceptDatagrams(far, { name: "alice", key });
      return client;
    },
  };
}
