import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { patternBytes } from "../../../test/support/chunks.ts";
import { hex } from "../../../test/support/hex.ts";
import { echo, endsOf, KcptunHouse } from "../../../test/support/kcptun-house.ts";
import { TestClient, turns } from "../../../test/support/test-client.ts";
import { NetworkError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";

const REFUSED = new NetworkError("ERR_DIAL_REFUSED", "target said no");
const UNREACHABLE = new NetworkError("ERR_TUNNEL_DOWN", "nobody there");

describe("KcpTun in memory", () => {
  test("opens the tunnel for the first stream, and goes to the server's target", async () => {
    const house = new KcptunHouse();
    assert.equal(house.client.status().state, "idle");
    const stream = await house.open();
    stream.connection.write([Buffer.from("hello")]);
    await turns();
    assert.equal(stream.text, "hello");
    const [request] = house.requests;
    assert.deepEqual(request?.target, { network: "tcp", host: "fixed.test", port: 7 });
    assert.deepEqual(request?.metadata, { inbound: "kcptun test", source: "192.0.2.1:5000" });
    assert.deepEqual(house.client.status(), {
      state: "up",
      detail: "kcptun+memory",
      latencyMs: 0,
      links: 1,
      streams: 1,
    });
    assert.deepEqual(stream.connection.info.transport, "kcptun");
    await house.open();
    assert.equal(house.links.length, 1, "one tunnel for all streams");
    assert.equal(house.server.tunnelCount, 1);
  });

  test("waits with its first stream until the handshake is over", async () => {
    const house = new KcptunHouse();
    const heard: TestClient[] = [];
    house.onFar = (far) => void heard.push(new TestClient(far));
    const open = house.open();
    await turns(20);
    const [peer] = heard;
    assert.equal(Buffer.from(peer?.bytes ?? []).toString("hex"), HANDSHAKE);
    await peer?.send(hex(HANDSHAKE));
    const stream = await open;
    stream.connection.write([Buffer.from("hi")]);
    await turns();
    const expected = `${HANDSHAKE}0000000100000000010000020000000000016869`;
    assert.equal(
      Buffer.from(peer?.bytes ?? []).toString("hex"),
      expected,
      "and not for the SYN-ACK",
    );
  });

  test("carries megabytes both ways, and half-closes", async () => {
    for (const compress of [false, true]) {
      const house = new KcptunHouse({ tunnel: { compress } }, { tunnel: { compress } });
      const stream = await house.open();
      const half = patternBytes(1_000_000);
      const bytes = Buffer.concat([half, new Uint8Array(500_000), half]);
      stream.connection.write([Buffer.from(bytes)]);
      stream.connection.finish();
      await turns(100);
      house.clock.advance(100);
      await turns(20);
      assert.ok(Buffer.from(stream.bytes).equals(bytes), `compress ${compress}`);
      assert.deepEqual(endsOf(stream), ["end", "close"]);
    }
  });

  test("shows a refused target as a reset, not as an end", async () => {
    const house = new KcptunHouse();
    house.onRequest = (request) => request.reject(REFUSED);
    const stream = await house.open();
    await turns();
    house.clock.advance(100);
    await turns();
    assert.deepEqual(endsOf(stream), ["close ERR_STREAM_RESET"]);
    assert.equal(house.client.status().streams, 0);
  });

  test("tells the target's side when the application goes away", async () => {
    const house = new KcptunHouse();
    const targets: TestClient[] = [];
    house.onRequest = (request) => void targets.push(new TestClient(request.accept()));
    const [finished, reset] = [await house.open(), await house.open()];
    await turns();
    finished.connection.finish();
    reset.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "application reset"));
    await turns(20);
    assert.deepEqual(targets.map(endsOf), [["end"], ["close ERR_STREAM_RESET"]]);
  });

  test("aborts a request whose client gave up", async () => {
    const house = new KcptunHouse();
    house.onRequest = () => {};
    const stream = await house.open();
    await turns(20);
    assert.equal(house.requests[0]?.signal.aborted, false);
    stream.connection.reset(new NetworkError("ERR_ABORTED", "enough"));
    await turns(20);
    assert.equal(house.requests[0]?.signal.aborted, true);
  });

  test("ends in order, in both directions, and leaves no timer", async () => {
    const house = new KcptunHouse();
    const stream = await house.open();
    await turns();
    stream.connection.close();
    await turns();
    const closing = house.client.close(1000);
    await house.pass(200);
    await closing;
    assert.deepEqual(house.states, ["connecting", "up", "closed"]);
    assert.equal(house.server.tunnelCount, 0);
    assert.match(house.log.text, /info client connected .*\n(?:.*\n)*info client left/);
    assert.doesNotMatch(house.log.text, /warn|error/);
    await assert.rejects(house.open(), { code: "ERR_SHUTDOWN" });
    await house.server.close(0);
    await turns(20);
    assert.equal(house.clock.pending, 0);
  });
});

describe("a KcpTun client", () => {
  test("dials again after a failure, with delays that grow", async () => {
    const house = new KcptunHouse();
    house.fails = UNREACHABLE;
    house.client.start();
    await turns(20);
    assert.equal(house.client.status().state, "down");
    assert.equal(house.client.status().detail, "nobody there");
    const waits: number[] = [];
    for (let attempt = 0; attempt < 4; attempt++) {
      waits.push((house.clock.next ?? 0) - house.clock.now());
      house.clock.advance(waits.at(-1) ?? 0);
      await turns(20);
    }
    assert.deepEqual(waits, [125, 250, 500, 1000]);
    house.fails = undefined;
    const open = house.open();
    house.clock.advance(2000);
    await open;
    assert.equal(house.client.status().state, "up");
  });

  test("says why there is no tunnel", async () => {
    const house = new KcptunHouse();
    house.fails = UNREACHABLE;
    const open = house.open();
    await turns(20);
    const failed = assert.rejects(open, {
      code: "ERR_TUNNEL_DOWN",
      message: "test: no tunnel for ignored.test:1 within 5000 ms: nobody there",
    });
    house.clock.advance(5000);
    await failed;
  });

  test("gives up a stream whose owner did", async () => {
    const house = new KcptunHouse();
    house.fails = UNREACHABLE;
    const controller = new AbortController();
    const open = house.open(controller.signal);
    await turns();
    controller.abort(new TunnelError("ERR_ABORTED", "enough"));
    await assert.rejects(open, { code: "ERR_ABORTED" });
    await assert.rejects(house.open(controller.signal), { code: "ERR_ABORTED" });
    await house.client.close(0);
    assert.equal(house.clock.pending, 0);
  });

  test("fails who waits when it is closed", async () => {
    const house = new KcptunHouse();
    house.onFar = () => {};
    const open = house.open();
    await turns(20);
    const failed = assert.rejects(open, { code: "ERR_SHUTDOWN" });
    await house.client.close(0);
    await failed;
    await turns(20);
    assert.equal(house.clock.pending, 0);
  });

  test("does not wait for a server that says nothing", async () => {
    const house = new KcptunHouse();
    const peers: TestClient[] = [];
    house.onFar = (far) => void peers.push(new TestClient(far));
    house.client.start();
    await turns(20);
    house.clock.advance(5000);
    await turns(20);
    assert.match(house.client.status().detail, /handshake from link not complete within 5000 ms/);
    assert.equal(Buffer.from(peers[0]?.bytes ?? []).toString("hex"), HANDSHAKE, "and says no more");
    assert.deepEqual(peers[0]?.events, ["end"]);
  });

  test("tells a server that speaks something else, and names the fix", async () => {
    const house = new KcptunHouse();
    const peers: TestClient[] = [];
    house.onFar = (far) => {
      far.write([Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")]);
      peers.push(new TestClient(far));
    };
    house.client.start();
    await turns(20);
    assert.match(house.log.text, /handshake message is invalid/);
    assert.match(house.log.text, /check that the peer is a vproxy tunnel/);
    const said = Buffer.from(peers[0]?.bytes ?? []).toString("latin1");
    assert.ok(said.endsWith("handshake message is invalid"));
  });

  test("takes a GOAWAY in place of the handshake", async () => {
    const house = new KcptunHouse();
    house.onFar = (far) => void far.write([hex("00000b070000000000 ffffffffffffffff 627965")]);
    house.client.start();
    await turns(20);
    assert.equal(house.client.status().detail, "peer shut the tunnel down: bye");
  });

  test("opens a new tunnel when the server leaves, with ids from 1", async () => {
    const house = new KcptunHouse();
    const first = await house.open();
    await turns();
    await house.server.close(0);
    await turns(20);
    assert.deepEqual(endsOf(first), ["close ERR_TUNNEL_LOST"]);
    const peers: TestClient[] = [];
    house.onFar = (far) => {
      far.write([hex(HANDSHAKE)]);
      peers.push(new TestClient(far));
    };
    house.clock.advance(250);
    await turns(20);
    await house.open();
    await turns();
    assert.match(Buffer.from(peers[0]?.bytes ?? []).toString("hex"), /000000010000000001$/);
  });

  test("notices a server that vanished, and gets a new tunnel", async () => {
    const house = new KcptunHouse();
    const stream = await house.open();
    await turns();
    house.links[0]?.blackHole();
    house.clock.advance(10_000);
    await turns();
    house.clock.advance(5000);
    assert.deepEqual(endsOf(stream), ["close ERR_PEER_SILENT"]);
    assert.equal(house.client.status().state, "connecting", "no stream gets into the old one");
    house.clock.advance(1000);
    await turns();
    house.clock.advance(250);
    await turns(20);
    assert.equal(house.client.status().state, "up");
    assert.equal(house.links.length, 2);
  });

  test("loses no more than it must, wherever the connection breaks", async () => {
    const question = Buffer.from("a question of some length");
    const whole = await play(undefined, question);
    assert.deepEqual(whole.ends, ["end", "close"]);
    for (const direction of ["up", "down"] as const) {
      for (let afterBytes = 0; afterBytes <= whole.bytes[direction]; afterBytes++) {
        for (const how of ["reset", "end"] as const) {
          const { ends, text, states, pending } = await play(
            { direction, afterBytes, how },
            question,
          );
          const where = `${how} ${direction} after ${afterBytes}`;
          assert.ok(question.toString().startsWith(text), where);
          const isWhole = ends[0] === "end";
          if (isWhole) assert.equal(text, question.toString(), where);
          else
            assert.ok(
              ends.every((it) => it.startsWith("close ERR_")),
              `${where}: ${ends.join(" ")}`,
            );
          assert.equal(states, "up", `${where}: the next tunnel is there`);
          assert.equal(pending, 0, where);
        }
      }
    }
  });
});

describe("a KcpTun server", () => {
  test("says once who came, went, and was turned away", async () => {
    const house = new KcptunHouse();
    const peer = serve(house);
    await peer.send(hex(HANDSHAKE));
    assert.equal(Buffer.from(peer.bytes).toString("hex"), HANDSHAKE);
    peer.connection.finish();
    await turns();
    const odd = serve(house);
    await odd.send("GET / HTTP/1.1\r\n\r\n");
    await turns();
    assert.ok(odd.text.endsWith("handshake message is invalid"));
    assert.deepEqual(
      house.log.lines.map((line) => line.replace(/ \{.*/, "")),
      ["info client connected", "info client left", "warn connection refused"],
    );
  });

  test("takes a handshake in any pieces, and what comes behind it", async () => {
    const house = new KcptunHouse();
    const peer = serve(house);
    for (const byte of hex(`${HANDSHAKE}000000010000000001`)) await peer.send(Uint8Array.of(byte));
    await turns();
    assert.equal(house.requests.length, 1);
    const glued = serve(house);
    await glued.send(hex(`${HANDSHAKE}000000010000000001`));
    assert.equal(house.requests.length, 2);
    const answer = Buffer.from(glued.bytes).toString("hex");
    assert.equal(answer, `${HANDSHAKE}000000010000000001`);
  });

  test("waits 5 s for a handshake, and answers silence with silence", async () => {
    const house = new KcptunHouse();
    const peer = serve(house);
    await peer.send(hex("00000004"));
    house.clock.advance(5000);
    await turns();
    assert.equal(peer.bytes.byteLength, 0);
    assert.deepEqual(peer.events, ["end"]);
    assert.match(house.log.text, /not complete within 5000 ms/);
  });

  test("bounds tunnels, handshakes, and lines about them", async () => {
    const house = new KcptunHouse({}, { maxTunnels: 2, maxHandshakes: 3 });
    const peers: TestClient[] = [];
    for (let at = 0; at < 2; at++) {
      const peer = serve(house);
      await peer.send(hex(HANDSHAKE));
    }
    assert.equal(house.server.tunnelCount, 2);
    for (let at = 0; at < 1000; at++) peers.push(serve(house));
    await turns();
    assert.equal(house.server.tunnelCount, 2);
    assert.ok(peers.every(({ events }) => events.at(-1)?.startsWith("close ERR_LIMIT")));
    assert.ok(house.log.lines.length < 30, `${house.log.lines.length} lines`);
  });

  test("ends the oldest handshakes when there are too many", async () => {
    const house = new KcptunHouse({}, { maxHandshakes: 3 });
    const peers = Array.from({ length: 10 }, () => serve(house));
    await turns();
    assert.deepEqual(
      peers.map(({ events }) => events.length),
      [1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    );
    await peers.at(-1)?.send(hex(HANDSHAKE));
    assert.equal(house.server.tunnelCount, 1);
  });

  test("survives a flood of streams, of PINGs, and of bombs, each at the cost of one tunnel", async () => {
    const house = new KcptunHouse({}, { tunnel: { limits: { maxStreams: 16 } } });
    house.onRequest = (request) => echo(request.accept());
    const good = await house.open();
    const syns = Buffer.concat(
      Array.from({ length: 50_000 }, (_, id) => {
        const syn = Buffer.from(hex("000000010000000000"));
        syn.writeUInt32BE(id, 5);
        return syn;
      }),
    );
    const ping = hex("0000080600 00000000 0000000000000001");
    const pings = Buffer.concat(Array.from({ length: 50_000 }, () => ping));
    for (const flood of [syns, pings, hex("ffffff0004 00000001"), hex("ffffff0000 00000001")]) {
      const [near, far] = connectionPair(house.runtime);
      house.server.accept(far);
      near.write([hex(HANDSHAKE)]);
      await turns();
      near.write([flood]); // and it never reads an answer
      await turns(20);
      house.clock.advance(1000);
      await turns(20);
      near.reset(new NetworkError("ERR_CONNECTION_RESET", "enough"));
      await turns();
    }
    assert.ok(house.requests.length <= 1 + 16);
    assert.equal(house.server.tunnelCount, 1);
    good.connection.write([Buffer.from("alive")]);
    await turns();
    assert.equal(good.text, "alive");
  });

  test("lets streams finish when it closes, and takes no more", async () => {
    const house = new KcptunHouse();
    const stream = await house.open();
    await turns();
    const closing = house.server.close(10_000);
    const late = await house.open();
    await turns();
    house.clock.advance(100);
    await turns();
    assert.deepEqual(endsOf(late), ["close ERR_STREAM_RESET"]);
    stream.connection.write([Buffer.from("last")]);
    stream.connection.finish();
    await turns(20);
    house.clock.advance(100);
    await turns(20);
    house.clock.advance(100);
    await closing;
    assert.equal(stream.text, "last");
    assert.deepEqual(endsOf(stream), ["end", "close"]);
    const refused = serve(house);
    await turns();
    assert.deepEqual(refused.events, ["close ERR_SHUTDOWN"]);
  });
});

/** One question and its answer over a wire that breaks, and then a stream on the next tunnel. */
async function play(
  cut: KcptunHouse["cut"],
  question: Buffer,
): Promise<{
  readonly ends: readonly string[];
  readonly text: string;
  readonly states: string;
  readonly pending: number;
  readonly bytes: Readonly<Record<"up" | "down", number>>;
}> {
  const house = new KcptunHouse();
  house.cut = cut;
  let stream: TestClient | undefined;
  void house.open().then(
    (opened) => {
      stream = opened;
      opened.connection.write([Buffer.from(question)]);
      opened.connection.finish();
    },
    () => undefined,
  );
  await turns(4);
  house.cut = undefined;
  await house.pass(500);
  const states = house.client.status().state;
  const bytes = house.links[0]?.bytes ?? { up: 0, down: 0 };
  const seen = { up: bytes.up, down: bytes.down };
  await house.client.close(0);
  await house.server.close(0);
  await turns(4);
  house.clock.advance(30_000); // a connection in memory forgets its own close after a while
  const ends = stream === undefined ? ["close ERR_NONE"] : endsOf(stream);
  return { ends, text: stream?.text ?? "", states, pending: house.clock.pending, bytes: seen };
}

function serve(house: KcptunHouse): TestClient {
  const [near, far]: [Connection, Connection] = connectionPair(house.runtime, {
    names: ["near", "192.0.2.9:9"],
  });
  house.server.accept(far);
  return new TestClient(near);
}

const HANDSHAKE = "000000040000000000";
