import assert from "node:assert/strict";
import dgram from "node:dgram";
import { describe, test } from "node:test";
import { lowPort } from "../../../test/support/low-port.ts";
import { startUdpEcho } from "../../../test/support/linksocks-traffic.ts";
import type { Target } from "../../address/target.ts";
import { PolicyError, type TunnelError } from "../../errors.ts";
import { dialTcp } from "../../transports/tcp/dial.ts";
import { bindUdp } from "../../transports/udp/bind.ts";
import type { Packet, PacketChannel } from "../../tunnel/packets.ts";
import { systemRuntime } from "../../tunnel/runtime.ts";
import { createDirectOutbound } from "./direct-outbound.ts";

describe("a direct association with one target", { timeout: 20_000 }, () => {
  test("carries datagrams there and back, under the name that was asked for", async () => {
    await using echo = await startUdpEcho();
    const channel = await open({ network: "udp", host: "localhost", port: echo.port });
    const heard = Promise.withResolvers<Packet>();
    channel.attach({ onPacket: heard.resolve, onClose: () => {} });
    channel.send({ host: "localhost", port: echo.port, data: Buffer.from("hello") });
    const { host, port, data } = await heard.promise;
    assert.deepEqual([host, port, String(data)], ["localhost", echo.port, "hello"]);
    channel.close();
  });

  test("hears its target alone", async () => {
    await using echo = await startUdpEcho();
    const channel = await open({ network: "udp", host: "127.0.0.1", port: echo.port });
    const said: string[] = [];
    const heard = Promise.withResolvers<void>();
    channel.attach({
      onPacket: ({ data }) => {
        said.push(String(data));
        heard.resolve();
      },
      onClose: () => {},
    });
    const port = Number(channel.info.local.split(":").at(-1));
    const stranger = dgram.createSocket("udp4");
    await new Promise<void>((resolve) =>
      stranger.send("forged", port, "127.0.0.1", () => resolve()),
    );
    stranger.close();
    channel.send({ host: "127.0.0.1", port: echo.port, data: Buffer.from("mine") });
    await heard.promise;
    assert.deepEqual(said, ["mine"]);
    channel.close();
  });

  test("ends when nobody listens there", async () => {
    const port = await lowPort();
    const channel = await open({ network: "udp", host: "127.0.0.1", port });
    const closed = Promise.withResolvers<TunnelError | undefined>();
    channel.attach({ onPacket: () => {}, onClose: closed.resolve });
    channel.send({ host: "127.0.0.1", port, data: Buffer.from("anybody?") });
    assert.match((await closed.promise)?.message ?? "", /nobody listens/);
    channel.send({ host: "127.0.0.1", port, data: Buffer.from("late") });
  });

  test("is refused at once where the target is denied or has no address", async () => {
    const denied = new PolicyError("ERR_POLICY_DENIED", "not there");
    const policy = {
      checkName: () => undefined,
      checkAddress: () => denied,
      checkUnresolved: () => undefined,
    };
    await assert.rejects(open({ network: "udp", host: "127.0.0.1", port: 9 }, policy), denied);
    await assert.rejects(open({ network: "udp", host: "no-such-name.invalid", port: 9 }), {
      code: "ERR_DNS",
    });
    await assert.rejects(open({ network: "udp", host: "127.0.0.1", port: 0 }), /port 0/);
  });
});

async function open(
  target: Target,
  policy?: NonNullable<Parameters<typeof createDirectOutbound>[0]["policy"]>,
): Promise<PacketChannel> {
  const outbound = createDirectOutbound({ runtime: systemRuntime(), dialTcp, bindUdp, policy });
  assert.ok(outbound.associate !== undefined);
  const { signal } = new AbortController();
  return await outbound.associate({ signal, metadata: { inbound: "test", source: "-" }, target });
}
