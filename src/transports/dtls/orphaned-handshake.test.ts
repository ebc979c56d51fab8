import assert from "node:assert/strict";
import { test } from "node:test";
import { VECTOR_CLIENT, VECTOR_SERVER } from "../../../test/support/dtls-ends.ts";
import { manualRuntime } from "../../../test/support/test-client.ts";
import { UdpNetwork } from "../../../test/support/udp-network.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { TunnelError } from "../../errors.ts";
import { DtlsClientSession } from "./client-session.ts";
import { listenDtls } from "./listen.ts";

const HERE = { host: "192.0.2.9", port: 700 };
const CLIENT = { host: "192.0.2.1", port: 5_000 };

async function listen() {
  const runtime = manualRuntime();
  const network = new UdpNetwork(runtime.clock);
  const how = { at: HERE, runtime, dtls: VECTOR_SERVER, bindUdp: network.bindUdp };
  await listenDtls({ ...how, onConnection: () => assert.fail("nobody finished") });
  /** Brings datagrams in, and takes what is said to them. */
  const ask = (datagrams: readonly Uint8Array[], from: HostPort = CLIENT): Uint8Array[] => {
    const before = network.sent.length;
    for (const datagram of datagrams) network.inject(Uint8Array.from(datagram), from, HERE);
    return network.sent.slice(before).map(({ data }) => data);
  };
  return { runtime, ask };
}

/** A client that has just sent its last flight. */
function lastFlight({ ask }: Awaited<ReturnType<typeof listen>>) {
  const session = new DtlsClientSession(VECTOR_CLIENT, 0);
  let datagrams = session.start(0).datagrams;
  for (let flight = 0; flight < 2; flight++) {
    datagrams = ask(datagrams).flatMap((answer) => session.receive(answer, 0).datagrams);
  }
  return { session, datagrams };
}

test("a last flight for a handshake that nobody knows any more is told so", async () => {
  const house = await listen();
  const { session, datagrams } = lastFlight(house);
  house.runtime.clock.advance(10_000); // the listener gave up
  const answers = house.ask(datagrams);
  assert.deepEqual(
    answers.map((answer) => Buffer.from(answer).toString("hex")),
    ["15fefd00000001000000000002020a"],
  );
  const { end } = session.receive(answers[0] ?? assert.fail(), 5_000);
  assert.ok(end instanceof TunnelError);
  assert.match(end.message, /unexpected message/);
});

test("nothing else of nobody's is answered", async () => {
  const house = await listen();
  const { datagrams } = lastFlight(house);
  house.runtime.clock.advance(10_000);
  const [flight = assert.fail()] = datagrams;
  for (const [at, value] of [
    [0, 21],
    [0, 23],
    [4, 1],
    [13, 0],
    [13, 14],
    [13, 20],
  ] as const) {
    const other = Uint8Array.from(flight);
    other[at] = value;
    assert.deepEqual(house.ask([other]), []);
  }
  assert.deepEqual(house.ask([flight.subarray(0, 13), new Uint8Array(0)]), []);
});
