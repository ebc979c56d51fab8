import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type App, startApp } from "../../src/app.ts";
import { parseConfig } from "../../src/config/parse-config.ts";
import { startTarget } from "../interop/pong-target.ts";
import { chat } from "../support/linksocks-traffic.ts";
import { openProxyPort } from "../support/proxy-port.ts";
import { until } from "../support/test-client.ts";

// Ported from the upstream proxy tests of the reference. Spec: linksocks 8.2.
describe("linksocks, an exit behind a proxy", () => {
  for (const scheme of ["socks5", "http"] as const) {
    test(`lets a server reach targets through ${scheme}`, async () => {
      await using proxy = await openProxyPort();
      await using target = await startTarget();
      const outbounds = { corp: `${scheme}://127.0.0.1:${proxy.port}` };
      await using server = await startApp(
        parseConfig({
          serve: [{ url: "linksocks+ws://127.0.0.1:0", clients: { app: TOKEN }, allow: LOOPBACK }],
          outbounds,
          routes: [{ via: "corp" }],
        }),
      );
      await using client = await startApp(
        parseConfig({
          connect: { home: `linksocks+ws://${TOKEN}@127.0.0.1:${portOf(server, "linksocks+ws")}` },
          inbounds: [{ socks: "0" }],
        }),
      );
      await chat(portOf(client, "socks"), { host: "127.0.0.1", port: target.port });
      assert.deepEqual(
        proxy.requests.map((it) => it.target.port),
        [target.port],
      );
    });

    test(`lets a provider reach targets through ${scheme}`, async () => {
      await using proxy = await openProxyPort();
      await using target = await startTarget();
      await using server = await startApp(
        parseConfig({
          serve: [{ url: "linksocks+ws://127.0.0.1:0", providers: { home: TOKEN } }],
          inbounds: [{ socks: "0", via: "home" }],
        }),
      );
      const url = `linksocks+ws://${TOKEN}@127.0.0.1:${portOf(server, "linksocks+ws")}`;
      await using provider = await startApp(
        parseConfig({
          provide: { lend: { url, allow: LOOPBACK } },
          outbounds: { corp: `${scheme}://127.0.0.1:${proxy.port}` },
          routes: [{ via: "corp" }],
        }),
      );
      await until(() => provider.tunnels()[0]?.state === "up", "the provider is there");
      await chat(portOf(server, "socks"), { host: "127.0.0.1", port: target.port });
      assert.deepEqual(
        proxy.requests.map((it) => it.target.port),
        [target.port],
      );
    });
  }
});

function portOf({ listeners }: App, kind: string): number {
  const address = listeners.find((listener) => listener.kind === kind)?.address ?? "";
  return Number(/:(\d+)(?:\/|$)/.exec(address)?.[1] ?? 0);
}

const TOKEN = "token-1";
const LOOPBACK = ["127.0.0.0/8"];
