import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertBytes, hex } from "../../../../test/support/hex.ts";
import { Recorder } from "../../../../test/support/recorder.ts";
import { turns } from "../../../../test/support/turns.ts";
import { WebSocksHouse } from "../../../../test/support/websocks-house.ts";
import { NetworkError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";

const REFUSED = new NetworkError("ERR_DIAL_REFUSED", "refused", { hint: "look" });

describe("a WebSocks client's pool", { timeout: 20_000 }, () => {
  test("is filled at the start, one after the other", async () => {
    const house = new WebSocksHouse();
    assert.equal(house.client.status().state, "idle");
    house.client.start();
    assert.equal(house.client.status().state, "connecting");
    await turns(60);
    assert.equal(house.mostDialling, 1);
    assert.deepEqual(
      { ...house.client.status(), latencyMs: 0 },
      { state: "up", detail: "vproxy+memory", latencyMs: 0, links: 4, streams: 0 },
    );
    assert.equal(house.server.waitingCount, 4);
  });

  test("is not there when its size is 0", async () => {
    const house = new WebSocksHouse({ pool: { size: 0 } });
    house.client.start();
    await turns(20);
    assert.equal(house.carriers.length, 0);
    await house.stream();
    await turns(20);
    assert.equal(house.carriers.length, 1);
    assert.equal(house.client.status().state, "up");
  });

  test("replaces what is used", async () => {
    const house = new WebSocksHouse({ pool: { size: 2 } });
    house.client.start();
    await turns(30);
    await house.stream();
    await turns(30);
    assert.equal(house.carriers.length, 3);
    assert.deepEqual({ ...house.client.status(), latencyMs: 0 }, { ...UP, links: 3, streams: 1 });
  });

  test("opens in one round trip: nothing is asked before", async () => {
    const house = new WebSocksHouse({ pool: { size: 1 } });
    house.client.start();
    await turns(30);
    house.isSilent = true;
    const opening = house.open();
    (await house.request()).accept();
    await opening;
  });

  test("hands out the youngest", async () => {
    const house = new WebSocksHouse({ pool: { size: 3 } });
    house.client.start();
    await turns(40);
    const { request } = await house.stream();
    assert.equal(request.metadata.source, "192.0.2.1:10002");
  });

  test("upgrades as many at a time as streams wait, up to its limit", async () => {
    const house = new WebSocksHouse({ pool: { size: 1, maxDialling: 8 } });
    const openings = Array.from({ length: 30 }, () => house.open());
    for (let count = 0; count < 30; count++) (await house.request()).accept();
    await Promise.all(openings);
    await turns(20);
    assert.equal(house.mostDialling, 8);
    assert.equal(house.carriers.length, 31);
  });

  test("says that it lives every 15 s", async () => {
    const house = new WebSocksHouse({ pool: { size: 1 } }, { waitingTimeoutMs: 20_000 });
    house.client.start();
    await turns(20);
    await house.passTime(120_000, 1_000);
    assert.equal(house.carriers.length, 1, "the server kept it");
    assert.equal(house.server.waitingCount, 1);
    await house.stream();
  });

  test("notices what the server ended, and replaces it", async () => {
    const house = new WebSocksHouse({ pool: { size: 2 } });
    house.client.start();
    await turns(30);
    await house.passTime(5_000, 1_000);
    for (const [, far] of house.carriers.slice(0, 2)) far.close();
    await turns();
    assert.equal(house.client.status().links, 0);
    assert.equal(house.client.status().state, "up");
    assert.equal(house.carriers.length, 2, "not all clients at once");
    await house.passTime(200);
    await turns(20);
    assert.equal(house.carriers.length, 4);
    assert.equal(house.client.status().links, 2);
  });

  test("does not make who opens wait for that", async () => {
    const house = new WebSocksHouse({ pool: { size: 1 } });
    house.client.start();
    await turns(20);
    await house.passTime(5_000, 1_000);
    house.carriers[0]?.[1].close();
    await turns();
    await house.stream();
  });

  test("replaces more and more rarely what the server ends at once", async () => {
    const house = new WebSocksHouse({ pool: { size: 1 } });
    house.client.start();
    let ended = 0;
    for (let ms = 0; ms < 60_000; ms += 50) {
      await house.passTime(50);
      for (const [, far] of house.carriers.slice(ended)) {
        ended++;
        far.close();
      }
    }
    assert.ok(ended >= 4 && ended <= 12, `${ended} carriers in a minute`);
  });

  test("replaces what is too old", async () => {
    const house = new WebSocksHouse({ pool: { size: 1, maxAgeMs: 60_000 } });
    house.client.start();
    await turns(20);
    await house.passTime(61_000, 1_000);
    assert.equal(house.carriers.length, 2);
    assert.equal(house.client.status().links, 1);
    assert.equal(house.server.waitingCount, 1);
  });

  test("hands out nothing that slept together with the machine", async () => {
    let sleptMs = 0;
    const house: WebSocksHouse = new WebSocksHouse(
      { pool: { size: 1 }, unixMs: () => house.unixMs + sleptMs },
      { unixMs: () => house.unixMs + sleptMs },
    );
    house.client.start();
    await turns(20);
    sleptMs = 3_600_000;
    await house.stream();
    await turns(20);
    assert.equal(house.carriers.length, 3, "a fresh one, and its pool");
    assert.equal(house.server.waitingCount, 1);
  });

  test("drops a connection on which the server spoke out of turn", async () => {
    const house = new WebSocksHouse({ pool: { size: 1 } });
    house.client.start();
    await turns(20);
    await house.passTime(4_000, 1_000);
    house.carriers[0]?.[1].write([hex("89 00")]);
    await house.passTime(500);
    assert.equal(house.carriers.length, 2);
    assert.match(house.clientLogs.text, /spoke on a connection that waits/);
  });

  test("asks again on a fresh connection when one that waited is dead", async () => {
    const house = new WebSocksHouse({ pool: { size: 2 } });
    house.client.start();
    await turns(30);
    assert.equal(house.client.status().links, 2);
    await house.passTime(1_000);
    // Cut somewhere on the way, without anybody having been told.
    for (const [near] of house.carriers) blackHole(near);
    const opening = house.open();
    await turns(10);
    assert.equal(house.requests.length, 0);
    await house.passTime(5_000, 500);
    (await house.request()).accept();
    await opening;
    await turns(20);
    assert.equal(house.client.status().links, 3);
    // Two dead ones, one in place of the first, and two for the pool: the second was not kept.
    assert.equal(house.carriers.length, 5);
  });

  test("asks again when the server ends it in the very moment", async () => {
    const house = new WebSocksHouse({ pool: { size: 1 } });
    house.client.start();
    await turns(20);
    const opening = house.open();
    house.carriers[0]?.[1].close();
    (await house.request()).accept();
    await opening;
  });

  test("does not ask a third time", async () => {
    const house = new WebSocksHouse({ pool: { size: 1 } });
    house.client.start();
    await turns(20);
    const failed = assert.rejects(house.open(), { code: "ERR_TUNNEL_LOST" });
    for (let turn = 0; turn < 40; turn++) {
      for (const [, far] of house.carriers.slice(0, 2))
        if (turn > 10 || far === house.carriers[0]?.[1]) far.close();
      await turns(1);
    }
    await house.passTime(6_000, 500);
    await failed;
  });
});

describe("a WebSocks client whose server is away", { timeout: 20_000 }, () => {
  test("tries again with full jitter, ever more rarely, and comes back", async () => {
    const house = new WebSocksHouse();
    house.fails = REFUSED;
    house.client.start();
    const waits: number[] = [];
    for (const chance of [0.5, 0.5, 0, 0.5, 0.5, 0.5, 0.5, 0.5]) {
      house.random = chance;
      await turns(8);
      const before = house.clock.now();
      waits.push((house.clock.next ?? 0) - before);
      house.clock.advance((house.clock.next ?? 0) - before);
    }
    assert.deepEqual(waits, [125, 250, 25, 1_000, 2_000, 4_000, 8_000, 15_000]);
    assert.equal(house.mostDialling, 1);
    assert.match(house.clientLogs.text, /tunnel down.*"reason":"refused".*"hint":"look"/);
    house.fails = undefined;
    await house.passTime(16_000, 500);
    assert.equal(house.client.status().state, "up");
    const states = house.states.filter((state, at) => state !== house.states[at - 1]);
    assert.deepEqual(states, ["connecting", "down", "up"]);
  });

  test("lets an open wait, and fails it with reason and hint", async () => {
    const house = new WebSocksHouse();
    house.fails = REFUSED;
    const failed = assert.rejects(house.open(), {
      code: "ERR_TUNNEL_DOWN",
      message: "test: no connection for example.com:80 within 5000 ms: refused",
      hint: "look",
    });
    await house.passTime(5_000);
    await failed;
    assert.ok(house.mostDialling === 1);
  });

  test("is idle, not down, when it will not dial by itself", async () => {
    const house = new WebSocksHouse({ pool: { size: 0 } });
    house.fails = REFUSED;
    const failed = assert.rejects(house.open(), { code: "ERR_TUNNEL_DOWN" });
    await house.passTime(5_000);
    await failed;
    await house.passTime(30_000);
    assert.equal(house.states.at(-1), "idle");
    assert.equal(house.client.status().detail, "dials when needed; last time: refused");
  });

  test("serves who waited when it is back", async () => {
    const house = new WebSocksHouse();
    house.fails = REFUSED;
    const opening = house.open();
    await house.passTime(200);
    house.fails = undefined;
    await house.passTime(1_000);
    (await house.request()).accept();
    await opening;
  });

  test("gives a silent carrier up, and says how long it waited", async () => {
    const house = new WebSocksHouse({ pool: { dialTimeoutMs: 2_000 } });
    house.isSilent = true;
    house.client.start();
    await house.passTime(2_100);
    const { state, detail } = house.client.status();
    assert.equal(state, "down");
    assert.equal(detail, "vproxy+memory: not up within 2000 ms");
  });

  test("explains a server that is none", async () => {
    for (const [answer, words] of [
      ["HTTP/1.1 404 Not Found\r\n\r\n", /HTTP 404/],
      ["SSH-2.0-OpenSSH_9.2\r\n", /no answer to the upgrade: first line is not HTTP/],
      ["\x15\x03\x01", /no answer to the upgrade: does not speak HTTP/],
      ["", /no answer to the upgrade/],
    ] as const) {
      const house = new WebSocksHouse();
      house.isSilent = true;
      house.client.start();
      await turns(5);
      house.carriers[0]?.[1].write([Buffer.from(answer, "latin1")]);
      house.carriers[0]?.[1].close();
      await turns(10);
      assert.match(house.client.status().detail, words);
      assert.match(house.clientLogs.text, /"hint":"[^"]+"/);
    }
  });
});

describe("a WebSocks client that is refused", { timeout: 20_000 }, () => {
  test("gives up for good when the clocks agree", async () => {
    const house = new WebSocksHouse({ password: "wrong" });
    const failed = assert.rejects(house.open(), {
      code: "ERR_REFUSED_FOR_GOOD",
      hint: "check user and password on both sides; the clocks agree",
    });
    await failed;
    assert.equal(house.refusals.length, 1);
    assert.equal(house.client.status().state, "down");
    await assert.rejects(house.open(), { code: "ERR_REFUSED_FOR_GOOD" });
    await house.passTime(60_000, 5_000);
    assert.equal(house.carriers.length, 1);
    assert.equal(house.clock.pending, 0);
  });

  test("goes on trying when the clocks differ, and comes back once they agree", async () => {
    const house = new WebSocksHouse();
    house.clientAheadMs = 10 * 60_000;
    house.client.start();
    await house.passTime(2_000);
    assert.ok(house.carriers.length > 1);
    assert.match(house.client.status().detail, /our clock is (?:10 min|9 min 59)/);
    house.clientAheadMs = 0;
    await house.passTime(10_000, 500);
    assert.equal(house.client.status().state, "up");
    assert.deepEqual(house.refusals, []);
  });

  test("waits when the server's guard blocks it", async () => {
    const guard = { blockedForMs: () => 5_000, recordFailure: () => {} };
    const house = new WebSocksHouse({}, { guard });
    house.client.start();
    await turns(20);
    assert.match(house.client.status().detail, /HTTP 429/);
    assert.deepEqual(house.refusals, []);
  });
});

describe("a WebSocks client that closes", { timeout: 20_000 }, () => {
  test("ends what waits, lets streams finish, and opens nothing more", async () => {
    const house = new WebSocksHouse({ pool: { size: 2 } });
    house.client.start();
    const { app, target } = await house.stream();
    await turns(30);
    const closing = house.client.close(10_000);
    await turns();
    assert.equal(house.client.status().state, "closed");
    assert.equal(house.server.waitingCount, 0);
    await assert.rejects(house.open(), { code: "ERR_SHUTDOWN" });
    assert.deepEqual(app.events, []);
    app.connection.close();
    target.connection.close();
    await house.passTime(200);
    await closing;
    assert.equal(app.closeError, undefined);
  });

  test("ends streams hard after the grace, and opens that wait at once", async () => {
    const house = new WebSocksHouse();
    const { app } = await house.stream();
    const failed = assert.rejects(house.open(), { code: "ERR_SHUTDOWN" });
    const closing = house.client.close(1_000);
    await failed;
    await house.passTime(1_100);
    await closing;
    await app.closed();
    assert.equal(app.closeError?.code, "ERR_SHUTDOWN");
  });
});

describe("what a WebSocks client sends", { timeout: 20_000 }, () => {
  test("is one write for marker, greeting and request, and nothing behind before the reply", async () => {
    const house = new WebSocksHouse({ pool: { size: 0 } });
    house.isSilent = true;
    const opening = house.open({ network: "tcp", host: "127.0.0.1", port: 20_080 });
    await turns(4);
    const server = new Recorder(house.carriers[0]?.[1] ?? assert.fail());
    server.connection.resume();
    await server.until(() => server.text.endsWith("\r\n\r\n"));
    const key = /Sec-WebSocket-Key: (\S+)/.exec(server.text)?.[1] ?? "";
    const { acceptOf } = await import("./upgrade.ts");
    server.connection.write([
      Buffer.from(
        `HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-Websocket-Accept: ${acceptOf(key)}\r\n\r\n`,
      ),
    ]);
    server.chunks.length = 0;
    await turns(10);
    assert.equal(server.chunks.length, 1);
    assertBytes(server.bytes, hex("827f7fffffffffffffff 050100 050100017f0000014e70"));
    // Answers joined with the first words of the target.
    server.connection.write([
      Buffer.concat([hex("827f7fffffffffffffff 0500 05000001000000004e70"), Buffer.from("220")]),
    ]);
    const app = new Recorder(await opening);
    app.connection.resume();
    await app.received(3);
    assert.equal(app.text, "220");
  });
});

/** From now on the other end hears nothing of what is written, and nobody is told. */
function blackHole(connection: Connection): void {
  connection.write = () => true;
}

const UP = { state: "up", detail: "vproxy+memory", latencyMs: 0 };
