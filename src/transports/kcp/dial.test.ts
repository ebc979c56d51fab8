import assert from "node:assert/strict";
import { once } from "node:events";
import { createSocket } from "node:dgram";
import { describe, test } from "node:test";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { Recorder } from "../../../test/support/recorder.ts";
import { manualRuntime } from "../../../test/support/test-client.ts";
import { turns } from "../../../test/support/turns.ts";
import { UdpNetwork } from "../../../test/support/udp-network.ts";
import { systemRuntime } from "../../tunnel/runtime.ts";
import { bindUdp } from "../udp/bind.ts";
import { kcpDialer, type KcpDialOptions } from "./dial.ts";
import { KCP_PROFILES } from "./kcp-options.ts";

const options = KCP_PROFILES.vproxy;

function dialer(more: Partial<KcpDialOptions> = {}) {
  const runtime = manualRuntime();
  const network = new UdpNetwork(runtime.clock);
  const logger = new LogRecorder();
  const made = kcpDialer({
    host: "server.example",
    port: 700,
    runtime,
    options,
    bindUdp: network.bindUdp,
    logger,
    lookup: () => Promise.resolve("192.0.2.9"),
    ...more,
  });
  const { signal } = new AbortController();
  return { runtime, network, logger, made, dial: () => made.dial({ signal }) };
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe("kcp dialer", () => {
  test("resolves the name each time, and gives each connection a socket of its own", async () => {
    const asked: string[] = [];
    const lookup = (host: string): Promise<string> => {
      asked.push(host);
      return Promise.resolve(`192.0.2.${asked.length}`);
    };
    const { made, dial, network } = dialer({ lookup });
    assert.equal(made.description, "kcp://server.example:700");
    const first = await dial();
    const second = await dial();
    assert.deepEqual(asked, ["server.example", "server.example"]);
    assert.deepEqual(
      [first, second].map(({ info: { transport, peer } }) => `${transport} ${peer}`),
      ["kcp 192.0.2.1:700", "kcp 192.0.2.2:700"],
    );
    assert.notEqual(first.info.local, second.info.local);
    assert.equal(network.bound, 2);
    first.close();
    second.close();
    await turns();
    assert.equal(network.bound, 0);
  });

  test("says what is wrong with a name", async () => {
    const unknown = dialer({ lookup: () => Promise.reject(systemError("ENOTFOUND")) });
    await assert.rejects(unknown.dial(), {
      code: "ERR_DNS",
      message: "server.example: name does not resolve",
      hint: "check the spelling",
    });
    const mute = dialer({ lookup: () => Promise.reject(systemError("EAI_AGAIN")) });
    await assert.rejects(mute.dial(), {
      code: "ERR_DNS",
      message: "server.example: name server gave no answer",
    });
  });

  test("waits for a name server for a bounded time", async () => {
    const { dial, runtime } = dialer({ lookup: () => new Promise(() => {}), dnsTimeoutMs: 500 });
    const dialled = assert.rejects(dial(), { code: "ERR_DNS", message: /within 500 ms$/ });
    await turns();
    runtime.clock.advance(500);
    await dialled;
    assert.equal(runtime.clock.pending, 0);
  });

  test("stops when nobody waits any more, while it resolves and while it binds", async () => {
    const reason = new Error("enough");
    const resolving = new AbortController();
    const slow = dialer({ lookup: () => new Promise(() => {}) });
    const first = assert.rejects(slow.made.dial({ signal: resolving.signal }), reason);
    await turns();
    resolving.abort(reason);
    await first;
    await assert.rejects(slow.made.dial({ signal: resolving.signal }), reason);
    const binding = new AbortController();
    const runtime = manualRuntime();
    const network = new UdpNetwork(runtime.clock);
    const late = dialer({
      bindUdp: async (wish) => {
        const socket = await network.bindUdp(wish);
        binding.abort(reason);
        return socket;
      },
    });
    await assert.rejects(late.made.dial({ signal: binding.signal }), reason);
    await turns();
    assert.equal(network.bound, 0);
  });

  test("says once that buffers are small", async () => {
    const runtime = manualRuntime();
    const network = new UdpNetwork(runtime.clock);
    const { dial, logger } = dialer({
      bindUdp: async (wish) => ({
        ...(await network.bindUdp(wish)),
        bufferWarning: `${wish.bufferBytes} bytes are too many`,
      }),
    });
    await dial();
    await dial();
    assert.deepEqual(logger.lines, ["warn 4194304 bytes are too many {}"]);
  });

  test("ends soon when nobody listens", { timeout: 10_000 }, async () => {
    const gone = createSocket("udp4").bind(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = gone.address();
    gone.close();
    const runtime = systemRuntime();
    const { dial } = dialer({ host: "127.0.0.1", port, runtime, bindUdp });
    const near = new Recorder(await dial());
    near.connection.write([Buffer.from("hello")]);
    await near.closed();
    assert.deepEqual(near.events, ["close ERR_DIAL_REFUSED"]);
    assert.match(near.closeError?.message ?? "", /^udp 127\.0\.0\.1:\d+: nobody listens/);
  });
});
