import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { randomChunks, singleBytes } from "../../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../../test/support/hex.ts";
import type { Recorder } from "../../../../test/support/recorder.ts";
import { turns } from "../../../../test/support/turns.ts";
import { START_UNIX_MS, WebSocksHouse } from "../../../../test/support/websocks-house.ts";
import { NetworkError } from "../../../errors.ts";
import { authorizationOf } from "./authorization.ts";
import { MARKER, PONG } from "./marker.ts";
import { GREETING } from "./socks.ts";
import { encodeRequest } from "./upgrade.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const CONNECT = hex("05 01 00 01 7f 00 00 01 6d 8b");
const SUCCESS = hex("05 00 00 01 00 00 00 00 6d 8b");

describe("a WebSocks server", { timeout: 20_000 }, () => {
  test("understands the whole dialogue in any chunking", async () => {
    const phases = [upgrade(), Buffer.concat([PONG, MARKER, GREETING, CONNECT])];
    const chunkings = fc.sample(fc.infiniteStream(fc.nat(7)), 12);
    const cuts: ((bytes: Uint8Array) => Iterable<Uint8Array>)[] = [
      singleBytes,
      ...chunkings.map((sizes) => (bytes: Uint8Array) => randomChunks(bytes, sizes)),
    ];
    for (const cut of cuts) {
      const house = new WebSocksHouse();
      const client = house.visit();
      for (const phase of phases) {
        for (const chunk of cut(phase)) {
          client.connection.write([chunk]);
          await turns(1);
        }
        await turns();
      }
      const { target } = await house.request();
      assert.deepEqual(target, { network: "tcp", host: "127.0.0.1", port: 28_043 });
      assertBytes(afterHead(client), Buffer.concat([MARKER, hex("05 00")]));
    }
  });

  test("answers each step as soon as it is there", async () => {
    const house = new WebSocksHouse();
    const client = await upgraded(house);
    for (const [said, answered] of [
      [MARKER, MARKER],
      [GREETING, hex("05 00")],
      [CONNECT, hex("")],
    ] as const) {
      const before = client.byteLength;
      client.connection.write([said.slice()]);
      await turns();
      assertBytes(client.bytes.subarray(before), answered);
    }
    (await house.request()).accept();
    await turns();
    assertBytes(client.bytes.subarray(-10), SUCCESS);
  });

  test("keeps what comes behind the request, where the original loses it", async () => {
    const house = new WebSocksHouse();
    const client = await upgraded(house);
    client.connection.write([Buffer.concat([MARKER, GREETING, CONNECT, Buffer.from("early")])]);
    const stream = (await house.request()).accept();
    let heard = "";
    stream.attach({
      onData: (chunk) => void (heard += Buffer.from(chunk).toString()),
      onEnd: () => {},
      onDrain: () => {},
      onClose: () => {},
    });
    stream.resume();
    await turns();
    assert.equal(heard, "early");
    assertBytes(client.bytes.subarray(-10), SUCCESS);
  });

  test("answers what it cannot do like the original, and closes", async () => {
    for (const [said, answered] of [
      ["04 01 00", "05 ff"],
      ["05 01 02", "05 ff"],
      ["05 00", "05 ff"],
      ["05 01 00 05 02 00 01 7f000001 0050", "05 00 05 07 00 01 00000000 0000"],
      ["05 01 00 05 01 00 02 7f000001 0050", "05 00 05 08 00 01 00000000 0000"],
      ["05 01 00 05 01 00 03 00 0050", "05 00 05 02 00 01 00000000 0050"],
    ] as const) {
      const house = new WebSocksHouse();
      const client = await upgraded(house);
      client.connection.write([Buffer.concat([MARKER, hex(said)])]);
      await client.ended();
      assertBytes(afterHead(client), Buffer.concat([MARKER, hex(answered)]));
      assert.match(house.serverLogs.text, /warn vproxy handshake failed.*"phase":"socks/);
    }
  });

  test("answers a target's failure with its code and the port, and closes", async () => {
    for (const [code, reply] of [
      ["ERR_DIAL_REFUSED", 5],
      ["ERR_DIAL_HOST_UNREACHABLE", 4],
      ["ERR_DIAL_NETWORK_UNREACHABLE", 3],
      ["ERR_DNS", 2],
    ] as const) {
      const house = new WebSocksHouse();
      const client = await upgraded(house);
      client.connection.write([Buffer.concat([MARKER, GREETING, CONNECT])]);
      (await house.request()).reject(new NetworkError(code, "no"));
      await client.ended();
      const expected = SUCCESS.slice();
      expected[1] = reply;
      assertBytes(client.bytes.subarray(-10), expected);
    }
  });

  test("refuses requests by the order of the original, and closes", async () => {
    const right = upgrade().toString();
    for (const [request, status, text] of [
      [right.replace("GET", "POST"), "400 Bad Request", "unsupported http method POST"],
      [right.replace("websocket", "h2c"), "400 Bad Request", "upgrading related headers"],
      [`${right}x`, "400 Bad Request", "should not contain a body"],
      [right.replace(/Authorization.*\r\n/, ""), "401 Unauthorized", "auth failed"],
      [right.replace("socks5", "chat"), "400 Bad Request", "no supported protocol"],
      ["GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "bad request"],
      ["GET /tools/resolve?domain=a HTTP/1.1\r\n\r\n", "400 Bad Request", "bad request"],
      ["\x16\x03\x01\x00\x05\x01", "400 Bad Request", "bad request"],
      ["nonsense\r\n", "400 Bad Request", "bad request"],
    ] as const) {
      const house = new WebSocksHouse();
      const client = house.visit();
      client.connection.write([Buffer.from(request, "latin1")]);
      await client.ended();
      assert.ok(
        client.text.startsWith(`HTTP/1.1 ${status}\r\nDate: Fri, 20 Nov 2026`),
        client.text,
      );
      assert.ok(client.text.includes(text), client.text);
      assert.equal(/WWW-Authenticate: Basic\r\n/.test(client.text), status.startsWith("401"));
      assert.match(client.text, /Connection: close\r\n/);
    }
  });

  test("says nothing loud about health checks", async () => {
    const house = new WebSocksHouse();
    const ended = house.visit();
    ended.connection.finish();
    await ended.closed();
    const reset = house.visit();
    reset.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "RST"));
    await turns();
    assert.doesNotMatch(house.serverLogs.text, /warn|error/);
    assert.equal(house.clock.pending, 0);
  });

  test("says nothing loud about pages and pooled connections that end", async () => {
    const house = new WebSocksHouse();
    const page = house.visit();
    page.connection.write([Buffer.from("GET / HTTP/1.1\r\nHost: h\r\n\r\n")]);
    await page.ended();
    const pooled = await upgraded(house);
    pooled.connection.close();
    await turns();
    assert.doesNotMatch(house.serverLogs.text, /warn|error/);
    assert.equal(house.server.waitingCount, 0);
  });
});

describe("a WebSocks server under abuse", { timeout: 20_000 }, () => {
  test("ends who drips its request, or its marker", async () => {
    const house = new WebSocksHouse();
    const slow = house.visit();
    const dripping = await upgraded(house, "192.0.2.8:1");
    const request = upgrade();
    for (let at = 0; at < 12; at++) {
      slow.connection.write([request.subarray(at, at + 1)]);
      // Not a PONG: the marker has begun, and time runs.
      dripping.connection.write([MARKER.slice(at % 10, (at % 10) + 1)]);
      if (at === 9) assert.deepEqual(slow.events, []);
      await house.passTime(1_000, 500);
    }
    await slow.ended();
    assert.equal(slow.text, "");
    const stuck = await upgraded(house, "192.0.2.9:1");
    stuck.connection.write([hex("82 7f")]);
    await house.passTime(10_500, 500);
    await stuck.ended();
    assert.match(house.serverLogs.text, /request from .* not complete within/);
    assert.match(house.serverLogs.text, /marker from .* not complete within/);
  });

  test("ends an upgraded connection that says nothing for long, and none that says PONG", async () => {
    const house = new WebSocksHouse({}, { waitingTimeoutMs: 30_000 });
    const silent = await upgraded(house);
    const alive = await upgraded(house, "192.0.2.8:1");
    for (let ms = 0; ms < 120_000; ms += 15_000) {
      alive.connection.write([PONG.slice()]);
      await house.passTime(15_000, 5_000);
    }
    assert.ok(silent.events.includes("end"));
    assert.deepEqual(alive.events, []);
    assert.equal(house.server.waitingCount, 1);
  });

  test("refuses huge heads before it has read them", async () => {
    for (const head of [
      `GET /${"a".repeat(20_000)}`,
      `GET / HTTP/1.1\r\nA: ${"a".repeat(20_000)}`,
      `GET / HTTP/1.1\r\n${"A: b\r\n".repeat(200)}`,
    ]) {
      const house = new WebSocksHouse();
      const client = house.visit();
      client.connection.write([Buffer.from(head)]);
      await client.ended();
      assert.match(client.text, /^HTTP\/1\.1 400 /);
    }
  });

  test("takes no garbage for a request, and survives it", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        fc.constantFrom("fresh", "upgraded", "asking"),
        async (bytes, where) => {
          const house = new WebSocksHouse();
          const client = where === "fresh" ? house.visit() : await upgraded(house);
          if (where === "asking") client.connection.write([MARKER.slice()]);
          client.connection.write([bytes]);
          client.connection.finish();
          await turns(10);
          for (const request of house.requests) request.reject(new NetworkError("ERR_CLOSED", "x"));
          await house.passTime(11_000, 5_500);
          await client.closed();
          assert.equal(house.server.waitingCount, 0);
          house.clock.advance(10_000);
          assert.equal(house.clock.pending, 0);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("counts wrong logins, and then does not even look", async () => {
    let failures = 0;
    const guard = {
      blockedForMs: () => (failures >= 3 ? 1_500 : 0),
      recordFailure: () => void failures++,
    };
    const house = new WebSocksHouse({}, { guard });
    for (const [user, password] of [
      ["alice", "wrong"],
      ["carol", "pasSw0rD"],
      ["alice", ""],
    ] as const) {
      const client = house.visit();
      client.connection.write([upgrade({ user, password })]);
      await client.ended();
      assert.match(client.text, /^HTTP\/1\.1 401 /);
    }
    const right = house.visit();
    right.connection.write([upgrade()]);
    await right.ended();
    assert.match(right.text, /^HTTP\/1\.1 429 [^]*Retry-After: 2\r\n/);
    assert.doesNotMatch(house.serverLogs.text, /pasSw0rD|wrong"/);
  });

  test("takes a header again from its source, and not from another after its minute", async () => {
    const house = new WebSocksHouse();
    const recorded = upgrade();
    for (const [passMs, peer, status] of [
      [0, "192.0.2.7:1", 101],
      [20_000, "192.0.2.7:2", 101],
      [20_000, "192.0.2.8:1", 101],
      [25_000, "198.51.100.1:1", 401],
      [0, "192.0.2.7:3", 101],
      // Half a minute was over when it was made.
      [24_000, "192.0.2.7:4", 101],
      [2_000, "192.0.2.7:5", 401],
    ] as const) {
      house.clock.advance(passMs);
      const client = house.visit(peer);
      client.connection.write([Uint8Array.from(recorded)]);
      await turns();
      assert.ok(client.text.startsWith(`HTTP/1.1 ${status} `), `${peer} at ${house.clock.now()}`);
    }
  });

  test("holds a bounded number of handshakes and of connections that wait", async () => {
    const house = new WebSocksHouse({}, { maxHandshakes: 10, maxWaiting: 5 });
    const strangers = Array.from({ length: 40 }, (_, at) => house.visit(`192.0.2.7:${at + 1}`));
    await turns();
    assert.equal(strangers.filter(({ events }) => events.length === 0).length, 10);
    const users: Recorder[] = [];
    for (let at = 0; at < 12; at++) users.push(await upgraded(house, `192.0.2.9:${at + 1}`));
    await turns();
    assert.equal(house.server.waitingCount, 5);
    assert.equal(users.filter(({ events }) => events.length === 0).length, 5);
  });
});

describe("a WebSocks server that closes", { timeout: 20_000 }, () => {
  test("ends handshakes and what waits at once, streams after the grace", async () => {
    const house = new WebSocksHouse({ pool: { size: 1 } });
    const stranger = house.visit();
    const waiting = await upgraded(house);
    const { app } = await house.stream();
    const closing = house.server.close(1_000);
    await stranger.ended();
    await waiting.ended();
    assert.deepEqual(app.events, []);
    const late = house.visit();
    await late.closed();
    assert.equal(late.closeError?.code, "ERR_SHUTDOWN");
    await house.passTime(1_100);
    await closing;
    await app.closed();
    assert.equal(house.server.streamCount, 0);
  });
});

function upgrade({ user = "alice", password = "pasSw0rD" } = {}): Buffer {
  const authorization = authorizationOf(user, password, START_UNIX_MS);
  return Buffer.from(encodeRequest({ host: "h", port: 443, key: KEY, authorization }));
}

/** Behind the 101, which is in what it heard. */
async function upgraded(house: WebSocksHouse, peer = "192.0.2.7:5000"): Promise<Recorder> {
  const client = house.visit(peer);
  const authorization = authorizationOf("alice", "pasSw0rD", house.unixMs);
  client.connection.write([encodeRequest({ host: "h", port: 443, key: KEY, authorization })]);
  await client.until(() => client.text.endsWith("\r\n\r\n"));
  await turns(2);
  return client;
}

function afterHead(client: Recorder): Uint8Array {
  const { bytes } = client;
  return bytes.subarray(Buffer.from(bytes).indexOf("\r\n\r\n") + 4);
}
