import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { manualRuntime } from "../../../test/support/test-client.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { PacketChannel } from "../../tunnel/packets.ts";
import { createTunnelOutbound } from "./tunnel-outbound.ts";

const options = {
  signal: new AbortController().signal,
  metadata: { inbound: "test", source: "test" },
};

describe("tunnel outbound", () => {
  test("opens streams, and has datagrams only where the tunnel has", async () => {
    const [connection] = connectionPair(manualRuntime());
    const outbound = createTunnelOutbound("home", { open: () => Promise.resolve(connection) });
    const target = { network: "tcp", host: "a", port: 1 } as const;
    assert.equal(await outbound.dial(target, options), connection);
    assert.equal(outbound.associate, undefined);
  });

  test("asks the tunnel for associations as its own method", async () => {
    const channel: PacketChannel = {
      info: { transport: "test", local: "", peer: "" },
      attach: () => {},
      send: () => {},
      close: () => {},
    };
    class Tunnel {
      readonly channel = channel;
      open = (): Promise<never> => assert.fail("no stream was asked for");
      associate(): Promise<PacketChannel> {
        return Promise.resolve(this.channel);
      }
    }
    const outbound = createTunnelOutbound("home", new Tunnel());
    assert.equal(await outbound.associate?.(options), channel);
  });
});
