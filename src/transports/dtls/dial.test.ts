import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  DatagramRecorder,
  VECTOR_CLIENT,
  VECTOR_SERVER,
  vectorPem,
} from "../../../test/support/dtls-ends.ts";
import { manualRuntime } from "../../../test/support/test-client.ts";
import { UdpNetwork } from "../../../test/support/udp-network.ts";
import { ConfigError, NetworkError, TunnelError } from "../../errors.ts";
import { systemRuntime } from "../../tunnel/runtime.ts";
import { bindUdp } from "../udp/bind.ts";
import { dialDtls, type DtlsDialOptions } from "./dial.ts";
import { listenDtls } from "./listen.ts";

const TO = { host: "192.0.2.9", port: 700 };

/** A network in memory, and what is left of a dial on it after `ms`. */
function place() {
  const runtime = manualRuntime();
  const network = new UdpNetwork(runtime.clock);
  const dial = async (options: Partial<DtlsDialOptions>, ms = 0): Promise<unknown> => {
    const dialling = dialDtls({
      to: TO,
      runtime,
      bindUdp: network.bindUdp,
      dtls: VECTOR_CLIENT,
      ...options,
    });
    const outcome = dialling.catch((error: unknown) => error);
    await network.pass(ms);
    return await outcome;
  };
  return { runtime, network, dial };
}

function failed(outcome: unknown, code: string, text: RegExp): TunnelError {
  assert.ok(outcome instanceof TunnelError, String(outcome));
  assert.equal(outcome.code, code);
  assert.match(outcome.message, text);
  return outcome;
}

describe("dtls dialer", () => {
  test("gives up when nobody answers, and leaves nothing behind", async () => {
    const { runtime, network, dial } = place();
    const error = failed(
      await dial({ handshakeTimeoutMs: 4_000 }, 4_000),
      "ERR_HANDSHAKE_TIMEOUT",
      /^192\.0\.2\.9:700: dtls handshake not complete within 4000 ms$/,
    );
    assert.match(error.hint ?? "", /speaks DTLS/);
    assert.ok(network.sent.length >= 3, "at 0, 1 and 3 s");
    assert.deepEqual([network.bound, runtime.clock.pending], [0, 0]);
  });

  test("takes the deadline of the DTLS options where it has none of its own", async () => {
    const { dial } = place();
    const dtls = { ...VECTOR_CLIENT, handshakeTimeoutMs: 700 };
    failed(await dial({ dtls }, 700), "ERR_HANDSHAKE_TIMEOUT", /within 700 ms/);
    failed(await dial({}, 10_000), "ERR_HANDSHAKE_TIMEOUT", /within 10000 ms/);
  });

  test("says when the name does not resolve, or the name server is silent", async () => {
    const { runtime, network, dial } = place();
    const to = { host: "agent.invalid", port: 1 };
    const unknown = Object.assign(new Error("no"), { code: "ENOTFOUND" });
    const lookup = () => Promise.reject(unknown);
    const error = failed(await dial({ to, lookup }), "ERR_DNS", /^agent.invalid: name does not/);
    assert.match(error.hint ?? "", /spelling/);
    const broken = () => Promise.reject(new Error("broken"));
    failed(await dial({ to, lookup: broken }), "ERR_DNS", /gave no answer/);
    const silent = () => new Promise<string>(() => {});
    failed(
      await dial({ to, lookup: silent, handshakeTimeoutMs: 100 }, 100),
      "ERR_DNS",
      /^agent.invalid:1: dns: name server gave no answer within 100 ms/,
    );
    assert.deepEqual([network.bound, runtime.clock.pending], [0, 0]);
  });

  test("stops when nobody waits any more, before and during the handshake", async () => {
    const { runtime, network, dial } = place();
    const reason = new NetworkError("ERR_ABORTED", "not wanted");
    assert.equal(await dial({ signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    runtime.clock.schedule(500, () => controller.abort(reason));
    assert.equal(await dial({ signal: controller.signal }, 500), reason);
    assert.deepEqual([network.bound, runtime.clock.pending], [0, 0]);
  });

  test("refuses a server of another CA, of another name, and one that is out of date", async () => {
    const { runtime, network, dial } = place();
    await listenDtls({
      at: TO,
      runtime,
      dtls: VECTOR_SERVER,
      bindUdp: network.bindUdp,
      onConnection: () => assert.fail("nobody gets in"),
    });
    const ca = vectorPem("agent-b", "ca.pem");
    const wrongCa = failed(
      await dial({ dtls: { ...VECTOR_CLIENT, ca } }, 1_000),
      "ERR_TLS",
      /^192\.0\.2\.9:700: dtls handshake: the server's certificate is not signed by our CA/,
    );
    assert.match(wrongCa.hint ?? "", /same CA/);
    const serverName = "other.agent";
    const wrongName = await dial({ dtls: { ...VECTOR_CLIENT, serverName } }, 1_000);
    failed(wrongName, "ERR_TLS", /dtls handshake: .* not for other.agent/);
    const unixMs = () => Date.UTC(2020, 1);
    const tooEarly = await dial({ dtls: { ...VECTOR_CLIENT, unixMs } }, 1_000);
    failed(tooEarly, "ERR_TLS", /dtls handshake: .* not valid before/);
    const wrongPin = await dial({ dtls: { ...VECTOR_CLIENT, pins: ["x"] } }, 1_000);
    failed(wrongPin, "ERR_TLS", /dtls handshake: .* pinned key/);
    assert.equal(network.bound, 1);
    assert.equal(runtime.clock.pending, 0);
  });

  test("refuses to dial with nothing to judge by, before there is a socket", async () => {
    const { network, dial } = place();
    const outcome = await dial({ dtls: { ...VECTOR_CLIENT, ca: undefined } });
    assert.ok(outcome instanceof ConfigError);
    assert.equal(network.bound, 0);
  });

  test("hears at once that nobody listens", async () => {
    const runtime = systemRuntime();
    const free = await bindUdp({ at: { host: "127.0.0.1", port: 0 }, onDatagram: () => {} });
    free.close();
    const to = { host: "127.0.0.1", port: free.local.port };
    await assert.rejects(dialDtls({ to, runtime, bindUdp, dtls: VECTOR_CLIENT }), {
      code: "ERR_DIAL_REFUSED",
    });
  });

  test("sends nothing behind its end", async () => {
    const { runtime, network } = place();
    await listenDtls({
      at: TO,
      runtime,
      dtls: VECTOR_SERVER,
      bindUdp: network.bindUdp,
      onConnection: (connection) => connection.attach({ onDatagram() {}, onClose() {} }),
    });
    const dialling = dialDtls({
      to: TO,
      runtime,
      bindUdp: network.bindUdp,
      dtls: VECTOR_CLIENT,
    });
    await network.pass(500);
    const client = new DatagramRecorder(await dialling);
    client.connection.close(new NetworkError("ERR_IDLE_TIMEOUT", "nothing happened"));
    client.say("late");
    assert.deepEqual(client.events, ["close ERR_IDLE_TIMEOUT"]);
    assert.equal(client.connection.dropped, 1);
    await network.pass(500);
    assert.equal(network.bound, 1);
  });
});
