import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { describe, test } from "node:test";
import { ManualClock } from "../../clock/manual-clock.ts";
import { TunnelError } from "../../errors.ts";
import { AckDebt, watchPeer } from "./peer-watch.ts";
import { readTcpInfo, type TcpInfo } from "./tcp-info.ts";

const TIMEOUT_MS = 10_000;

describe("AckDebt", () => {
  // Each look: time, whether something is owed, age of the last acknowledgement, verdict.
  type Look = readonly [now: number, isOwed: boolean, lastAckMs: number, isOverdue: boolean];
  const cases: Readonly<Record<string, readonly Look[]>> = {
    "gives up when nothing is acknowledged for the whole timeout": [
      [0, true, 500, false],
      [5000, true, 5500, false],
      [9999, true, 10_499, false],
      [10_000, true, 10_500, true],
    ],
    "starts again with each acknowledgement": [
      [0, true, 10, false],
      [5000, true, 100, false],
      [10_000, true, 5100, false],
      [15_000, true, 10_100, true],
    ],
    "does not count silence before the data": [
      [0, false, 3_600_000, false],
      [5000, true, 3_605_000, false],
      [10_000, true, 3_610_000, false],
      [15_000, true, 3_615_000, true],
    ],
    "forgives when nothing is owed any more": [
      [0, true, 10, false],
      [9000, false, 8000, false],
      [10_000, true, 9000, false],
      [19_000, true, 18_000, false],
    ],
    "takes a closed window that answers probes for alive": [
      [0, true, 3000, false],
      [5000, false, 4000, false],
      [10_000, true, 9000, false],
      [15_000, true, 2000, false],
    ],
  };
  for (const [name, looks] of Object.entries(cases)) {
    test(name, () => {
      const debt = new AckDebt(TIMEOUT_MS);
      for (const [now, isOwed, lastAckMs, isOverdue] of looks)
        assert.equal(debt.isOverdue({ isOwed, lastAckMs }, now), isOverdue, `at ${now}`);
    });
  }
});

describe("watchPeer", () => {
  test("says once that the peer owes too long, within one and a half timeouts", async () => {
    await using pair = await socketPair();
    const clock = new ManualClock();
    const errors: TunnelError[] = [];
    const read = (): TcpInfo => ({ isOwed: true, lastAckMs: clock.now() });
    const options = { clock, keepaliveMs: 0, ackTimeoutMs: TIMEOUT_MS, read };
    watchPeer(pair.client, options, (error) => errors.push(error));
    clock.advance(1.5 * TIMEOUT_MS);
    assert.deepEqual(
      errors.map(({ code, message }) => [code, message]),
      [["ERR_PEER_SILENT", "127.0.0.1 acknowledged nothing for 10000 ms with data on its way"]],
    );
    assert.equal(clock.next, undefined);
  });

  test("stops looking when the socket closes", async () => {
    await using pair = await socketPair();
    const clock = new ManualClock();
    const read = (): TcpInfo => ({ isOwed: false, lastAckMs: 0 });
    watchPeer(pair.client, { clock, keepaliveMs: 0, ackTimeoutMs: 1000, read }, nobodyDies);
    assert.equal(clock.next, 500);
    pair.client.destroy();
    await once(pair.client, "close");
    assert.equal(clock.next, undefined);
  });

  test("watches nothing where the kernel does not tell", async () => {
    await using pair = await socketPair();
    const clock = new ManualClock();
    const options = { clock, keepaliveMs: 0, ackTimeoutMs: 1000, read: () => undefined };
    watchPeer(pair.client, options, nobodyDies);
    assert.equal(clock.next, undefined);
  });
});

describe("readTcpInfo", { skip: process.platform === "linux" ? false : "Linux only" }, () => {
  test("knows the age of the last acknowledgement and that nothing is owed", async () => {
    await using pair = await socketPair();
    const info = readTcpInfo(pair.client);
    assert.ok(info !== undefined, "koffi or Node's internals changed");
    assert.equal(info.isOwed, false);
    assert.ok(info.lastAckMs < 60_000, `${info.lastAckMs}`);
  });

  test("knows nothing of a closed socket", async () => {
    await using pair = await socketPair();
    pair.client.destroy();
    await once(pair.client, "close");
    assert.equal(readTcpInfo(pair.client), undefined);
  });
});

function nobodyDies(error: TunnelError): never {
  throw error;
}

async function socketPair(): Promise<{ readonly client: net.Socket } & AsyncDisposable> {
  const server = net.createServer((socket) => void socket.on("error", () => {}).resume());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const client = net.connect(address.port, "127.0.0.1");
  await once(client, "connect");
  return {
    client,
    [Symbol.asyncDispose]: async () => {
      client.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
