import assert from "node:assert/strict";
import { isIP } from "node:net";
import { describe, test } from "node:test";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError, PolicyError } from "../../errors.ts";
import { ExitPolicy } from "../../relay/exit-policy.ts";
import { dialTcp } from "../../transports/tcp/dial.ts";
import { listenTcp } from "../../transports/tcp/listen.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { Metadata } from "../../tunnel/request.ts";
import { type Runtime, systemRuntime } from "../../tunnel/runtime.ts";
import {
  createDirectOutbound,
  type DialTcp,
  type DirectOutboundOptions,
} from "./direct-outbound.ts";

const metadata: Metadata = { inbound: "test", source: "test" };

function manualRuntime(): Runtime & { readonly clock: ManualClock } {
  return { clock: new ManualClock(), random: () => 0.5, slabs: new SlabPool() };
}

/** Records what would really be dialled: the literal, or what the lookup of a name answers. */
function recordingDial(runtime: Runtime): { readonly dial: DialTcp; readonly dialled: string[] } {
  const dialled: string[] = [];
  const dial: DialTcp = async ({ to: { host }, lookup }) => {
    if (isIP(host) !== 0) dialled.push(host);
    else {
      assert.ok(lookup, "a name must never be dialled with the system's resolver");
      lookup(host, { all: true }, (_error, addresses) => {
        assert.ok(Array.isArray(addresses));
        dialled.push(...addresses.map(({ address }) => address));
      });
    }
    return await Promise.resolve(connectionPair(runtime)[0]);
  };
  return { dial, dialled };
}

async function dialOnce(
  host: string,
  options: Partial<DirectOutboundOptions> = {},
): Promise<{ readonly dialled: string[]; readonly error: unknown }> {
  const runtime = options.runtime ?? manualRuntime();
  const { dial, dialled } = recordingDial(runtime);
  const outbound = createDirectOutbound({
    runtime,
    dialTcp: dial,
    policy: new ExitPolicy(),
    ...options,
  });
  const { signal } = new AbortController();
  try {
    await outbound.dial({ network: "tcp", host, port: 80 }, { signal, metadata });
    return { dialled, error: undefined };
  } catch (error) {
    return { dialled, error };
  }
}

function denies(error: unknown, kind: string): void {
  assert.ok(error instanceof PolicyError, String(error));
  assert.equal(error.code, "ERR_POLICY_DENIED");
  assert.match(error.message, new RegExp(`is ${kind}`));
}

describe("direct outbound under the exit policy", () => {
  test("denies loopback in every spelling the system's resolver understands", async () => {
    for (const host of [
      "127.0.0.1",
      "127.1",
      "2130706433",
      "0177.0.0.1",
      "0x7f000001",
      "0x7f.1",
      "017700000001",
      "localhost",
      "LOCALHOST",
      "::1",
      "0:0:0:0:0:0:0:1",
      "::ffff:127.0.0.1",
      "::ffff:7f00:1",
      "64:ff9b::127.0.0.1",
      "2002:7f00:1::",
      "１２７.０.０.１",
    ]) {
      const { dialled, error } = await dialOnce(host, { runtime: systemRuntime() });
      assert.deepEqual(dialled, [], host);
      denies(error, "loopback");
    }
  });

  test("denies unspecified and zoned addresses that resolvers pass through", async () => {
    for (const [host, kind] of [
      ["0", "unspecified"],
      ["0.0.0.0", "unspecified"],
      ["::", "unspecified"],
      ["fe80::1%lo", "link-local"],
      ["::1%lo", "loopback"],
      ["0xa9fea9fe", "cloud metadata"],
    ] as const) {
      const { dialled, error } = await dialOnce(host, { runtime: systemRuntime() });
      assert.deepEqual(dialled, [], host);
      denies(error, kind);
    }
  });

  test("denies a name that resolves to loopback", async () => {
    const lookup = (): Promise<string[]> => Promise.resolve(["127.0.0.1", "::1"]);
    const { dialled, error } = await dialOnce("rebind.example", { lookup });
    assert.deepEqual(dialled, []);
    denies(error, "loopback \\(127.0.0.1\\)");
  });

  test("dials what was checked and asks a rebinding name server only once", async () => {
    const answers = [["93.184.216.34"], ["127.0.0.1"]];
    let asked = 0;
    const lookup = (): Promise<string[]> => Promise.resolve(answers[asked++] ?? []);
    const { dialled } = await dialOnce("rebind.example", { lookup });
    assert.deepEqual(dialled, ["93.184.216.34"]);
    assert.equal(asked, 1);
  });

  test("dials the permitted addresses of a mixed answer", async () => {
    const lookup = (): Promise<string[]> => Promise.resolve(["127.0.0.1", "10.0.0.7", "::1"]);
    const { dialled, error } = await dialOnce("mixed.example", { lookup });
    assert.equal(error, undefined);
    assert.deepEqual(dialled, ["10.0.0.7"]);
  });

  test("judges a name before asking for it", async () => {
    const lookup = (): Promise<string[]> => assert.fail("asked");
    const { error } = await dialOnce("metadata.google.internal", { lookup });
    denies(error, "cloud metadata");
  });
});

describe("direct outbound", () => {
  test("refuses what is no TCP target", async () => {
    const runtime = manualRuntime();
    const { dial, dialled } = recordingDial(runtime);
    const outbound = createDirectOutbound({ runtime, dialTcp: dial });
    const { signal } = new AbortController();
    const cases = [
      [{ network: "udp", host: "10.0.0.1", port: 53 }, "ERR_COMMAND_UNSUPPORTED"],
      [{ network: "tcp", host: "10.0.0.1", port: 0 }, "ERR_ADDRESS_UNSUPPORTED"],
      [{ network: "tcp", host: "a b", port: 1 }, "ERR_ADDRESS_UNSUPPORTED"],
      [{ network: "tcp", host: "127.0.0.1\0.example", port: 1 }, "ERR_ADDRESS_UNSUPPORTED"],
      [{ network: "tcp", host: "x".repeat(254), port: 1 }, "ERR_ADDRESS_UNSUPPORTED"],
    ] as const;
    for (const [target, code] of cases) {
      await assert.rejects(outbound.dial(target, { signal, metadata }), { code });
    }
    assert.deepEqual(dialled, []);
  });

  test("keeps to one IP version when told to", async () => {
    const lookup = (): Promise<string[]> => Promise.resolve(["10.0.0.1", "2001:db8::1"]);
    assert.deepEqual((await dialOnce("x", { lookup, ipVersion: 6 })).dialled, ["2001:db8::1"]);
    assert.deepEqual((await dialOnce("x", { lookup, ipVersion: 4 })).dialled, ["10.0.0.1"]);
    const { error } = await dialOnce("10.0.0.1", { ipVersion: 6 });
    assert.match(String(error), /has no IPv6 address, and only those are dialled/);
  });

  test("reaches a real target by name and names it in errors", async () => {
    const runtime = systemRuntime();
    let accepted: Connection | undefined;
    const listener = await listenTcp(
      { runtime, at: { host: "127.0.0.1", port: 0 } },
      (connection) => {
        accepted = connection;
      },
    );
    const port = Number(/\d+$/.exec(listener.address)?.[0]);
    const lookup = (): Promise<string[]> => Promise.resolve(["::1", "127.0.0.1"]);
    const outbound = createDirectOutbound({ runtime, dialTcp, lookup });
    const { signal } = new AbortController();
    const target = { network: "tcp", host: "name.example", port } as const;
    const connection = await outbound.dial(target, { signal, metadata });
    assert.equal(connection.info.peer, listener.address);
    connection.reset(new NetworkError("ERR_ABORTED", "done"));
    accepted?.reset(new NetworkError("ERR_ABORTED", "done"));
    await listener.close();
    await assert.rejects(outbound.dial(target, { signal, metadata }), {
      code: "ERR_DIAL_REFUSED",
      message: `name.example:${port}: connection refused`,
    });
  });

  test("stops when the client gives up", async () => {
    const runtime = manualRuntime();
    const controller = new AbortController();
    const dial: DialTcp = ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error("stopped")));
      });
    const outbound = createDirectOutbound({ runtime, dialTcp: dial });
    const target = { network: "tcp", host: "10.0.0.1", port: 1 } as const;
    const dialling = outbound.dial(target, { signal: controller.signal, metadata });
    controller.abort(new Error("gone"));
    await assert.rejects(dialling, /stopped/);
    assert.equal(runtime.clock.pending, 0);
  });
});
